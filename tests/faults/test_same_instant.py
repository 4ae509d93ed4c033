"""Two processes take in callbacks at the same instant, many times."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from service.core.model import Verdict
from service.db.models import CallbackRow
from service.usecases.ingest import Answer
from service.zego.sandbox_callbacks import callback_body
from tests.faults.children import StartingGun, send_at_once
from tests.faults.scene import CHILDREN, Scene, open_scene
from tests.world import APP, CALLBACK_SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PAIRS = 1_000
FILES = 200


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    with open_scene(database_url) as scene:
        scene.world.keep("1d")
        yield scene


def body_of(scene: Scene, file_id: str, nonce: int, days: int) -> tuple[bytes, str]:
    now = scene.world.clock()
    ended = now - timedelta(days=days)
    return callback_body(
        "Tencent",
        app_id=APP,
        secret=CALLBACK_SECRET,
        file_id=file_id,
        stream="room",
        began=ended - timedelta(hours=1),
        ended=ended,
        now=now,
        nonce=str(nonce),
    )


def send_pairs(scene: Scene, ours: Sequence[tuple[bytes, str]], theirs: Sequence[tuple[bytes, str]]) -> None:
    """Let two processes take in these callbacks pair by pair; most pairs must really have met."""
    gun = StartingGun(CHILDREN)
    pair = [scene.start_child(send_at_once, gun, b) for b in (ours, theirs)]
    told = [child.told(patience_s=200) for child in pair]
    assert [child.wait() for child in pair] == [0, 0]
    met = 0
    first = 0
    for (answer, our_id, began, ended), (other_answer, their_id, other_began, other_ended) in zip(*told, strict=True):
        assert answer is other_answer is Answer.STORED
        met += began < other_ended and other_began < ended
        first += our_id < their_id
    print(f"{met} of {len(ours)} pairs overlapped, the first process was stored first in {first}")
    assert met > len(ours) / 2
    assert 0 < first < len(ours)


@pytest.mark.timeout(300)
def test_two_bodies_with_one_signature_at_one_instant_are_both_unconfirmed_every_time(scene: Scene) -> None:
    ours = [body_of(scene, f"our-{number}", 100_000 + number, days=2) for number in range(PAIRS)]
    theirs = [body_of(scene, f"their-{number}", 100_000 + number, days=2) for number in range(PAIRS)]

    send_pairs(scene, ours, theirs)

    with scene.world.database.read() as session:
        verdicts = list(session.execute(select(CallbackRow.verdict, CallbackRow.finished_at.is_not(None))))
    assert verdicts == [(Verdict.CONFLICT, True)] * (2 * PAIRS)
    files = scene.world.files()
    assert len(files) == 2 * PAIRS
    assert {file["state"] for file in files.values()} == {"unconfirmed"}
    scene.sweep()
    assert {call.action for call in scene.world.sandbox.calls} == {"SearchMedia"}


def test_one_file_announced_twice_at_one_instant_is_one_file_every_time(scene: Scene) -> None:
    ours = [body_of(scene, f"file-{number}", 100_000 + number, days=3) for number in range(FILES)]
    theirs = [body_of(scene, f"file-{number}", 200_000 + number, days=2) for number in range(FILES)]

    send_pairs(scene, ours, theirs)

    files = scene.world.files()
    assert set(files) == {f"file-{number}" for number in range(FILES)}
    later = (scene.world.clock() - timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert {(file["state"], file["ended_at"]) for file in files.values()} == {("scheduled", later)}
    with scene.world.database.read() as session:
        rows = list(session.scalars(select(CallbackRow)))
    assert {row.verdict for row in rows} == {Verdict.ACCEPTED}
    assert sorted(row.media_file_id or 0 for row in rows) == sorted([file["id"] for file in files.values()] * 2)
