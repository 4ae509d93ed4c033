"""What must be gone and what must still be there: a reckoning that knows only arithmetic, and none of the service."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from service.core.model import Vendor

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
    """What is known of one file, in the plainest terms."""

    file_id: str
    vendor: Vendor
    stream: str
    began: datetime
    ended: datetime
    size: int | None = None
    doubt: str | None = None
    gone: bool = False
    why: str = ""


@dataclass
class Reckoning:
    """What must be gone and what must still be there, by arithmetic alone."""

    days: dict[str, int] = field(default_factory=lambda: dict(BEFORE))
    files: dict[str, Recording] = field(default_factory=dict)

    def window(self, file: Recording) -> tuple[str, int | None]:
        """The rule that decides a file, and its days; no days means that it is kept."""
        name = file.stream.partition("-")[0]
        if name == "trial":
            return name, 1
        if name == "lesson":
            return name, None
        if name == "cam" and file.size is None:
            return "a size not known", None
        if name == "cam" and file.size == SMALL:
            return "small", 3
        if name in self.days:
            return name, self.days[name]
        return "rest", 30

    def sweep(self, now: datetime) -> None:
        """Let go what has to go."""
        leaving = [file for file in self.files.values() if self._may_go(file, now, ())]
        for file in [file for file in leaving if self._may_go(file, now, leaving)]:
            file.gone, file.why = True, self.window(file)[0]

    def _may_go(self, file: Recording, now: datetime, leaving: Collection[Recording]) -> bool:
        rule, days = self.window(file)
        if file.gone or file.doubt or days is None or file.ended + days * DAY > now:
            return False
        return rule != "rest" or self._is_older(file, leaving)

    def _is_older(self, file: Recording, leaving: Collection[Recording]) -> bool:
        """Some other recording of the stream is newer, surely exists, and is not about to be deleted itself."""
        return any(
            other.began > file.began and other.stream == file.stream and not other.gone and not other.doubt
            for other in self.files.values()
            if other not in leaving
        )

    def is_protected(self, file: Recording, now: datetime) -> bool:
        """Only being the newest keeps it."""
        rule, days = self.window(file)
        due = rule == "rest" and days is not None and file.ended + days * DAY <= now
        return due and not file.gone and not file.doubt and not self._is_older(file, ())

    def state(self, file: Recording, now: datetime) -> set[str]:
        """What the inventory may say of a file after a sweep."""
        _, days = self.window(file)
        if file.gone:
            return {"deleted"}
        if file.doubt:
            return {"unconfirmed"}
        if days is None:
            return {"kept"}
        return {"kept"} if self.is_protected(file, now) else {"kept", "scheduled"}
