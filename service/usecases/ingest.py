"""Callbacks in: verify, store durably, understand (docs/callbacks.md).

The trust boundary: ZEGO signs no body, only a timestamp and a nonce. A valid signature admits a callback to the inbox;
what its body says is believed only while nothing speaks against it (fresh, and the only body with that signature).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

import structlog

from service.core.model import QUARANTINE_VERDICTS, Callback, Suspicion, Verdict
from service.core.wording import in_words
from service.db import inbox, locks
from service.db.engine import DatabaseUnavailable, is_transient
from service.db.inbox import NewCallback
from service.usecases.announce import announce_file, lock_streams_of, suspect_file
from service.zego.callback import NotUnderstood, Uninteresting, parse_callback
from service.zego.envelope import Envelope, Unreadable, read_envelope
from service.zego.signature import parse_timestamp, verify_callback

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from service.db.engine import Database, Session
    from service.db.models import CallbackRow

_AHEAD = timedelta(minutes=2)
_BATCH = 500
_SAME_SIGNATURE = "callback {} carries the same signature with other content"

log = structlog.get_logger(__name__)


class Answer(StrEnum):
    """How a callback is to be answered."""

    STORED = "stored"
    REFUSED = "refused"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a callback; `detail` says it in a sentence."""

    answer: Answer
    detail: str
    callback_id: int | None = None
    app_id: str = ""
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class QuarantineLimits:
    """How much the quarantine holds of one known app, and of all unknown apps together."""

    count: int = 1_000
    size_bytes: int = 8_000_000


@dataclass(frozen=True, slots=True)
class Ingest:
    """What taking in callbacks needs: a database, the callback secrets of every app, and a clock."""

    database: Database
    secrets: Mapping[str, Sequence[str]] = field(repr=False)
    freshness: timedelta
    now: Callable[[], datetime]
    quarantine: QuarantineLimits = QuarantineLimits()
    confirm_all: bool = False


def receive_callback(ingest: Ingest, raw: bytes, content_type: str) -> Receipt:
    """Take in one request to the callback URL. When this returns STORED, the callback is durable.

    Raises:
        DatabaseUnavailable: an authentic callback could not be stored; ZEGO has to send it again.
    """
    now = ingest.now()
    try:
        envelope = read_envelope(raw, content_type)
    except Unreadable as error:
        return Receipt(Answer.UNREADABLE, str(error))
    new = _to_store(envelope, raw, content_type, now)
    verdict, reason = authenticate(ingest, envelope)
    if verdict in QUARANTINE_VERDICTS:
        _set_aside(ingest, new, verdict, reason)
        return Receipt(Answer.REFUSED, reason, app_id=new.app_id, verdict=verdict)
    return ingest.database.transact(lambda session: _take_in(session, ingest, new, envelope))


def finish_callbacks(ingest: Ingest) -> int:
    """Understand callbacks that were stored but not finished (a crash, an error); returns how many are finished now."""
    finished = after = 0
    while True:
        with ingest.database.read() as session:
            unfinished = inbox.list_unfinished(session, after, _BATCH)
        if not unfinished:
            return finished
        finished += sum(replay_callback(ingest, callback_id) is not Verdict.PENDING for callback_id in unfinished)
        after = unfinished[-1]


def replay_callback(ingest: Ingest, callback_id: int) -> Verdict | None:
    """Understand one stored callback again, with today's code; None if there is none.

    One from the quarantine is verified again first, with today's secrets; any other one was authentic when it arrived.
    Its freshness is judged by when it was received. What it announced before stays announced: nothing is doubled.
    """
    return ingest.database.transact(lambda session: _replay(session, ingest, callback_id))


def authenticate(ingest: Ingest, envelope: Envelope) -> tuple[Verdict, str]:
    """Judge who sent it: PENDING (authentic, to be understood), FORGED or UNKNOWN_APP, with the reason."""
    secrets = ingest.secrets.get(envelope.app_id)
    if secrets is None:
        return Verdict.UNKNOWN_APP, "no app with this appid is configured: add it to the settings"
    if not verify_callback(secrets, envelope.signature, envelope.timestamp, envelope.nonce):
        return (
            Verdict.FORGED,
            "the signature fits none of this app's callback secrets: compare them with ZEGO's console",
        )
    return Verdict.PENDING, "stored, not understood yet"


