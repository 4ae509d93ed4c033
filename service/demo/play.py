"""The play: callbacks arrive, files become due, a sweep meets trouble, and what came of it is compared with ZEGO."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Final

from rich.table import Table

from service.cli.lists import describe_counts
from service.cli.tables import Output, make_table, prose, word
from service.demo.recordings import ANNA, APP_ID, LESSON, RECORDINGS, RULES, SHAPES, write_callback
from service.demo.stage import Stage, open_stage
from service.filters import FileFilter
from service.logs import configure_logging
from service.model import END_STATES, Actor, Vendor
from service.preview.apply import apply_rules
from service.preview.make import Candidate
from service.rules.file import parse_rules
from service.sweep.dry_run import dry_run
from service.sweep.records import Trigger
from service.views.files import FILES, File
from service.views.runs import RUNS

_HOUR_S: Final = 3600
_WIDEST: Final = 110
_NEXT_STEPS: Final = """\
1. Copy from ZEGO's console, of your project:
     export ZEGO_RETENTION_APP_ID=…
     export ZEGO_RETENTION_SERVER_SECRET=…
     export ZEGO_RETENTION_CALLBACK_SECRET=…
     export ZEGO_RETENTION_PUBLIC_URL=https://where-zego-reaches-you
2. Say how long recordings are kept: all alike (or by rules as above, see step 6):
     export ZEGO_RETENTION_KEEP=30d
3. {command} serve
     takes callbacks, and sweeps every 15 minutes; a reverse proxy with TLS passes them on to 127.0.0.1:8080
4. In ZEGO's console, enter the callback URL: Project → Server callback → Recording file
     it is https://where-zego-reaches-you/zego/callback
5. {command} doctor
     in a second terminal with the same exports: checks all of it
6. {command} rules apply FILE
     puts rules in force; `rules preview FILE` shows first what they would do
