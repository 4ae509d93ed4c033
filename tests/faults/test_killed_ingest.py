from __future__ import annotations

import signal
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, select

from service.core.model import Verdict
from service.db.engine import DatabaseUnavailable
from service.db.models import CallbackRow
from service.usecases.ingest import Answer, Receipt, finish_callbacks, receive_callback
from service.zego.sandbox_callbacks import callback_body
from tests.faults.children import Blow, Step, take_in
from tests.faults.scene import Scene, open_scene
from tests.world import APP, CALLBACK_SECRET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

KEEP_LATEST = '[[rules]]\nname = "everything"\nkeep = "1d"\nkeep_latest = 1\n'


def body_of(file_id: str, now: datetime, nonce: str = "123456") -> tuple[bytes, str]:
    ended = now - timedelta(days=2)
    return callback_body(
        "Tencent",
        app_id=APP,
        secret=CALLBACK_SECRET,
        file_id=file_id,
        stream="room",
        began=ended - timedelta(hours=1),
        ended=ended,
        now=now,
        nonce=nonce,
    )


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    with open_scene(database_url) as scene:
        scene.world.apply(KEEP_LATEST)
        scene.world.send("earlier", age=timedelta(days=3))
        scene.remember()
        yield scene


def send_again(scene: Scene, body: tuple[bytes, str]) -> Receipt:
    return receive_callback(scene.world.service.ingest, *body)


def verdicts(scene: Scene) -> list[tuple[Verdict, bool]]:
    with scene.world.database.read() as session:
        rows = session.scalars(select(CallbackRow).order_by(CallbackRow.id))
        return [(row.verdict, row.finished_at is not None) for row in rows]


def assert_both_are_in(scene: Scene) -> None:
    assert verdicts(scene) == [(Verdict.ACCEPTED, True), (Verdict.ACCEPTED, True)]
    states = {file_id: file["state"] for file_id, file in scene.world.files().items()}
    assert states == {"earlier": "scheduled", "new": "kept"}, "the newest is kept, and the one before it let go"


def assert_both_are_doubted(scene: Scene) -> None:
    assert verdicts(scene) == [(Verdict.ACCEPTED, True), (Verdict.CONFLICT, True), (Verdict.CONFLICT, True)]
    scene.sweep()
    states = {file_id: file["state"] for file_id, file in scene.world.files().items()}
    assert states == {"earlier": "kept", "first": "unconfirmed", "new": "unconfirmed"}
    assert "DeleteMedia" not in {call.action for call in scene.world.sandbox.calls}


def strike_everywhere(scene: Scene, step: Step, check: Callable[[Scene], None]) -> int:
    """Kill a child at every step of one kind while it takes in a file, send the callback again, and look."""
    for number in count(1):
        scene.put_back()
        body = body_of("new", scene.world.clock())
        child = scene.start_child(take_in, Blow(step, number), body)
        code = child.wait()
        told = child.told()
        assert code in (0, -signal.SIGKILL)
        try:
            if told is not None:
                assert told[0] is Answer.STORED
                finish_callbacks(scene.world.service.ingest)
                check(scene)
            assert send_again(scene, body).answer is Answer.STORED
            check(scene)
        except Exception as error:
            error.add_note(f"killed {step} {number}")
            raise
        if code == 0:
            return number - 1
    raise AssertionError


@pytest.mark.timeout(300)
@pytest.mark.parametrize("step", [step for step in Step if step is not Step.LOOKED])
def test_a_callback_whose_taking_in_was_killed_is_there_once_after_zego_repeats_it(scene: Scene, step: Step) -> None:
    kills = strike_everywhere(scene, step, assert_both_are_in)
    assert kills >= (8 if step in (Step.STATEMENT, Step.STATEMENT_DONE) else 1)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("step", [Step.STATEMENT_DONE, Step.COMMITTED])
def test_a_second_body_whose_taking_in_was_killed_casts_doubt_on_both_after_its_repeat(
    scene: Scene, step: Step
) -> None:
    assert send_again(scene, body_of("first", scene.world.clock())).answer is Answer.STORED
    scene.world.sandbox.add_file(APP, "Tencent", "first")
    scene.remember()
    strike_everywhere(scene, step, assert_both_are_doubted)


class Trouble:
    """Lets the n-th statement of this process go wrong in the database itself."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.seen = 0

    def __call__(self, _c: object, _u: object, statement: str, parameters: Any, *_: object) -> tuple[str, Any]:
        self.seen += 1
        return ("SELECT * FROM there_is_no_such_table", ()) if self.seen == self.number else (statement, parameters)


def take_in_with_trouble(scene: Scene, body: tuple[bytes, str], number: int) -> tuple[Receipt | None, bool]:
    """Take in a callback while one statement fails; returns the answer, if there was one, and whether it came to it."""
    trouble = Trouble(number)
    engine = scene.world.database.engine
    event.listen(engine, "before_cursor_execute", trouble, retval=True)
    try:
        return send_again(scene, body), trouble.seen >= number
    except DatabaseUnavailable:
        return None, True
    finally:
        event.remove(engine, "before_cursor_execute", trouble)


def test_what_was_answered_200_reaches_the_inventory_although_nobody_repeats_it(scene: Scene) -> None:
    answered_in_trouble = 0
    for number in count(1):
        scene.put_back()
        body = body_of("new", scene.world.clock())
        receipt, in_trouble = take_in_with_trouble(scene, body, number)
        try:
            if receipt is None:
                assert set(scene.world.files()) == {"earlier"}
                assert send_again(scene, body).answer is Answer.STORED
            else:
                assert receipt.answer is Answer.STORED
                answered_in_trouble += in_trouble
                finish_callbacks(scene.world.service.ingest)
            assert_both_are_in(scene)
        except Exception as error:
            error.add_note(f"statement {number} failed")
            raise
        if not in_trouble:
            break
    assert answered_in_trouble >= 5