def _take_in(session: Session, ingest: Ingest, new: NewCallback, envelope: Envelope) -> Receipt:
    locks.lock_policy_shared(session)
    inbox.lock_signature(session, new.signature, new.received_at)
    row, created = inbox.store_callback(session, new, Verdict.PENDING, "stored, not understood yet")
    if not created:
        row.repeats += 1
        if row.verdict is not Verdict.PENDING and row.verdict not in QUARANTINE_VERDICTS:
            return Receipt(Answer.STORED, f"a repeat of callback {row.id}", row.id, row.app_id, row.verdict)
    _understand(session, ingest, row, envelope)
    return Receipt(Answer.STORED, row.reason, row.id, row.app_id, row.verdict)


def _replay(session: Session, ingest: Ingest, callback_id: int) -> Verdict | None:
    known = inbox.find_callback(session, callback_id)
    if known is None:
        return None
    locks.lock_policy_shared(session)
    inbox.lock_signature(session, known.signature, ingest.now())
    row = inbox.find_callback(session, callback_id, lock=True)
    if row is None:
        return None
    try:
        envelope = read_envelope(row.raw, row.content_type)
    except Unreadable as error:
        _finish(row, Verdict.NOT_UNDERSTOOD, str(error), ingest.now())
        return row.verdict
    if row.verdict in QUARANTINE_VERDICTS:
        row.verdict, row.reason = authenticate(ingest, envelope)
        if row.verdict in QUARANTINE_VERDICTS:
            return row.verdict
    _understand(session, ingest, row, envelope)
    return row.verdict


def _understand(session: Session, ingest: Ingest, row: CallbackRow, envelope: Envelope) -> None:
    """Turn a stored callback into what it means. An error leaves it stored and unfinished, to be tried again.

    That another callback carries its signature is written down in any case: what speaks against a file must not get
    lost.
    """
    # When its content was on record first: who vouches for a file after that has seen it. Nobody has seen a new one.
    known_since = row.finished_at
    row.verdict, row.reason, row.finished_at = Verdict.PENDING, "stored, not understood yet", None
    session.flush()
    parsed = _parse(envelope)
    conflict = _dispute(session, row, parsed, known_since, ingest.now())
    try:
        with session.begin_nested():
            _settle(session, ingest, row, envelope, parsed, conflict, known_since)
    except Exception as error:
        if is_transient(error):
            raise
        log.exception("callback_not_finished", callback=row.id, app=row.app_id)
        session.refresh(row)
        row.reason = f"stored; understanding it failed ({type(error).__name__}) and is tried again"


def _parse(envelope: Envelope) -> Callback | Uninteresting | NotUnderstood:
    if envelope.problem:
        return NotUnderstood(envelope.problem)
    try:
        return parse_callback(envelope)
    except Exception as error:  # it would fail the same way for ever
        log.exception("callback_not_parsed", app=envelope.app_id)
        return NotUnderstood(f"reading it failed with {type(error).__name__}: report this as a defect")


def _dispute(
    session: Session,
    row: CallbackRow,
    parsed: Callback | Uninteresting | NotUnderstood,
    known_since: datetime | None,
    now: datetime,
) -> str | None:
    """Look for other callbacks with this one's signature, and doubt them all; says so in words if there are any."""
    other = inbox.find_same_signature(session, row)
    disputed = inbox.find_undisputed(session, row)
    announced = [(parsed.app_id, parsed.stream_id)] if isinstance(parsed, Callback) else []
    lock_streams_of(session, [each.media_file_id for each in disputed], announced)
    for each in disputed:
        each.verdict, each.reason = Verdict.CONFLICT, _SAME_SIGNATURE.format(row.id)
        if each.media_file_id is not None:
            suspect_file(session, each.media_file_id, known_since, now)
    return _SAME_SIGNATURE.format(other) if other else None


