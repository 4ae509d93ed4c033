"""Callbacks in: verify, store durably, understand (docs/callbacks.md).

The trust boundary: ZEGO signs no body, only a timestamp and a nonce. A valid signature admits a callback to the inbox;
what its body says is believed only while nothing speaks against it (fresh, and the only body with that signature).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from service.core.model import QUARANTINE_VERDICTS, Verdict
from service.db import inbox, locks
from service.db.inbox import NewCallback
from service.usecases.quarantining import QuarantineLimits, quarantine_callback
from service.usecases.understanding import Judging, understand_callback
from service.zego.envelope import Envelope, Unreadable, read_envelope
from service.zego.signature import verify_callback

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime, timedelta

    from service.db.engine import Database, Session

_BATCH = 500


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
class Ingest:
    """What taking in callbacks needs: a database, the callback secrets of every app, and a clock.

    With `confirm_all`, files wait for the vendor's listing whatever their callbacks say.
    """

    database: Database
    secrets: Mapping[str, Sequence[str]] = field(repr=False)
    freshness: timedelta
    now: Callable[[], datetime]
    quarantine: QuarantineLimits = field(default_factory=QuarantineLimits)
    confirm_all: bool = False

    def judging(self) -> Judging:
        """What a callback is judged by now."""
        return Judging(self.freshness, self.confirm_all, self.now())


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
        quarantine_callback(ingest.database, ingest.quarantine, new, verdict, reason)
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
    """Understand one stored callback again, with today's code; None if there is none, or its body was dropped.

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
    understand_callback(session, row, envelope, ingest.judging())
    return Receipt(Answer.STORED, row.reason, row.id, row.app_id, row.verdict)


def _replay(session: Session, ingest: Ingest, callback_id: int) -> Verdict | None:
    known = inbox.find_callback(session, callback_id)
    if known is None:
        return None
    locks.lock_policy_shared(session)
    inbox.lock_signature(session, known.signature, ingest.now())
    row = inbox.find_callback(session, callback_id, lock=True)
    if row is None or row.pruned_at is not None:
        return None
    try:
        envelope = read_envelope(row.raw, row.content_type)
    except Unreadable as error:
        row.verdict, row.reason, row.finished_at = Verdict.NOT_UNDERSTOOD, str(error), ingest.now()
        return row.verdict
    if row.verdict in QUARANTINE_VERDICTS:
        row.verdict, row.reason = authenticate(ingest, envelope)
        if row.verdict in QUARANTINE_VERDICTS:
            return row.verdict
    understand_callback(session, row, envelope, ingest.judging())
    return row.verdict


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
