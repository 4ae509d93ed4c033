"""What stored callbacks mean: the verdict on each, and the files that they add or change (docs/callbacks.md).

ZEGO signs no body, only a timestamp and a nonce. A valid signature admits a callback to the inbox; what its body says
is trusted only while nothing speaks against it: it was fresh when it arrived, its signature came with no other content,
and no other callback says otherwise of the same file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any, Final, NamedTuple, TypeAlias

from service.model import END_STATES, Announcement, MediaFile, Suspicion, Vendor, Verdict
from service.rules.decide import trust_end
from service.units import describe_moment
from service.zego.callback import NoFile, parse_callback, read_envelope

Identity: TypeAlias = tuple[str, Vendor, str]
"""The identity of a file: app, vendor and the vendor's file id."""

MAX_CONTENTS: Final = 8
"""Contents under one signature whose bytes are kept once they are understood; the verdicts of all are."""

_MAX_AHEAD: Final = timedelta(minutes=2)
_FACTS: Final = ("began_at", "duration_s", "size_bytes", "replay_url")
_RULED: Final = ("stream_id", "event", "duration_s", "size_bytes")
"""What a rule may look at: callbacks that differ in one of these contradict each other. (Of ends, the later wins.)"""
_ROUNDING: Final = 0.01
_END_ROUNDING_S: Final = 1.0  # ends are whole seconds, durations are not
_CALLED: Final = {
    "stream_id": "stream",
    "began_at": "begin",
    "ended_at": "end",
    "duration_s": "duration",
    "size_bytes": "size",
    "replay_url": "URL",
}
_COMPARED: Final = ("stream_id", "event", "began_at", "ended_at", "duration_s", "size_bytes", "replay_url")
_SUSPICIONS: Final = {Verdict.STALE: Suspicion.STALE, Verdict.CONFLICT: Suspicion.CONFLICT}


class StoredCallback(NamedTuple):
    """A callback as it is stored. `raw` is loaded only where it is to be read; `body_bytes` None: it was dropped."""

    id: int
    app_id: str
    signature: str
    content_hash: str
    received_at: datetime
    content_type: str
    event: str
    verdict: Verdict
    reason: str
    understood_at: datetime | None  # its present verdict was first reached; a replay does not move it
    repeats: int
    media_file_id: int | None
    body_bytes: int | None
    raw: bytes | None = None


class Reading(NamedTuple):
    """A callback judged by itself; `reason` is empty where what becomes of its file says enough.

    `arrived_at`: when ZEGO signed it, where our clock was behind that (None: when it was received).
    """

    callback: StoredCallback
    verdict: Verdict
    reason: str = ""
    said: Announcement | None = None
    arrived_at: datetime | None = None


class _Conflict(NamedTuple):
    """Contents under one signature, by id, and since when all of them are understood (None: not before now)."""

    members: list[StoredCallback]
    since: datetime | None

    def describe(self, callback: StoredCallback) -> str:
        other = next(member.id for member in self.members if member.id != callback.id)
        return f"callback {other} carries the same signature with other content"


class _Contradiction(NamedTuple):
    """Two fresh callbacks that differ in a fact of one file, and since when that is known (None: not before now).

    All fresh callbacks about the file are in conflict then: nobody can tell which of them is right. No `fact`: what
    `one` said is not known any more, but that it was in conflict.
    """

    fact: str
    one: Reading
    other: Reading
    since: datetime | None

    def describe(self, callback: StoredCallback) -> str:
        """Why this one of them is in conflict."""
        other = self.other if callback.id == self.one.callback.id else self.one
        if not self.fact:
            return f"callback {other.callback.id}, whose bytes were dropped, is in conflict about the same file"
        return f"callback {other.callback.id} contradicts this one: {_describe_fact(other.said, self.fact)}"


def _name_fact(name: str) -> str:
    """What people call a fact."""
    return _CALLED.get(name, name)


