"""What the demo tells its audience."""

from __future__ import annotations

import os
import shutil
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import humanize
from rich import box
from rich.table import Column, Table
from rich.text import Text

from service.demo.cast import SHAPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from service.demo.cast import Recording

_WIDEST: Final = 120
_WIDE: Final = 110
"""From this width on, the rule has a column of its own; the reasons name it anyway."""

_STYLES: Final = {
    "deleted": "green",
    "gone": "green",
    "kept": "blue",
    "scheduled": "cyan",
    "unconfirmed": "yellow",
    "200": "green",
    "401": "red",
}

_NEXT_STEPS: Final = """\
1. Copy from ZEGO's console, of your project:
     export ZEGO_RETENTION_APP_ID=…
     export ZEGO_RETENTION_SERVER_SECRET=…
     export ZEGO_RETENTION_CALLBACK_SECRET=…
     export ZEGO_RETENTION_PUBLIC_URL=https://where-zego-reaches-you
2. Say how long recordings are kept: all alike, or by rules as above in a FILE:
     export ZEGO_RETENTION_KEEP=30d
     {command} rules apply FILE
3. {command} serve
     takes callbacks, and sweeps every 15 minutes; a reverse proxy with TLS passes them on to 127.0.0.1:8080
4. In ZEGO's console, enter the callback URL: Project → Server callback → Recording file
     it is https://where-zego-reaches-you/zego/callback
5. {command} doctor
     in a second terminal with the same exports: checks all of it
6. {command} sweep --dry-run
     at any time: what would be deleted now?\
"""


class Programme:
    """Prints the demo, scene by scene."""

    def __init__(self, out: Console) -> None:
        """Print on `out`, at most 120 columns wide."""
        self._out = out
        self._width = min(out.width, _WIDEST)
        self._scene = 0
        self._callbacks = self._table("what arrived", "vendor", "written as", "answer")

    def open(self) -> None:
        """Say what is going to happen."""
        self._say(
            "ZEGO keeps CDN recordings; this service deletes them when their time has come. This demo plays the"
            " whole job on this machine: a ZEGO sandbox, the real web side, the real sweep. Nothing leaves it."
        )

    def show_rules(self, rules: str) -> None:
        """The rules in force."""
        self._title("The rules: the first that matches a recording decides how long it is kept")
        self._print(Text(rules.rstrip(), style="dim"))

    def add_callback(self, recording: Recording, status: int) -> None:
        """Note a callback of ZEGO and its answer."""
        what = recording.stream or "a merged file (no stream)"
        shape = SHAPES[recording.shape]
        if recording.sent_ago:
            shape += f", signed {humanize.naturaldelta(recording.sent_ago)} ago"
        self._callbacks.add_row(Text(what), recording.vendor.value, Text(shape), _mark(str(status)))

    def add_other(self, what: str, why: str, status: int) -> None:
        """Note a callback that announces nothing new."""
        self._callbacks.add_row(Text(what), "", Text(why), _mark(str(status)))

    def show_callbacks(self) -> None:
        """All callbacks and their answers."""
        self._title("Callbacks arrive over HTTP, signed, in all the shapes that ZEGO is known for")
        self._print(self._callbacks)
        self._say("\n200 only after it is stored durably. The forged one is in quarantine, and lesson-7 as it was.")

    def show_dry_run(self, due: int, files: int) -> None:
        """What a sweep would do."""
        self._title("A dry run: what would be deleted now?")
        self._say(f"{due} of {files} files. Nothing was touched yet.")

    def show_sweep(self, run: dict[str, Any], attention: Sequence[str]) -> None:
        """What the sweep did."""
        self._title("One sweep")
        outcomes = ", ".join(f"{many} {outcome}" for outcome, many in run.get("outcomes", {}).items() if many)
        self._say(f"{run.get('calls', 0)} calls of DeleteMedia; files: {outcomes}.")
        self._say(
            "One call failed whole because of a single file (trial-ben): it was halved until that file stood alone,"
            " and the others were deleted. Another file (trial-dora) is locked at the vendor. Both are asked for again."
        )
        for sentence in attention:
            self._say(f"For a person: {sentence}")

    def show_fates(self, files: Sequence[dict[str, Any]], now: datetime) -> None:
        """What became of each file."""
        self._title("The fate of each file, as the inventory has it")
        is_wide = self._width >= _WIDE
        table = self._table("file", "stream", "vendor", "age", *(["rule"] if is_wide else []), "state", "why")
        for file in files:
            ended = datetime.fromisoformat(file["ended_at"])
            table.add_row(
                str(file["id"]),
                file["stream_id"] or "-",
                file["vendor"],
                _age(now - ended),
                *([file["rule"] or "-"] if is_wide else []),
                _mark(file["state"]),
                Text(file["state_reason"]),
            )
        self._print(table)

    def show_proof(self, stored: int, *, equal: bool) -> None:
        """Whether inventory and ZEGO agree."""
        if equal:
            text = f"Proof: ZEGO still holds {stored} files, exactly those that the inventory lists as left."
            self._print(Text(f"\n{text}", "bold"))

    def close(self, broken: Sequence[str], took_s: float) -> None:
        """Say how it went, and what to do next."""
        if broken:
            self._title("The demo did not come out as it had to")
            for line in broken:
                self._say(f"- {line}")
            return
        self._title("Next: your own app")
        self._print(Text(_NEXT_STEPS.format(command=_command())))
        self._print(Text(f"\nThe demo took {took_s:.0f} s and left nothing behind.", "dim"))

    def _table(self, *headers: str) -> Table:
        columns = [Column(header, overflow="fold", no_wrap=header in ("file", "vendor", "state")) for header in headers]
        look = box.SIMPLE_HEAD
        return Table(*columns, box=look, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")

    def _title(self, text: str) -> None:
        self._scene += 1
        self._print(Text(f"\n{self._scene}  {text}\n", "bold"))

    def _say(self, text: str) -> None:
        self._print(Text(text))

    def _print(self, what: Text | Table) -> None:
        self._out.print(what, width=self._width)


def _age(age: timedelta) -> str:
    """An age in the unit of the rules, rounded down."""
    return f"{age.days}d" if age.days else f"{age // timedelta(hours=1)}h"


def _command() -> str:
    """How this program is called from here."""
    if shutil.which("zego-retention"):
        return "zego-retention"
    return os.path.relpath(Path(sys.executable).parent / "zego-retention")


def _mark(word: str) -> Text:
    return Text(word, _STYLES.get(word, ""))
