"""What must be deleted and what must still be there: plain arithmetic that knows nothing of the service."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from service.model import Vendor

DAY = timedelta(days=1)
SMALL, LARGE = 300_000, 900_000

RULES = """
[[rules]]
name = "trial"
match = {{ stream = "trial-*" }}
keep = "1d"

[[rules]]
name = "lessons"
match = {{ stream = "lesson-*" }}
keep = "forever"

[[rules]]
name = "small clips"
match = {{ stream = "cam-*", max_size = "500kB" }}
keep = "3d"

[[rules]]
name = "soon"
match = {{ stream = "soon-*" }}
keep = "{soon}d"

[[rules]]
name = "late"
match = {{ stream = "late-*" }}
keep = "{late}d"

[[rules]]
name = "everything else"
keep = "30d"
keep_latest = 1
"""
BEFORE = {"soon": 10, "late": 5}
AFTER = {"soon": 4, "late": 15}


@dataclass
class Recording:
    """What is known of one file; `suspicion` keeps it whatever its age."""

    file_id: str
    vendor: Vendor
    stream: str
    began: datetime
    ended: datetime
    size: int | None = None
    suspicion: str | None = None
    is_deleted: bool = False
    why: str = ""


@dataclass
class Arithmetic:
    """What must be deleted by now."""

    days: dict[str, int] = field(default_factory=lambda: dict(BEFORE))
    files: dict[str, Recording] = field(default_factory=dict)

    def find_window(self, file: Recording) -> tuple[str, int | None]:
        """The rule that decides a file, and its days; no days: it is kept."""
        name = file.stream.partition("-")[0]
        if name == "trial":
            return name, 1
        if name == "lesson" or (name == "cam" and file.size is None):
            return name, None
        if name == "cam" and file.size == SMALL:
            return "small", 3
        return (name, self.days[name]) if name in self.days else ("rest", 30)

    def sweep(self, now: datetime) -> None:
        """Delete what has to go."""
        leaving = [file for file in self.files.values() if self._may_go(file, now, ())]
        for file in [file for file in leaving if self._may_go(file, now, leaving)]:
            file.is_deleted, file.why = True, self.find_window(file)[0]

    def _may_go(self, file: Recording, now: datetime, leaving: Collection[Recording]) -> bool:
        rule, days = self.find_window(file)
        if file.is_deleted or file.suspicion or days is None or file.ended + days * DAY > now:
            return False
        return rule != "rest" or self._is_older(file, leaving)

    def _is_older(self, file: Recording, leaving: Collection[Recording]) -> bool:
        """Another recording of the stream is newer, certainly exists, and is not about to be deleted itself."""
        return any(
            other.began > file.began
            and other.stream == file.stream
            and self.find_window(other)[0] == "rest"
            and not other.is_deleted
            and not other.suspicion
            for other in self.files.values()
            if other not in leaving
        )

    def is_kept_as_newest(self, file: Recording, now: datetime) -> bool:
        """Only being the newest keeps it."""
        rule, days = self.find_window(file)
        is_due = rule == "rest" and days is not None and file.ended + days * DAY <= now
        return is_due and not file.is_deleted and not file.suspicion and not self._is_older(file, ())

    def find_states(self, file: Recording, now: datetime) -> set[str]:
        """What the inventory may say of a file after a sweep."""
        if file.is_deleted:
            return {"deleted"}
        if file.suspicion:
            return {"unconfirmed"}
        if self.find_window(file)[1] is None or self.is_kept_as_newest(file, now):
            return {"kept"}
        return {"scheduled"}
