"""Random worlds: ZEGO is asked to delete nothing that the plainest reading of the rules would keep."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from service.database import DatabaseUnavailable
from service.model import Suspicion, Vendor, WaitReason
from service.sweep.records import Trigger
from tests import faults
from tests.sweep.stage import APP, DAY, OTHER, Stage, open_stage
from tests.sweep.test_killed_sweep import assert_repaired, open_scene

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

RULES = """
[[rules]]
name = "for ever"
match = { stream = "keep-*" }
keep = "forever"

[[rules]]
name = "large"
match = { stream = "size-*", min_size = "1MB" }
keep = "2d"

[[rules]]
name = "newest"
match = { stream = "rank-*" }
keep = "3d"
keep_latest = 2

[[rules]]
name = "trial"
match = { stream = "trial-*" }
keep = "1d"
"""


@dataclass
class Made:
    """A file as it was made, in the plainest terms."""

    file_id: str
    app_id: str
    stream: str
    ended_at: datetime
    size: int | None
    suspicion: Suspicion | None
    wait_until: datetime | None
    is_held: bool
    is_confirmed: bool

    def may_go(self, now: datetime, others: Collection[Made], *, confirm_all: bool) -> bool:
        kind = self.stream.partition("-")[0]
        days = {"size": 2, "rank": 3, "trial": 1}.get(kind)
        if days is None or (kind == "size" and (self.size is None or self.size < 1_000_000)):
            return False
        if self.suspicion or self.is_held or (confirm_all and not self.is_confirmed):
            return False
        if self.ended_at + days * DAY > now or (self.wait_until is not None and self.wait_until > now):
            return False
        return kind != "rank" or self._count_newer(others) >= 2

    def _count_newer(self, others: Collection[Made]) -> int:
        same = [o for o in others if (o.app_id, o.stream) == (self.app_id, self.stream) and not o.suspicion]
        return len([other for other in same if other.ended_at > self.ended_at])


def make(stage: Stage, random: Random, number: int) -> Made:
    kind = random.choice(["keep", "size", "rank", "rank", "trial", "trial", "other", ""])
    held = random.random() < 0.1
    stream = f"{kind}-{random.randrange(3)}" if kind else ""
    if held and kind:
        stream = f"{kind}-held"
    app_id = random.choice([APP, APP, OTHER])
    made = Made(
        file_id=f"file-{number:04}",
        app_id=app_id,
        stream=stream,
        ended_at=stage.clock() - timedelta(hours=random.randrange(1, 150), seconds=number),
        size=random.choice([None, 500_000, 5_000_000]),
        suspicion=random.choice([None] * 6 + list(Suspicion)),
        wait_until=random.choice([None] * 4 + [stage.clock() + timedelta(hours=random.choice([-1, 1, 30]))]),
        # A file of unknown stream may belong to any, so a hold on any pattern of its app holds it.
        is_held=(held and bool(kind)) or not kind,
        is_confirmed=random.random() < 0.7,
    )
    stage.add(
        made.file_id,
        app_id=app_id,
        vendor=random.choice(list(Vendor)),
        stream=stream,
        ended_at=made.ended_at,
        began_at=made.ended_at,
        size_bytes=made.size,
        suspicion=made.suspicion,
        confirmed_at=stage.clock() if made.is_confirmed else None,
        wait_until=made.wait_until,
        wait_reason=made.wait_until and WaitReason.RETRY,
    )
    return made


TROUBLE = [
    faults.answer_code(1000),
    faults.answer_code(2),
    faults.answer_code(6),
    faults.answer_code(7),
    faults.answer_html(502, acts=True),
    faults.cut_answer(),
    faults.drop_after(),
]


@pytest.mark.parametrize("seed", range(6))
def test_only_what_may_go_is_ever_asked_for(database_url: str, seed: int) -> None:
    random = Random(seed)
    confirm_all = bool(seed % 2)
    with open_stage(database_url, confirm_all=confirm_all) as stage:
        stage.rules(RULES)
        for app_id in (APP, OTHER):
            stage.hold("*-held", app_id)
        made = {file.file_id: file for file in (make(stage, random, number) for number in range(90))}
        for file_id in random.sample(sorted(made), 8):
            random.choice([stage.sandbox.omit_file, lambda name: stage.sandbox.fail_file(name, "Busy", times=2)])(
                file_id
            )
        for round_ in range(6):
            stage.sandbox.next(*random.sample(TROUBLE, 2))
            before, now = len(stage.sandbox.calls), stage.clock()
            stage.sweep(Trigger.COMMAND if round_ % 2 == 0 else Trigger.RETRY)
            for call in stage.sandbox.calls[before:]:
                for file_id in call.file_ids:
                    assert made[file_id].may_go(now, made.values(), confirm_all=confirm_all), made[file_id]
            stage.clock.move(minutes=random.choice([5, 90, 600]))
        stage.sandbox.end_faults()
        for name in made:
            stage.sandbox.heal(name)
        for _ in range(3):
            stage.clock.move(hours=7)
            stage.sweep()
        now = stage.clock()
        going = {name for name, file in made.items() if file.may_go(now, made.values(), confirm_all=confirm_all)}
        # (Code 2 for a single file says that this file is refused.)
        refused = {name for name, state in stage.states().items() if state == "failed"}
        assert (stage.stored(APP) | stage.stored(OTHER)) - refused == made.keys() - going - refused
        assert len(going) > 10


class Trouble:
    """Lets the n-th statement of this process fail in the database itself."""

    def __init__(self, number: int) -> None:
        self.number, self.seen = number, 0

    def __call__(self, _c: object, _u: object, statement: str, parameters: Any, *_: object) -> tuple[str, Any]:
        self.seen += 1
        return ("SELECT * FROM there_is_no_such_table", ()) if self.seen == self.number else (statement, parameters)


def test_a_statement_that_fails_anywhere_is_made_good_by_the_next_pass(sqlite_url: str) -> None:
    with open_scene(sqlite_url) as scene:
        for number in count(1, 23):
            scene.put_back()
            assert scene.stage.leader.try_to_lead()
            trouble = Trouble(number)
            event.listen(Engine, "before_cursor_execute", trouble, retval=True)
            try:
                scene.stage.sweep()
            except DatabaseUnavailable:
                pass
            finally:
                event.remove(Engine, "before_cursor_execute", trouble)
            try:
                scene.repair()
                assert_repaired(scene.stage)
            except BaseException as error:
                error.add_note(f"statement {number} failed")
                raise
            scene.stage.leader.release()
            if trouble.seen < number:
                break
        assert number > 250
