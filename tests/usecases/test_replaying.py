from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.core.model import Actor, Verdict
from service.settings import load_settings
from service.usecases.auditing import list_entries
from service.usecases.replaying import list_to_replay, replay_callbacks
from service.wiring import build_service
from tests.world import APP, CALLBACK_SECRET, OTHER_APP, environment

if TYPE_CHECKING:
    from tests.world import World

BOB = Actor("bob", "command line")


def replay(world: World, *ids: int, secret: str = CALLBACK_SECRET) -> list[tuple[int, Verdict, Verdict]]:
    return replay_chosen(world, ids, secret)


def replay_chosen(world: World, chosen: Any, secret: str = CALLBACK_SECRET) -> list[tuple[int, Verdict, Verdict]]:
    """Replay under settings of the one app with this secret."""
    url = world.database.url.render_as_string(hide_password=False)
    service = build_service(load_settings(environment(url, world.sandbox.url, CALLBACK_SECRET=secret)), now=world.clock)
    try:
        return [(r.callback_id, r.before, r.after) for r in replay_callbacks(service.ingest, chosen, BOB)]
    finally:
        service.close()


def audit(world: World) -> list[tuple[str, str, dict[str, Any]]]:
    return [(e["action"], e["subject"], e["detail"]) for e in list_entries(world.database)][::-1]


def test_a_forged_one_is_verified_again_with_todays_secrets_and_enters_once(world: World) -> None:
    world.send("new", secret="rotated")
    assert replay(world, 1) == [(1, Verdict.FORGED, Verdict.FORGED)]
    assert replay(world, 1, secret="rotated") == [(1, Verdict.FORGED, Verdict.ACCEPTED)]
    before = world.files()
    assert len(before) == 1
    assert replay(world, 1, secret="rotated") == [(1, Verdict.ACCEPTED, Verdict.ACCEPTED)]
    assert world.files() == before


def test_one_of_an_unknown_app_enters_once_the_app_is_configured(world: World) -> None:
    world.send("new", app_id="1111111111")
    [(_, before, after)] = replay(world, 1)
    assert (before, after) == (Verdict.UNKNOWN_APP, Verdict.UNKNOWN_APP)
    assert world.files() == {}


def test_what_was_authentic_stays_so_after_its_secret_was_replaced(world: World) -> None:
    world.send("a")
    assert replay(world, 1, secret="another") == [(1, Verdict.ACCEPTED, Verdict.ACCEPTED)]


def test_the_repeat_of_a_replayed_one_makes_no_second_file_and_no_second_callback(world: World) -> None:
    facts: dict[str, Any] = {"nonce": "777777", "secret": "rotated"}
    world.send("new", **facts)
    replay(world, 1, secret="rotated")
    assert world.send("new", **facts).app_id == APP
    assert list(list_to_replay(world.database, None)) == [1]
    assert len(world.files()) == 1


def test_replaying_all_of_a_verdict_takes_those_and_no_others(world: World) -> None:
    world.send("a")
    world.send("b", secret="wrong")
    world.send("c", secret="wrong", app_id=OTHER_APP)
    world.send("d", secret="wrong")
    forged = list_to_replay(world.database, Verdict.FORGED)
    assert [number for number, _, _ in replay_chosen(world, forged, "wrong")] == [2, 3, 4]
    assert list(forged) == []
    assert list(list_to_replay(world.database, Verdict.UNKNOWN_APP)) == [3]
    assert set(world.files()) == {"a", "b", "d"}


def test_the_audit_tells_what_was_chosen_before_and_what_came_of_it_after(world: World) -> None:
    world.send("a")
    world.send("b", secret="rotated")
    replay(world, 1)
    replay(world, 1, 2, 99)
    replay_chosen(world, list_to_replay(world.database, Verdict.FORGED), "rotated")
    replay_chosen(world, list_to_replay(world.database, None))
    assert audit(world) == [
        ("replay_callbacks", "callback 1", {"callbacks": [1]}),
        ("finish_replay", "callback 1", {"judged": 1, "verdicts": {"accepted to accepted": 1}}),
        ("replay_callbacks", "3 callbacks", {"callbacks": [1, 2, 99]}),
        ("finish_replay", "3 callbacks", {"judged": 2, "verdicts": {"accepted to accepted": 1, "forged to forged": 1}}),
        ("replay_callbacks", "forged callbacks", {"verdict": "forged"}),
        ("finish_replay", "forged callbacks", {"judged": 1, "verdicts": {"forged to accepted": 1}}),
        ("replay_callbacks", "all callbacks", {}),
        ("finish_replay", "all callbacks", {"judged": 2, "verdicts": {"accepted to accepted": 2}}),
    ]
    assert {(e["actor"], e["through"]) for e in list_entries(world.database)} == {("bob", "command line")}


def test_a_replay_that_is_abandoned_is_in_the_audit_as_far_as_it_went(world: World) -> None:
    world.send("a")
    world.send("b")
    replaying = replay_callbacks(world.service.ingest, list_to_replay(world.database, None), BOB)
    next(iter(replaying))
    assert [action for action, _, _ in audit(world)] == ["replay_callbacks"]
    replaying.close()  # type: ignore[attr-defined]
    assert audit(world)[-1] == (
        "finish_replay",
        "all callbacks",
        {"judged": 1, "verdicts": {"accepted to accepted": 1}},
    )
