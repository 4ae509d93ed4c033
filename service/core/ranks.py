"""Ranks for `keep_latest`: which recording of a stream is the newest, the second newest and so on.

Files whose times overlap are formats of one recording and share its rank. Where that joins two recordings by mistake,
more is kept than asked for, never less.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime


_ASSUMED = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Span:
    """When a file was recorded; without `began_at` only the instant of its end is known. `id` is the caller's."""

    id: int
    began_at: datetime | None
    ended_at: datetime

    @property
    def start(self) -> datetime:
        """The begin, or a minute before the end where it is not known: formats of one recording end close together."""
        return self.ended_at - _ASSUMED if self.began_at is None else min(self.began_at, self.ended_at)


def rank_recordings(spans: Iterable[Span]) -> dict[int, int]:
    """Rank files of one stream by recording, the newest (by its end) being 1; overlapping files share a rank.

    Two files overlap if each began before the other ended, or if both ended at the same instant. Chains of overlaps
    are one recording; one that begins when another ends is the next recording.
    """
    newest_first = sorted(spans, key=lambda span: span.ended_at, reverse=True)
    return {span.id: rank for rank, span in _number(newest_first)}


def newest(spans_newest_first: Iterable[Span], count: int) -> frozenset[int]:
    """The ids of the files that `rank_recordings` ranks 1 to `count`, reading one span more than needed.

    Raises:
        ValueError: the spans are not ordered by `ended_at`, newest first.
    """
    ids = set()
    for rank, span in _number(spans_newest_first):
        if rank > count:
            break
        ids.add(span.id)
    return frozenset(ids)


class Ranking:
    """Ranks the spans of one stream that are placed one after the other, ordered by their end, the newest first.

    One pass is enough: a span that ends no later than all before it overlaps one of them exactly if it ends after the
    earliest start among them, or together with the last. If it does neither, no later span can: they end earlier still.
    """

    def __init__(self) -> None:
        self._rank = 0
        self._earliest: datetime | None = None
        self._last: datetime | None = None

    def find_rank(self, span: Span) -> int:
        """The rank that a span has behind those placed so far, without placing it.

        Raises:
            ValueError: the span ends after the last one that was placed.
        """
        if self._last is not None and span.ended_at > self._last:
            raise ValueError("the spans are not ordered by their end, newest first")
        begins_anew = self._earliest is None or (span.ended_at <= self._earliest and span.ended_at != self._last)
        return self._rank + begins_anew

    def place(self, span: Span) -> int:
        """Rank a span, and count it for those that follow.

        Raises:
            ValueError: the span ends after the last one that was placed.
        """
        rank = self.find_rank(span)
        earlier = self._earliest if rank == self._rank else None
        self._rank, self._last = rank, span.ended_at
        self._earliest = span.start if earlier is None else min(earlier, span.start)
        return rank


def _number(newest_first: Iterable[Span]) -> Iterator[tuple[int, Span]]:
    """Number recordings from 1 in one pass."""
    ranking = Ranking()
    for span in newest_first:
        yield ranking.place(span), span