def _describe_fact(said: Announcement | None, name: str) -> str:
    """A fact with its value, in words."""
    value = getattr(said, name)
    if isinstance(value, datetime):
        value = describe_moment(value)
    elif name == "duration_s":
        value = f"{value:g} s"
    elif name == "size_bytes":
        value = f"{value:,} bytes"
    return f"{_name_fact(name)} {value}"


def identify(file: Announcement | MediaFile) -> Identity:
    """The identity of a file."""
    return file.app_id, file.vendor, file.file_id


def read_callback(callback: StoredCallback, freshness: timedelta) -> Reading:
    """Judge a callback by itself; its timestamp may have been `freshness` old when it arrived."""
    envelope = read_envelope(callback.raw or b"", callback.content_type)
    parsed = parse_callback(envelope)
    if isinstance(parsed, NoFile):
        return Reading(callback, parsed.verdict, parsed.reason)
    sent_at = datetime.fromtimestamp(int(envelope.timestamp), UTC)  # ten digits, or it would not be authentic
    if callback.received_at - sent_at > freshness:
        reason = f"its timestamp {describe_moment(sent_at)} was too old when it arrived"
    elif sent_at - callback.received_at > _MAX_AHEAD:
        # (By our clock its end would lie in the future and not be believed: the file would count as older than it is.)
        reason = f"its timestamp {describe_moment(sent_at)} was ahead of our clock when it arrived"
        return Reading(callback, Verdict.STALE, reason, parsed, sent_at)
    else:
        return Reading(callback, Verdict.ACCEPTED, said=parsed)
    return Reading(callback, Verdict.STALE, reason, parsed)


def reread_callback(callback: StoredCallback, freshness: timedelta, file: MediaFile) -> Reading:
    """Read one that was understood before; of an accepted one without bytes, what its file still knows."""
    if callback.raw is not None:
        return read_callback(callback, freshness)
    return recall(callback, file) if callback.verdict is Verdict.ACCEPTED else Reading(callback, callback.verdict)


def recall(callback: StoredCallback, file: MediaFile) -> Reading:
    """What a file still knows of the callbacks that were accepted, in the name of one of them."""
    said = Announcement(*identify(file), file.stream_id, file.event, None, None, None, None, None)
    return Reading(callback, Verdict.ACCEPTED, said=said)


def understand(
    readings: Sequence[Reading],
    earlier: Sequence[Reading],
    same: Iterable[StoredCallback],
    known: Mapping[Identity, MediaFile],
    now: datetime,
) -> tuple[list[tuple[StoredCallback, Identity | None]], dict[Identity, MediaFile]]:
    """Judge callbacks: them and others as they are now, each with the file that it announced; new and changed files.

    `earlier` are those that announced the same files before; `same` the callbacks that share a signature, these and
    others, in order of id; `known` the files that are announced, and those of `same`.
    """
    conflicts = _find_conflicts(same)
    files = dict(known)
    mine = {reading.callback.id for reading in readings}
    identities: dict[int | None, Identity] = {file.id: identity for identity, file in known.items()}
    contradictions = _find_contradictions([*earlier, *readings], identities)
    judged = []
    for reading in readings:
        doubts = [conflicts.get(reading.callback.signature), contradictions.get(reading.callback.id)]
        judged.append(_judge(reading, [each for each in doubts if each is not None], files, now))
    for callback in (reading.callback for reading in earlier):
        if callback.verdict is Verdict.ACCEPTED and (found := contradictions.get(callback.id)) is not None:
            reason = found.describe(callback)
            judged.append((callback._replace(verdict=Verdict.CONFLICT, reason=reason, understood_at=now), None))
    for conflict in conflicts.values():
        for other in conflict.members:
            if other.id in mine or other.verdict is Verdict.PENDING:  # a pending one finds out for itself
                continue
            if (identity := identities.get(other.media_file_id)) is not None:
                file = files[identity]
                if not _was_confirmed(file, conflict.since):
                    files[identity] = _change(file, file._replace(suspicion=Suspicion.CONFLICT))
            if (other.verdict, other.understood_at) != (Verdict.CONFLICT, conflict.since):
                reason, moment = conflict.describe(other), conflict.since or now
                judged.append((other._replace(verdict=Verdict.CONFLICT, reason=reason, understood_at=moment), None))
    return judged, {identity: file for identity, file in files.items() if file != known.get(identity)}


