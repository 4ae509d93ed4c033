"""Judging stored callbacks again, and dropping old bytes; on both databases."""

from __future__ import annotations

import threading
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from service.audit.store import find_order
from service.callbacks.replay import apply_replay, place_replay
from service.callbacks.understanding import prune_inbox
from service.model import FileState, NoSuchThing, NotPossible, Verdict
from tests.callbacks.callback_scene import APP, DAY, OTHER_APP, TESTER, Scene, recording
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def replay(scene: Scene, secrets: Mapping[str, Sequence[str]] | None = None, **wanted: Any) -> dict[str, int]:
    """Order a replay, apply it and understand what is pending; the order's result."""
    number = place_replay(scene.database, TESTER, scene.clock(), known_apps=(APP, OTHER_APP), **wanted)
    with scene.database.read() as tx:
        order = find_order(tx, number)
    assert order is not None
    handler = partial(apply_replay, scene.secrets if secrets is None else secrets)
    after: int | None = 0
    result: dict[str, int] = {}
    while after is not None:
        step = scene.leader.transact(lambda tx: handler(tx, order, after or 0, result))  # noqa: B023  (called at once)
        after, result = step.resume_after, step.result
    scene.understanding.run()
    return result


def test_after_a_secret_was_corrected_the_quarantine_is_verified_again(scene: Scene) -> None:
    scene.keep("1d")
    for number in range(3):
        scene.receive(recording(f"f{number}"), secret="the right one")
    scene.receive(recording("forged"), secret="nobody's")
    scene.receive(recording("of an unknown app", appid="42"), secret="of 42")
    scene.clock.move(days=2)
    assert replay(scene, verdict=Verdict.FORGED) == {"replayed": 0, "still_refused": 4, "without_bytes": 0}
    assert scene.files() == {}
    corrected = {APP: ["the right one"], "42": ["of 42"]}
    assert replay(scene, corrected, verdict=Verdict.FORGED)["replayed"] == 3
    assert scene.verdicts() == ["accepted"] * 3 + ["forged", "unknown_app"], "freshness is that of the arrival"
    assert set(scene.states().values()) == {"scheduled"}
    assert replay(scene, corrected) == {"replayed": 4, "still_refused": 1, "without_bytes": 0}
    assert set(scene.files()) == {"f0", "f1", "f2", "of an unknown app"}


def test_what_came_to_a_wrong_path_can_be_judged_again(scene: Scene) -> None:
    given = (Verdict.WRONG_PATH, "/zego\n, a: b")
    assert scene.inbox.refuse_misplaced(*scene.body(recording()), *given) == APP
    wait_until(lambda: scene.verdicts() == ["wrong_path"])
    [kept] = scene.callbacks()
    assert kept.reason == "it came to the path /zego%0A%2C%20a:%20b: correct the URL in ZEGO's console"
    assert replay(scene, verdict=Verdict.WRONG_PATH)["replayed"] == 1
    assert scene.verdicts() == ["accepted"]
    assert set(scene.files()) == {"f1"}


def test_what_came_from_an_address_that_was_not_allowed_can_be_judged_again(scene: Scene) -> None:
    for body in (scene.body(recording()), scene.body(recording("f2"), secret="wrong")):
        assert scene.inbox.refuse_misplaced(*body, Verdict.NOT_ALLOWED, "2001:db8::1") == APP
    wait_until(lambda: scene.verdicts() == ["not_allowed", "forged"])
    assert scene.callbacks()[0].reason.startswith("it came from 2001:db8::1: ")
    assert replay(scene, verdict=Verdict.NOT_ALLOWED)["replayed"] == 1
    assert scene.verdicts() == ["accepted", "forged"]


def test_a_replay_of_everything_doubles_nothing(scene: Scene) -> None:
    scene.keep("1d")
    for number in range(450):
        scene.receive(recording(f"f{number}", stream_alias=f"room-{number}"))
    scene.receive({"event": "snapshot"})
    scene.understanding.run()
    scene.change("f7", state=FileState.DELETED)
    before, understood = scene.files(), scene.callbacks()
    scene.clock.move(days=1)
    assert replay(scene, {})["replayed"] == 451, "authentic once is authentic, whatever the secrets are now"
    assert scene.files() == before
    assert [c._replace(reason="") for c in scene.callbacks()] == [c._replace(reason="") for c in understood]


def test_what_was_not_understood_is_understood_after_an_upgrade(scene: Scene) -> None:
    scene.send(recording(extra_params={}))
    scene.receive(recording(appid=OTHER_APP, extra_params={}), secret="other-secret")
    scene.understanding.run()
    body = scene.body(recording())[0]
    with scene.database.write() as tx:  # as if today's code understood these bytes
        tx.execute(text("UPDATE callbacks SET raw = :body"), {"body": body})
    assert replay(scene, verdict=Verdict.NOT_UNDERSTOOD, app_id=APP)["replayed"] == 1
    assert scene.verdicts() == ["accepted", "not_understood"]


def test_single_callbacks_are_named_by_number(scene: Scene) -> None:
    first, second = scene.send(recording("f1")), scene.send(recording("f2"))
    assert replay(scene, ids=[second.id, second.id])["replayed"] == 1
    with pytest.raises(NoSuchThing, match="no callback 99"):
        replay(scene, ids=[first.id, 99])
    scene.clock.move(days=1)
    assert prune_inbox(scene.leader, scene.clock()) == 2
    with pytest.raises(NotPossible, match="were dropped"):
        replay(scene, ids=[first.id])
    assert replay(scene)["without_bytes"] == 2


def test_old_bytes_are_dropped_and_the_rows_stay(scene: Scene) -> None:
    for number in range(3):
        scene.send(recording(f"f{number}"))
        scene.clock.move(days=1)
    scene.send(recording(extra_params={}))
    scene.receive(recording(), secret="wrong")
    scene.receive(recording("pending"))
    before = scene.callbacks()
    assert prune_inbox(scene.leader, scene.clock() - 2 * DAY + timedelta(hours=1)) == 2
    assert [callback.body_bytes is None for callback in scene.callbacks()] == [True, True, False, False, False, False]
    assert prune_inbox(scene.leader, scene.clock() + DAY) == 1, "only of what was understood, and only once"
    after = scene.callbacks()
    assert [each._replace(body_bytes=None) for each in after] == [each._replace(body_bytes=None) for each in before]
    scene.understanding.run()
    assert scene.verdicts()[-1] == "accepted"


def test_pruning_ends_when_it_is_asked_to(scene: Scene) -> None:
    scene.send(recording())
    stop = threading.Event()
    stop.set()
    assert prune_inbox(scene.leader, scene.clock() + DAY, stop) == 0