def _settle(
    session: Session,
    ingest: Ingest,
    row: CallbackRow,
    envelope: Envelope,
    parsed: Callback | Uninteresting | NotUnderstood,
    conflict: str | None,
    known_since: datetime | None,
) -> None:
    now = ingest.now()
    if isinstance(parsed, Callback):
        stale = _staleness(envelope, row.received_at, ingest.freshness)
        suspicion = Suspicion.CONFLICT if conflict else Suspicion.STALE if stale else None
        row.media_file_id = announce_file(session, parsed, suspicion, row.received_at, known_since, now)
        verdict = Verdict(suspicion.value) if suspicion else Verdict.ACCEPTED
        _finish(row, verdict, conflict or stale or f"announced media file {row.media_file_id}", now)
    elif conflict:
        _finish(row, Verdict.CONFLICT, f"{conflict}; {parsed.reason}", now)
    else:
        verdict = Verdict.IGNORED if isinstance(parsed, Uninteresting) else Verdict.NOT_UNDERSTOOD
        _finish(row, verdict, parsed.reason, now)
    # A replay moves no moment: who vouched for the file since then has still seen what the callback says.
    row.finished_at = known_since or now
    session.flush()


def _staleness(envelope: Envelope, received_at: datetime, freshness: timedelta) -> str | None:
    sent_at = parse_timestamp(envelope.timestamp)
    if sent_at is None:
        return "its timestamp is no time"
    if received_at - sent_at > freshness:
        return f"its timestamp {in_words(sent_at)} was too old when it arrived"
    if sent_at - received_at > _AHEAD:
        return f"its timestamp {in_words(sent_at)} lay ahead of our clock when it arrived"
    return None


def _finish(row: CallbackRow, verdict: Verdict, reason: str, now: datetime) -> None:
    row.verdict, row.reason, row.finished_at = verdict, reason, now


def _set_aside(ingest: Ingest, new: NewCallback, verdict: Verdict, reason: str) -> None:
    """Keep what is answered 401, capped; the oldest stay, for a flood must not wash out what came before it.

    A full quarantine is only read: a flood must not keep authentic callbacks from writing, either.
    """
    bucket = new.app_id if verdict is Verdict.FORGED else None
    try:
        with ingest.database.read() as session:
            has_room = _has_room(session, ingest, new, bucket)
        if has_room:
            ingest.database.transact(lambda session: _quarantine(session, ingest, new, verdict, reason, bucket))
        else:
            log.warning("quarantine_full", app=new.app_id)
    except DatabaseUnavailable as error:
        log.warning("quarantine_failed", app=new.app_id, error=str(error))


def _has_room(session: Session, ingest: Ingest, new: NewCallback, bucket: str | None) -> bool:
    if inbox.is_stored(session, new):
        return True
    count, size = inbox.quarantine_usage(session, bucket)
    return count < ingest.quarantine.count and size + len(new.raw) <= ingest.quarantine.size_bytes


def _quarantine(
    session: Session, ingest: Ingest, new: NewCallback, verdict: Verdict, reason: str, bucket: str | None
) -> None:
    locks.lock_name(session, f"quarantine/{bucket}")
    if _has_room(session, ingest, new, bucket):
        row, created = inbox.store_callback(session, new, verdict, reason)
        if not created and row.verdict in QUARANTINE_VERDICTS:
            row.repeats += 1


def _to_store(envelope: Envelope, raw: bytes, content_type: str, now: datetime) -> NewCallback:
    # Of an unverified callback nothing is known to be storable: odd values are left to its raw bytes.
    app_id = envelope.app_id if envelope.app_id.isascii() and envelope.app_id.isdigit() else ""
    signature = envelope.signature.lower()
    is_hex = len(signature) == 40 and all(c in "0123456789abcdef" for c in signature)  # noqa: PLR2004  (SHA-1 in hex)
    return NewCallback(
        app_id=app_id[:20],
        signature=signature if is_hex else "",
        content_hash=envelope.content_hash,
        received_at=now,
        raw=raw,
        content_type=content_type.encode("ascii", "replace").decode().replace("\x00", "?")[:200],
        event=envelope.event[:64] if envelope.event.isascii() and envelope.event.isprintable() else "",
    )