def _find_conflicts(same: Iterable[StoredCallback]) -> dict[str, _Conflict]:
    members: dict[str, list[StoredCallback]] = defaultdict(list)
    for each in same:
        members[each.signature].append(each)
    conflicts = {}
    for signature, found in members.items():
        moments = [each.understood_at for each in found if each.understood_at is not None]
        conflicts[signature] = _Conflict(found, max(moments) if len(moments) == len(found) else None)
    return conflicts


def _find_contradictions(
    readings: Iterable[Reading], identities: Mapping[int | None, Identity]
) -> dict[int, _Contradiction]:
    """Where fresh callbacks about one file differ, by the numbers of all of them."""
    by_file: dict[Identity, list[Reading]] = defaultdict(list)
    for reading in readings:
        callback = reading.callback
        if reading.said is not None and reading.verdict is Verdict.ACCEPTED:
            by_file[identify(reading.said)].append(reading)
        elif callback.verdict is Verdict.CONFLICT and callback.body_bytes is None:
            by_file[identities[callback.media_file_id]].append(reading)
    contradictions: dict[int, _Contradiction] = {}
    for identity, found in by_file.items():
        if len(found) > 1 and (pair := _find_contradiction(found)) is not None:
            # Known before only if each was understood, as about this file, and is not accepted any more.
            known = [
                each.understood_at
                for each, *_ in found
                if each.understood_at is not None
                and each.verdict is not Verdict.ACCEPTED
                and identities.get(each.media_file_id) == identity
            ]
            since = max(known) if len(known) == len(found) else None
            contradictions.update((each.callback.id, _Contradiction(*pair, since)) for each in found)
    return contradictions


def _find_contradiction(found: Sequence[Reading]) -> tuple[str, Reading, Reading] | None:
    for name in _RULED:
        known: dict[Any, Reading] = {}
        for each in found:
            if each.said is not None and (fact := getattr(each.said, name)) not in (None, ""):
                known.setdefault(fact if isinstance(fact, str) else (fact, each.said.ended_at), each)
        for one, other in combinations(known.values(), 2):  # all of them: what explains one length explains no other
            if not _is_explained(name, one, other):
                return name, one, other
    lost = next((each for each in found if each.said is None), None)
    return None if lost is None else ("", lost, next(each for each in found if each is not lost))


def _is_explained(name: str, one: Reading, other: Reading) -> bool:
    """Whether numbers differ by rounding only, or a recording is as much longer as its end is later."""
    if one.said is None or other.said is None or name not in ("duration_s", "size_bytes"):
        return False
    longer, ends = getattr(other.said, name) - getattr(one.said, name), (one.said.ended_at, other.said.ended_at)
    if name == "duration_s" and ends[0] is not None and ends[1] is not None:
        later = (ends[1] - ends[0]).total_seconds()
        return abs(longer) <= _ROUNDING or (later != 0 and abs(longer - later) <= _END_ROUNDING_S)
    return bool(abs(longer) <= _ROUNDING)


def _judge(
    reading: Reading, doubts: Sequence[_Conflict | _Contradiction], files: dict[Identity, MediaFile], now: datetime
) -> tuple[StoredCallback, Identity | None]:
    """Judge a callback, and let what it says become of its file in `files`."""
    callback, verdict, reason, said, arrived_at = reading
    since, identity, reasons = callback.understood_at, None, [*(each.describe(callback) for each in doubts), reason]
    if doubts:
        moments = [each.since for each in doubts if each.since is not None]
        verdict, since = Verdict.CONFLICT, max(moments) if len(moments) == len(doubts) else None
    if said is not None:
        identity, suspicion = identify(said), _SUSPICIONS.get(verdict)
        files[identity], came_of_it = _announce(
            files.get(identity), said, arrived_at or callback.received_at, suspicion, since
        )
        reasons.append(came_of_it)
    text = "; ".join(filter(None, reasons))
    judged = callback._replace(verdict=verdict, reason=text, understood_at=since or now)
    for each in doubts:
        if isinstance(each, _Conflict) and all(kept.id != callback.id for kept in each.members[:MAX_CONTENTS]):
            judged = judged._replace(body_bytes=None)
    return judged, identity


