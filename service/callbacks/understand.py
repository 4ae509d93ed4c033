"""What stored callbacks mean: the verdict on each, and the files that they add or change (docs/callbacks.md).

ZEGO signs no body, only a timestamp and a nonce. A valid signature admits a callback to the inbox; what its body says
is trusted only while nothing speaks against it: it was fresh when it arrived, and its signature came with no other
content.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple, TypeAlias

from service.callbacks.announce import FileBook, Identity, identify
from service.model import Announcement, Suspicion, Verdict
from service.units import describe_moment
from service.zego.callback import NoFile

Key: TypeAlias = tuple[str, str, str]
"""What tells callbacks apart: signature, app and hash of the content."""

MAX_CONTENTS: Final = 8
"""Contents under one signature whose bytes are kept once they are understood; the verdicts of all are."""

_MAX_AHEAD: Final = timedelta(minutes=2)


class Reading(NamedTuple):
    """A pending callback, read and parsed; `understood_at` is set where it is understood again."""

    id: int
    key: Key
    received_at: datetime
    sent_at: datetime | None
    parsed: Announcement | NoFile
    understood_at: datetime | None = None
    media_file_id: int | None = None


class SameSignature(NamedTuple):
    """A callback whose signature others carry as well; `place` counts them by id, from 1."""

    id: int
    key: Key
    verdict: Verdict
    understood_at: datetime | None
    media_file_id: int | None
    place: int


class Judgement(NamedTuple):
    """What is to be written down about a callback; the file is named by `identity` where it has no number yet."""

    id: int
    key: Key
    verdict: Verdict
    reason: str
    understood_at: datetime
    media_file_id: int | None = None
    identity: Identity | None = None
    keeps_body: bool = True


class _Conflict(NamedTuple):
    """Several contents under one signature, and since when that is known; `is_new`: since now."""

    since: datetime
    is_new: bool
    members: list[SameSignature]

    def describe(self, callback_id: int) -> str:
        other = next(member.id for member in self.members if member.id != callback_id)
        return f"callback {other} carries the same signature with other content"


def understand(
    readings: Sequence[Reading], same: Iterable[SameSignature], book: FileBook, freshness: timedelta, now: datetime
) -> list[Judgement]:
    """Judge callbacks, and announce in `book` what they say of files.

    Args:
        readings: the callbacks, in order of id.
        same: those that share a signature, these and others, understood or not.
        book: the files that they name, and those of the others in `same`.
        freshness: how old a callback's timestamp may be when it arrives.
        now: the time.
    """
    mine = {reading.id for reading in readings}
    conflicts = _find_conflicts(same, now)
    judgements = [_judge(reading, conflicts.get(reading.key[0]), book, freshness, now) for reading in readings]
    for conflict in conflicts.values():
        for other in conflict.members:
            if other.id in mine or other.verdict is Verdict.PENDING:  # a pending one finds out for itself
                continue
            if other.media_file_id is not None:
                book.suspect(other.media_file_id, None if conflict.is_new else conflict.since)
            if (other.verdict, other.understood_at) != (Verdict.CONFLICT, conflict.since):
                reason = conflict.describe(other.id)
                judgements.append(
                    Judgement(other.id, other.key, Verdict.CONFLICT, reason, conflict.since, other.media_file_id)
                )
    return judgements


def _find_conflicts(same: Iterable[SameSignature], now: datetime) -> dict[str, _Conflict]:
    """The conflicts by signature. One is as new as the newest of its callbacks: to be understood now, or since when."""
    members: dict[str, list[SameSignature]] = defaultdict(list)
    for each in same:
        members[each.key[0]].append(each)
    return {
        signature: _Conflict(
            max(each.understood_at or now for each in found), any(each.understood_at is None for each in found), found
        )
        for signature, found in members.items()
        if len(found) > 1
    }


def _judge(
    reading: Reading, conflict: _Conflict | None, book: FileBook, freshness: timedelta, now: datetime
) -> Judgement:
    since = (reading.understood_at or now) if conflict is None else conflict.since
    is_new = reading.understood_at is None if conflict is None else conflict.is_new
    verdict, reason = _classify(reading, freshness)
    identity = None
    if isinstance(reading.parsed, Announcement):
        suspicion = Suspicion.STALE if verdict is Verdict.STALE else None
        if conflict is not None:
            suspicion = Suspicion.CONFLICT
        identity = identify(reading.parsed)
        came_of_it = book.announce(reading.parsed, reading.received_at, suspicion, None if is_new else since)
        reason = f"{reason}; {came_of_it}" if reason else came_of_it
    keeps_body = True
    if conflict is not None:
        verdict, reason = Verdict.CONFLICT, f"{conflict.describe(reading.id)}; {reason}"
        places = {member.id: member.place for member in conflict.members}
        keeps_body = places.get(reading.id, 0) <= MAX_CONTENTS
    return Judgement(reading.id, reading.key, verdict, reason, since, reading.media_file_id, identity, keeps_body)


def _classify(reading: Reading, freshness: timedelta) -> tuple[Verdict, str]:
    """The verdict on a callback by itself, with the reason, which is empty where the file says it."""
    if isinstance(reading.parsed, NoFile):
        return reading.parsed.verdict, reading.parsed.reason
    stale = _find_staleness(reading.sent_at, reading.received_at, freshness)
    return (Verdict.ACCEPTED, "") if stale is None else (Verdict.STALE, stale)


def _find_staleness(sent_at: datetime | None, received_at: datetime, freshness: timedelta) -> str | None:
    if sent_at is None:
        return "its timestamp is no time"
    if received_at - sent_at > freshness:
        return f"its timestamp {describe_moment(sent_at)} was too old when it arrived"
    if sent_at - received_at > _MAX_AHEAD:
        return f"its timestamp {describe_moment(sent_at)} lay ahead of our clock when it arrived"
    return None
