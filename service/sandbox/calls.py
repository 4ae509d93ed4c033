"""What the sandbox saw: every request in order of arrival, and how many of an app came within a second."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from service.sandbox.request import Request


@dataclass(slots=True)
class Call:
    """One request as the sandbox saw it.

    `tick` is its arrival in monotonic seconds, `in_last_second` how many calls its app made in the second up to then.
    `page` is what a SearchMedia asked for, in order of names ("EndTime=2&PageNumber=0&…").
    `acted` says that its files were worked on; `code` is the top-level code that was answered (None: none arrived).
    """

    number: int
    at: datetime
    tick: float
    app_id: str
    action: str
    vendor: str
    file_ids: tuple[str, ...]
    target_bytes: int
    in_last_second: int
    page: str = ""
    stage: Literal["arrived", "done"] = "arrived"
    acted: bool = False
    code: int | None = None
    message: str = ""


class CallLog:
    """The calls so far. Safe to share between threads."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._recent: dict[str, deque[float]] = defaultdict(deque)
        self._lock = threading.Lock()

    def add(self, target: str, request: Request, *, at: datetime, tick: float) -> Call:
        """Note a request that has just arrived."""
        with self._lock:
            recent = self._recent[request.get("AppId")]
            recent.append(tick)
            while tick - recent[0] >= 1:
                recent.popleft()
            call = Call(
                number=len(self.calls) + 1,
                at=at,
                tick=tick,
                app_id=request.get("AppId"),
                action=request.get("Action"),
                vendor=request.get("Vendor"),
                file_ids=request.file_ids,
                target_bytes=len(target.encode("latin-1", "replace")),
                in_last_second=len(recent),
                page=request.page if request.get("Action") == "SearchMedia" else "",
            )
            self.calls.append(call)
        return call

    def max_in_a_second(self, app_ids: Iterable[str]) -> int:
        """The most calls that arrived within any second, of the busiest of these apps."""
        chosen = set(app_ids)
        with self._lock:
            return max((call.in_last_second for call in self.calls if call.app_id in chosen), default=0)