def _announce(
    known: MediaFile | None,
    said: Announcement,
    received_at: datetime,
    suspicion: Suspicion | None,
    since: datetime | None,
) -> tuple[MediaFile, str]:
    """The file after an announcement, and what came of it, for people.

    A suspicion that is known `since` a moment changes nothing if the file was confirmed after that. None: since now,
    whatever the clock says; it may have been set back.
    """
    began_at, ended_at = trust_end(said.began_at, said.ended_at, received_at)
    if known is None:
        origin = (*identify(said), said.stream_id, said.event, ended_at, received_at)
        facts = (began_at, said.duration_s, said.size_bytes, said.replay_url)
        return MediaFile(0, *origin, *facts, suspicion=suspicion, decide_again=True), "announced a new file"
    if suspicion is not None and _was_confirmed(known, since):
        return known, "announced a file that was confirmed since"
    said = replace(said, began_at=began_at, ended_at=ended_at if ended_at == said.ended_at else None)
    merged = _merge(known, said, suspicion)
    text = f"announced a file that is {known.state} already"
    if known.state not in END_STATES:
        changed = [name for name in (*_COMPARED, "suspicion") if getattr(known, name) != getattr(merged, name)]
        others = [name for name in _COMPARED if getattr(said, name) not in (None, getattr(merged, name))]
        text = "announced a known file" + (f": changed {', '.join(map(_name_fact, changed))}" if changed else "")
        if others:
            text += f"; ignored: {', '.join(_describe_fact(said, name) for name in others)}"
    return _change(known, merged), text


def _merge(known: MediaFile, said: Announcement, suspicion: Suspicion | None) -> MediaFile:
    """The facts of a known file after another announcement, whose times are None where they are not trusted.

    The later end wins, missing facts are filled in. An announcement that is not trusted may make a file live longer but
    teaches nothing else; a trusted one replaces what only a stale one had said, and introduces a file that only a
    listing showed so far.
    """
    names: set[str] = set()
    if suspicion is None and known.suspicion is Suspicion.STALE:
        names = {"stream_id", "event", *_FACTS}
    elif suspicion is None:
        names = {name for name in _FACTS if getattr(known, name) is None}
        if not known.stream_id:
            names.add("stream_id")
        if known.is_adopted:
            names |= {"stream_id", "event"} if said.began_at is None else {"stream_id", "event", "began_at"}
    facts: dict[str, Any] = {name: getattr(said, name) for name in names}
    if said.ended_at is not None:
        # Where only the vendor's time was known, that still counts for its age; the end itself is now known better.
        created_at = known.vendor_created_at if known.is_adopted and suspicion is None else None
        if said.ended_at > known.ended_at or (created_at is not None and known.ended_at <= created_at):
            facts["ended_at"] = said.ended_at
    if suspicion is None and not known.is_adopted and "duration_s" not in names and said.duration_s is not None:
        facts["duration_s"] = max(known.duration_s or 0.0, said.duration_s)  # longer by its later end, or by rounding
    # Stale news about a file that a fresh callback announced prove nothing against it, and the other way round.
    if suspicion is Suspicion.CONFLICT or known.suspicion is Suspicion.STALE:
        facts["suspicion"] = suspicion
    return known._replace(**facts)


def _change(known: MediaFile, changed: MediaFile) -> MediaFile:
    """A changed file, to be decided again. Of one that has ended only a conflict is noted: a listing may show it."""
    if known.state not in END_STATES:
        return known if changed == known else changed._replace(decide_again=True)
    return known._replace(suspicion=changed.suspicion) if changed.suspicion is Suspicion.CONFLICT else known


def _was_confirmed(file: MediaFile, since: datetime | None) -> bool:
    return since is not None and file.confirmed_at is not None and since <= file.confirmed_at
