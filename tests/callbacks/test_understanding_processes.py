"""Real processes: killed between any two commits, and sending at the same instant; on both databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from tests.callbacks.callback_scene import DAY, START, Scene, open_scene, recording
from tests.callbacks.inbox_children import Signal, send_at_once, understand_all
from tests.callbacks.test_understanding import STALE
from tests.children import Blow, Step, start_child

if TYPE_CHECKING:
    from service.database import Database

THREADS = 25
ROUNDS = 40


def fill(scene: Scene) -> None:
    """Callbacks of every kind; most about files of their own, some not."""
    for number in range(6):
        scene.receive(recording(f"f{number}"))
    scene.receive(recording("f0", age=0 * DAY))
    scene.receive(recording("stale"), now=START - STALE)
    scene.receive(recording("one"), nonce="7")
    scene.receive({"event": "snapshot"})
    scene.receive(recording("other"), nonce="7")
    scene.receive(recording(extra_params={}))


def outcome(scene: Scene) -> tuple[object, object]:
    """Verdicts in their order, and files whatever their numbers are."""
    files = sorted(file._replace(id=0) for file in scene.files().values())
    return scene.verdicts(), files


def test_a_kill_at_any_commit_loses_and_doubles_nothing(database: Database) -> None:
    url = database.url.render_as_string(hide_password=False)
    with open_scene(database) as scene:
        scene.leader.release()
        fill(scene)
        whole = start_child(understand_all, url, 2, None)
        steps: dict[Step, int] = whole.receive(30)
        assert whole.wait() == 0
        expected = outcome(scene)
        assert len(scene.files()) == 9
        assert steps[Step.COMMIT] >= 6, "so many batches, each a commit of its own"
        blows = [Blow(step, number + 1) for step in (Step.COMMIT, Step.COMMITTED) for number in range(steps[step])]
        for blow in blows:
            forget_everything(database)
            scene.nonces = 100_000
            fill(scene)
            child = start_child(understand_all, url, 2, blow)
            assert child.wait() == -blow.signal, blow
            assert "pending" in scene.verdicts() or blow == Blow(Step.COMMITTED, steps[Step.COMMITTED])
            assert scene.leader.try_to_lead(), "whoever led is dead"
            scene.understanding.run()
            scene.leader.release()
            assert outcome(scene) == expected, blow


def forget_everything(database: Database) -> None:
    with database.write() as tx:
        tx.execute(text("DELETE FROM callbacks"))
        tx.execute(text("DELETE FROM media_files"))


def test_two_processes_that_say_otherwise_of_the_same_files_are_both_in_conflict(database: Database) -> None:
    url = database.url.render_as_string(hide_password=False)
    with open_scene(database) as scene:
        scene.keep("1d")
        scripts = [
            [[scene.body(recording(f"f{n}", age=2 * DAY, stream_alias=stream)) for n in range(THREADS)]]
            for stream in ("trial-1", "lesson-1")
        ]
        signal = Signal()
        children = [start_child(send_at_once, url, signal, script) for script in scripts]
        while any(child.process.is_alive() for child in children):
            scene.understanding.run()
        scene.understanding.run()
        assert scene.verdicts() == ["conflict"] * 2 * THREADS
        assert list(scene.states().values()) == ["unconfirmed"] * THREADS


@pytest.mark.timeout(300)
def test_a_thousand_pairs_with_one_signature_at_one_instant_are_all_unconfirmed(database: Database) -> None:
    url = database.url.render_as_string(hide_password=False)
    with open_scene(database) as scene:
        scene.keep("1d")
        scripts = [
            [
                [scene.body(recording(f"{name}-{n}", age=2 * DAY), nonce=str(n)) for n in range(start, start + THREADS)]
                for start in range(0, THREADS * ROUNDS, THREADS)
            ]
            for name in ("ours", "theirs")
        ]
        signal = Signal()
        children = [start_child(send_at_once, url, signal, script) for script in scripts]
        while any(child.process.is_alive() for child in children):
            scene.understanding.run()
        assert [child.receive() for child in children] == [["stored"] * THREADS * ROUNDS] * 2
        scene.understanding.run()
        assert scene.verdicts() == ["conflict"] * 2 * THREADS * ROUNDS
        assert len(scene.files()) == 2 * THREADS * ROUNDS
        assert set(scene.states().values()) == {"unconfirmed"}
