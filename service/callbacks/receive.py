"""Callbacks in: verified, stored durably, and only then answered 200 (docs/callbacks.md).

Nothing is understood here: the leader does that, in batches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

import structlog

from service.callbacks.quarantine import Quarantine, QuarantineLimits
from service.callbacks.store import NewCallback
from service.callbacks.writer import NotStored, Writer
from service.database import Database
from service.model import Verdict
from service.zego.envelope import Envelope, Unreadable, read_envelope
from service.zego.signature import verify_callback

MAX_WAIT_S: Final = 10.0
"""How long a request waits for its callback to be stored."""

log = structlog.get_logger(__name__)


class Answer(StrEnum):
    """How a callback is to be answered."""

    STORED = "stored"
    REFUSED = "refused"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    NOT_STORED = "not_stored"


class Receipt(NamedTuple):
    """How a callback is to be answered, and why, in a sentence."""

    answer: Answer
    detail: str


class Inbox:
    """Takes callbacks of these apps, each with its callback secrets (several while they are rotated)."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        secrets: Mapping[str, Sequence[str]],
        now: Callable[[], datetime],
        limits: QuarantineLimits = QuarantineLimits(),  # noqa: B008  (it is frozen)
    ) -> None:
        self._writer = writer
        self._secrets = secrets
        self._now = now
        self._quarantine = Quarantine(database, limits)

    def receive(self, raw: bytes, content_type: str) -> Receipt:
        """Take one request to the callback URL. When this returns STORED, the callback is durable."""
        receipt, writing = self._take(raw, content_type)
        try:
            if writing is not None:
                writing.result(MAX_WAIT_S)
        except (NotStored, TimeoutError) as error:
            return _describe_failure(receipt, error)
        return receipt

    async def receive_async(self, raw: bytes, content_type: str) -> Receipt:
        """As `receive`, for an event loop: no thread waits."""
        receipt, writing = self._take(raw, content_type)
        try:
            if writing is not None:
                await asyncio.wait_for(asyncio.wrap_future(writing), MAX_WAIT_S)
        except (NotStored, TimeoutError) as error:
            return _describe_failure(receipt, error)
        return receipt

    def _take(self, raw: bytes, content_type: str) -> tuple[Receipt, Future[None] | None]:
        """How to answer once the future is done."""
        try:
            envelope = read_envelope(raw, content_type)
            new = _describe(envelope, raw, content_type, self._now())
            refusal = authenticate(self._secrets, envelope)
            if refusal is None:
                return Receipt(Answer.STORED, "stored"), self._writer.store(new)
            return Receipt(Answer.REFUSED, refusal[1]), self._quarantine.keep(new, *refusal)
        except Unreadable as error:
            return Receipt(Answer.UNREADABLE, str(error)), None
        except Exception:
            log.exception("callback_failed")
            return Receipt(Answer.NOT_STORED, "an error on our side"), None


def _describe_failure(receipt: Receipt, error: Exception) -> Receipt:
    if receipt.answer is Answer.REFUSED:
        return receipt  # kept or not
    if isinstance(error, TimeoutError):
        return Receipt(Answer.NOT_STORED, f"it was not stored within {MAX_WAIT_S:g} s")
    return Receipt(Answer.NOT_STORED, str(error))


def authenticate(secrets: Mapping[str, Sequence[str]], envelope: Envelope) -> tuple[Verdict, str] | None:
    """Why a callback is not authentic, as FORGED or UNKNOWN_APP with the reason; None if it is."""
    of_app = secrets.get(envelope.app_id)
    if of_app is None:
        return Verdict.UNKNOWN_APP, "no app with this appid is configured: add it to the settings"
    if not verify_callback(of_app, envelope.signature, envelope.timestamp, envelope.nonce):
        return (
            Verdict.FORGED,
            "the signature fits none of this app's callback secrets: compare them with ZEGO's console",
        )
    return None


def _describe(envelope: Envelope, raw: bytes, content_type: str, now: datetime) -> NewCallback:
    # Of a callback that is not verified nothing is known to be storable: odd values are left to its raw bytes.
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
