"""Callbacks in: verified, stored durably, and only then answered 200 (docs/callbacks.md); the leader understands them.

What is refused is kept in the quarantine, for the day when a secret turns out to have been wrong.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from typing import Final, NamedTuple
from urllib.parse import quote

import structlog

from service.callbacks.store import NewCallback, store_quarantined
from service.callbacks.writer import NotStored, Writer
from service.database import Database, DatabaseUnavailable
from service.model import Verdict
from service.zego.callback import Envelope, read_envelope
from service.zego.signature import verify_callback

MAX_WAIT_S: Final = 10.0
"""How long a request waits for its callback to be stored."""

_REASONS: Final = {
    Verdict.UNKNOWN_APP: "no app {app} is configured: add it to the settings",
    Verdict.FORGED: "the signature matches none of this app's callback secrets: compare them with ZEGO's console",
    Verdict.WRONG_PATH: "it came to the path {place}: correct the URL in ZEGO's console",
    Verdict.NOT_ALLOWED: "it came from {place}: if that is ZEGO, allow it in ZEGO_RETENTION_CALLBACK_ALLOW",
}
_MAX_PLACE: Final = 100
_MAX_WAITING: Final = 8
"""Callbacks that may wait for the quarantine at once; a flood beyond that is refused without being kept."""

_REMEMBERED_S: Final = 5.0
"""How long a quota is taken to be full without looking."""

log = structlog.get_logger(__name__)


class Refused(Exception):  # noqa: N818  (an answer to the sender, not a defect)
    """A callback is not authentic; the text says why, and what to do if it is one of ZEGO's."""


class QuarantineLimits(NamedTuple):
    """How much the quarantine holds of one known app, and of all unknown apps together."""

    callbacks: int = 1_000
    size_bytes: int = 8_000_000


class Inbox:
    """Takes callbacks of these apps, each with its callback secrets (several while they are rotated)."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        secrets: Mapping[str, Sequence[str]],
        now: Callable[[], datetime],
        limits: QuarantineLimits = QuarantineLimits(),  # noqa: B008  (it is frozen)
        *,
        max_wait_s: float = MAX_WAIT_S,
    ) -> None:
        self._database, self._writer, self._secrets, self._now, self._limits = database, writer, secrets, now, limits
        self._max_wait_s = max_wait_s
        self._quarantine = ThreadPoolExecutor(1, "quarantine")
        self._waiting: list[Future[None]] = []
        self._full_until: dict[tuple[Verdict, str | None], float] = {}

    def receive(self, raw: bytes, content_type: str) -> None:
        """Take one request; when this returns, the callback is durable. Else Unreadable, Refused or NotStored."""
        stored, late = self._take(raw, content_type, read_envelope(raw, content_type))
        try:
            stored.result(self._max_wait_s)
        except TimeoutError:
            stored.cancel()
            raise late from None

    async def receive_async(self, raw: bytes, content_type: str) -> None:
        """As `receive`, for an event loop: no thread waits."""
        stored, late = self._take(raw, content_type, read_envelope(raw, content_type))
        # (asyncio.wait_for and wrap_future would cost as much as all the rest of this method.)
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        stored.add_done_callback(lambda _: loop.call_soon_threadsafe(ended.set))
        timer = loop.call_later(self._max_wait_s, ended.set)
        await ended.wait()
        timer.cancel()
        if not stored.done():
            stored.cancel()
            raise late
        stored.result()

    def refuse_misplaced(self, raw: bytes, content_type: str, verdict: Verdict, place: str) -> str:
        """Keep a callback that came to another path, or from a place that is not allowed, in the quarantine.

        As `_take` does, but it does not wait for that. Returns the AppID that it names; Unreadable if it is none.
        """
        envelope = read_envelope(raw, content_type)
        with suppress(Refused):  # (there is no room)
            self._take(raw, content_type, envelope, misplaced=verdict, place=quote(place, safe="/:")[:_MAX_PLACE])
        return _plain(envelope.app_id, 20)

    def _take(
        self, raw: bytes, content_type: str, envelope: Envelope, *, misplaced: Verdict | None = None, place: str = ""
    ) -> tuple[Future[None], Exception]:
        """What to wait for, and what to raise if that takes too long."""
        names = _plain(envelope.signature, 40), _plain(envelope.app_id, 20), envelope.content_hash
        new = NewCallback(*names, raw, _plain(content_type, 200), _plain(envelope.event, 64), self._now())
        verdict = find_refusal(self._secrets, envelope)
        verdict = verdict or misplaced
        if verdict is None:
            return self._writer.store(new), NotStored(f"it was not stored within {self._max_wait_s:g} s")
        reason = _REASONS[verdict].format(app=new.app_id or "with this appid", place=place)
        refusal, quota = Refused(reason), (verdict, None if verdict is Verdict.UNKNOWN_APP else new.app_id)
        self._waiting = [each for each in self._waiting if not each.done()]
        if self._full_until.get(quota, 0.0) > time.monotonic() or len(self._waiting) >= _MAX_WAITING:
            raise refusal
        keeping = self._quarantine.submit(self._keep, new, quota, refusal)
        self._waiting.append(keeping)
        return keeping, refusal

    def _keep(self, new: NewCallback, quota: tuple[Verdict, str | None], refusal: Refused) -> None:
        """Keep a callback in the quarantine if that has room; the oldest stay, whatever a flood does. Always raises."""
        try:
            if not self._database.transact(
                lambda tx: store_quarantined(tx, new, quota[0], str(refusal), *self._limits)
            ):
                self._full_until[quota] = time.monotonic() + _REMEMBERED_S
                log.warning("quarantine_full", app=new.app_id)
        except DatabaseUnavailable as error:
            log.warning("quarantine_failed", app=new.app_id, error=str(error))
        raise refusal


def find_refusal(secrets: Mapping[str, Sequence[str]], envelope: Envelope) -> Verdict | None:
    """FORGED or UNKNOWN_APP where a callback is not authentic; None if it is."""
    if envelope.app_id not in secrets:
        return Verdict.UNKNOWN_APP
    is_authentic = verify_callback(secrets[envelope.app_id], envelope.signature, envelope.timestamp, envelope.nonce)
    return None if is_authentic else Verdict.FORGED


def _plain(text: str, length: int) -> str:
    """A text to store beside the raw bytes; what strangers may have made odd is left to those."""
    return text[:length] if text.isascii() and text.isprintable() else ""
