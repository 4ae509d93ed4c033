"""The play: callbacks come in, files fall due, a sweep runs into trouble, and everyone meets their fate."""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from service.core.model import END_STATES, Actor, FileState, Vendor
from service.core.rules_file import parse_rules
from service.db.files import FileFilter
from service.db.models import Trigger
from service.demo.cast import APP_ID, FIRST, RECORDINGS, RULES, write_callback, write_forgery
from service.demo.programme import Programme
from service.demo.stage import Stage, StageError, build_stage
from service.logs import configure_logging
from service.usecases.applying import apply_rules
from service.usecases.dry_runs import dry_run
from service.usecases.listing import list_files
from service.usecases.policy import Candidate
from service.usecases.reports import find_attention, show_run
from service.usecases.sweep import run_pass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from types import FrameType

    from rich.console import Console

_ACCEPTED, _REFUSED = 200, 401


@dataclass(slots=True)
class Expectations:
    """What has to come true, and what did not."""

    broken: list[str] = field(default_factory=list)

    def expect(self, what: str, found: object, wanted: object) -> None:
        """Note it where something came out otherwise."""
        if found != wanted:
            self.broken.append(f"{what}: {wanted} was expected, but it is {found}")


def run_demo(out: Console, now: Callable[[], datetime]) -> bool:
    """Play the demo; True if everything came out as it had to."""
    configure_logging(None, "CRITICAL")
    programme = Programme(out)
    expectations = Expectations()
    started = time.monotonic()
    with _terminated_like_interrupted():
        try:
            programme.open()
            with build_stage(now) as stage:
                _play(stage, programme, expectations)
        except StageError as error:
            expectations.broken.append(str(error))
    programme.close(expectations.broken, time.monotonic() - started)
    return not expectations.broken


def _play(stage: Stage, programme: Programme, expectations: Expectations) -> None:
    service = stage.service
    # There is no file yet, so nothing becomes due sooner: no preview is asked for, and no cooling-off begins.
    rules = Candidate(parse_rules(RULES), "the demo")
    apply_rules(service.database, rules, Actor("demo", "demo"), service.settings.cooling_off, service.now)
    programme.show_rules(RULES)
    _send_callbacks(stage, programme, expectations)
    due = dry_run(service.database, service.now(), 0, service.sweeper.limits)
    trouble = [recording for recording in RECORDINGS if recording.retries]
    ends = [recording for recording in RECORDINGS if recording.fate in END_STATES]
    expectations.expect("files due", due.total, len(ends) + len(trouble))
    programme.show_dry_run(due.total, len(RECORDINGS))
    run_id = run_pass(service.sweeper, Trigger.COMMAND)
    run = show_run(service.database, run_id) if run_id else None
    attention = find_attention(service.database, service.app_ids, service.now())
    programme.show_sweep(run or {}, attention.sentences)
    found = list(list_files(service.database, FileFilter()))
    programme.show_fates(found, service.now())
    _compare_fates(found, expectations)
    _prove(stage, programme, expectations, found)


def _send_callbacks(stage: Stage, programme: Programme, expectations: Expectations) -> None:
    for recording in RECORDINGS:
        body = write_callback(recording, stage.callback_secret, stage.service.now())
        status, _ = stage.post_callback(*body)
        programme.add_callback(recording, status)
        expectations.expect(f"answer to the callback of {recording.file_id}", status, _ACCEPTED)
        if recording is FIRST:
            status, _ = stage.post_callback(*body)
            programme.add_other("the same callback again", "a retry: changes nothing", status)
            expectations.expect("answer to a repeat", status, _ACCEPTED)
    status, _ = stage.post_callback(*write_forgery(stage.service.now()))
    programme.add_other("a forged callback", "passes lesson-7 off as a trial", status)
    expectations.expect("answer to a forged callback", status, _REFUSED)
    programme.show_callbacks()


def _compare_fates(found: list[dict[str, Any]], expectations: Expectations) -> None:
    by_id = {file["file_id"]: file for file in found}
    expectations.expect("files in the inventory", len(found), len(RECORDINGS))
    for recording in RECORDINGS:
        file = by_id.get(recording.file_id, {})
        expectations.expect(f"state of {recording.file_id}", file.get("state"), recording.fate.value)
        outcome = (file.get("last_outcome") or {}).get("outcome")
        wanted = "retryable" if recording.retries else recording.fate.value if recording.fate in END_STATES else None
        expectations.expect(f"outcome of {recording.file_id}", outcome, wanted)


def _prove(stage: Stage, programme: Programme, expectations: Expectations, found: list[dict[str, Any]]) -> None:
    """Hold what ZEGO still stores against what the inventory says is left."""
    stored = {file_id for vendor in Vendor for file_id in stage.sandbox.files(APP_ID, vendor)}
    left = {file["file_id"] for file in found if FileState(file["state"]) not in END_STATES}
    expectations.expect("files that ZEGO still holds", sorted(stored), sorted(left))
    programme.show_proof(len(stored), equal=stored == left)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """While the block runs, SIGTERM ends it as Ctrl-C does: nothing of the stage is left behind."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
