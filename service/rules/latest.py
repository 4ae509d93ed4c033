"""`keep_latest`: which recordings of a stream are the newest, of those that one rule decides.

Files whose times overlap are formats of one recording and share its rank. Where that joins two recordings by mistake,
more is kept than asked for, never less.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from service.model import END_STATES, FileState, MediaFile, Outcome, WaitReason

_ASSUMED_LENGTH: Final = timedelta(minutes=1)
_DOES_NOT_COUNT: Final = END_STATES | {FileState.DELETING, FileState.UNCONFIRMED}


class Span(NamedTuple):
    """When a file was recorded; without `began_at` only the instant of its end is known. `id` is the caller's."""

    id: int
    began_at: datetime | None
    ended_at: datetime

    @property
    def start(self) -> datetime:
        """The begin, or a minute before the end where it is not known: formats of one recording end close together."""
        return self.ended_at - _ASSUMED_LENGTH if self.began_at is None else min(self.began_at, self.ended_at)


def span_of(file: MediaFile) -> Span:
    """When a file was recorded."""
    return Span(file.id, file.began_at, file.ended_at)


def counts_as_recording(file: MediaFile, now: datetime) -> bool:
    """Whether it surely exists and stays, so that older recordings need not be kept in its place."""
    if file.wait_reason is WaitReason.ADOPTION and file.wait_until is not None and now < file.wait_until:
        return False
    may_end = file.state in _DOES_NOT_COUNT or file.erasure_id is not None or file.last_outcome is Outcome.UNKNOWN
    return not may_end and file.suspicion is None


class NewestCounter:
    """Counts the recordings of one stream, file by file, newest first: those that belong to the newest are kept.

    Two files overlap if each began before the other ended, or if both ended at the same instant; chains of overlaps are
    one recording. One pass is enough: a span that ends no later than all before it overlaps one of them exactly if it
    ends after their earliest start, or together with the last.
    """

    __slots__ = ("_earliest", "_keep_latest", "_last", "_recordings")

    def __init__(self, keep_latest: int) -> None:
        self._keep_latest, self._recordings = keep_latest, 0
        self._earliest: datetime | None = None
        self._last: datetime | None = None

    def covers(self, span: Span) -> bool:
        """Whether a file belongs to the newest recordings, be it counted or not; those counted end no earlier."""
        return self._recordings + self._begins_another(span) <= self._keep_latest

    def add(self, span: Span) -> bool:
        """Count a file; whether it belongs to the newest recordings. A ValueError: the last one ended earlier."""
        if self._last is not None and span.ended_at > self._last:
            raise ValueError("the spans are not ordered by their end, newest first")
        self._recordings += self._begins_another(span)
        self._earliest = span.start if self._earliest is None else min(self._earliest, span.start)
        self._last = span.ended_at
        return self._recordings <= self._keep_latest

    def _begins_another(self, span: Span) -> bool:
        return self._earliest is None or (span.ended_at <= self._earliest and span.ended_at != self._last)


def newest(spans_newest_first: Iterable[Span], count: int) -> frozenset[int]:
    """The ids of the files that belong to the newest `count` recordings, reading one span more than needed."""
    counter = NewestCounter(count)
    ids = set()
    for span in spans_newest_first:
        if not counter.add(span):
            break
        ids.add(span.id)
    return frozenset(ids)


def find_kept_as_latest(file: MediaFile, spans_newest_first: Iterable[Span], keep_latest: int) -> str | None:
    """The reason why a file is kept, if it belongs to the newest `keep_latest` recordings of its stream; else None.

    The spans are those files of its stream that its rule decides and that count; it may be one of them or not.
    """
    counter = NewestCounter(keep_latest)
    for span in spans_newest_first:
        if span.ended_at < file.ended_at or not counter.add(span):
            break
    return describe_latest(file.rule, keep_latest) if counter.covers(span_of(file)) else None


def describe_latest(rule: str | None, keep_latest: int) -> str:
    """Being one of the newest as the reason why a file is kept; `rule` is the name of its rule."""
    which = "recording" if keep_latest == 1 else f"{keep_latest} recordings"
    return f'rule "{rule}" keeps the newest {which} of each stream, and it is one of them'


def keep_as_latest(file: MediaFile, reason: str, now: datetime) -> MediaFile:
    """The row of a file that is kept for its rank; it keeps its date, which says that its rule would delete it."""
    state_at = file.state_at if file.state is FileState.KEPT else now
    return file._replace(state=FileState.KEPT, state_reason=reason, state_at=state_at)