7. {command} sweep --dry-run
     at any time: what would be deleted now?"""


def run_demo(out: Output, now: Callable[[], datetime]) -> bool:
    """Play the demo; True if everything came out as it had to."""
    configure_logging(None, "CRITICAL")
    started = time.monotonic()
    play = Play(out)
    with _terminated_like_interrupted():
        play.say(
            "ZEGO keeps CDN recordings; this service deletes them when their time has come. This demo does the whole"
            " job on this machine: a ZEGO sandbox, the real web side, the real sweep. Nothing leaves this machine."
        )
        with open_stage(now) as stage:
            play.run(stage)
    if play.broken:
        play.title("The demo did not come out as it had to")
        play.say(*(f"- {line}" for line in play.broken))
        return False
    play.title("Next: your own app")
    play.say(_NEXT_STEPS.format(command=_find_command()))
    play.say("", f"The demo took {time.monotonic() - started:.0f} s and left nothing behind.")
    return True


class Play:
    """Plays the demo scene by scene; `broken` is what came out otherwise than it had to."""

    def __init__(self, out: Output) -> None:
        self.broken: list[str] = []
        self._out = out
        self._scene = 0

    def run(self, stage: Stage) -> None:
        """Play every scene."""
        service = stage.service
        # There is no file yet, so nothing becomes due sooner: no preview is asked for.
        rules = Candidate(parse_rules(RULES), "the demo")
        cooling_off = service.settings.cooling_off
        apply_rules(service.database, service.reader, rules, Actor("demo", "demo"), cooling_off, service.now)
        self.title("The rules: the first that matches a recording decides how long it is kept")
        self.say(RULES.rstrip())
        self._send_callbacks(stage)
        service.catch_up.run()
        self._sweep(stage)
        files = list(FILES.iterate(service.database, FileFilter()))
        self._show_files(files, service.now())
        self._compare(stage, files)

    def expect(self, what: str, found: object, wanted: object) -> None:
        """Note where something came out otherwise."""
        if found != wanted:
            self.broken.append(f"{what}: {wanted} was expected, but it is {found}")

    def title(self, text: str) -> None:
        """Begin a scene."""
        self._scene += 1
        self._out.print(f"\n{self._scene}  {text}\n", style="bold")

    def say(self, *parts: str | Table) -> None:
        """Print texts and tables."""
        for part in parts:
            self._out.print(part, width=min(self._out.width, _WIDEST))

    def _send_callbacks(self, stage: Stage) -> None:
        rows, now, secret = [], stage.service.now(), stage.callback_secret
        for each in RECORDINGS:
            status = stage.post_callback(*write_callback(each, secret, now))
            self.expect(f"answer to the callback of {each.file_id}", status, 200)
            late = ", signed an hour ago" if each.sent_ago else ""
            rows.append((each.stream, each.vendor, SHAPES[each.shape] + late, status))
        status = stage.post_callback(*write_callback(ANNA, secret, now))
        self.expect("answer to a repeated callback", status, 200)
        rows.append(("trial-anna again", ANNA.vendor, "a repeat: changes nothing", status))
        status = stage.post_callback(*write_callback(LESSON, "a guess", now, stream="trial-x"))
        self.expect("answer to a forged callback", status, 401)
        rows.append(("a forged one", LESSON.vendor, "calls lesson-7 a trial room", status))
        self.title("Callbacks arrive over HTTP, signed, in all the shapes that ZEGO is known for")
        columns = [word("stream"), word("vendor"), prose("written as"), word("answer")]
        self.say(make_table(self._out, columns, rows))
        self.say("", "200: stored durably. 401: the signature is wrong, so it is in quarantine and changes nothing.")

    def _sweep(self, stage: Stage) -> None:
        service = stage.service
        app_ids, limits = service.app_ids, service.sweeper.limits
        due = dry_run(service.database, service.reader, app_ids, limits, service.now(), confirm_all=False, limit=0)
        self.expect("files due", due.total, sum(each.outcome is not None for each in RECORDINGS))
        self.title("A dry run: what would be deleted now?")
        self.say(f"{due.total} of {len(RECORDINGS)} files. Nothing was touched yet.")
        run = RUNS.show(service.database, service.sweeper.run(Trigger.COMMAND, threading.Event()))
        self.title("One sweep")
        self.say(
            f"{run.calls} calls of DeleteMedia; files: {describe_counts(run.outcomes)}.",
            "One call failed whole because of a single file (trial-ben): it was halved until that file stood alone,"
            " and the others were deleted. trial-dora is locked, and the answer says nothing of trial-hana,"
            " which is not reported as deleted. All three are asked for again, later.",
        )

    def _show_files(self, files: list[File], now: datetime) -> None:
        self.title("The outcome of each file, as the inventory has it")
        columns = [word("stream"), word("age"), word("state"), word("outcome"), prose("why")]
        rows = []
        for file in files:
            hours = 0 if file.ended_at is None else round((now - file.ended_at).total_seconds() / _HOUR_S)
            age = f"{hours // 24}d" if hours >= 24 else f"{hours}h"  # noqa: PLR2004  (hours of a day)
            outcome = file.last_outcome and file.last_outcome.outcome
            rows.append((file.stream_id, age, file.state, outcome, file.state_reason))
        self.say(make_table(self._out, columns, rows))

    def _compare(self, stage: Stage, files: list[File]) -> None:
        """Compare what was found with what had to come out, and the inventory with what ZEGO still stores."""
        by_id = {file.file_id: file for file in files}
        self.expect("files in the inventory", len(files), len(RECORDINGS))
        for each in RECORDINGS:
            file = by_id.get(each.file_id)
            last = file.last_outcome if file else None
            found = (file.state if file else None, last.outcome if last else None)
            self.expect(f"state and outcome of {each.file_id}", found, (each.state, each.outcome))
        stored = {file_id for vendor in Vendor for file_id in stage.sandbox.files(APP_ID, vendor)}
        left = {file.file_id for file in files if file.state not in END_STATES}
        self.expect("files that ZEGO still stores", sorted(stored), sorted(left))
        if stored == left:
            self.say("", f"Proof: ZEGO still stores {len(stored)} files, exactly those that the inventory has as left.")


def _find_command() -> str:
    """How this program is called from here."""
    if shutil.which("zego-retention"):
        return "zego-retention"
    return os.path.relpath(Path(sys.executable).parent / "zego-retention")


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """While the block runs, SIGTERM ends it as Ctrl-C does: nothing is left behind."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
