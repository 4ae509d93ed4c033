"""The leader's way through the inbox: batch after batch, pending callbacks become files and verdicts."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog

from service.callbacks import store
from service.callbacks.announce import Change, FileBook, Identity, identify
from service.callbacks.store import StoredCallback
from service.callbacks.understand import Judgement, Reading, SameSignature, understand
from service.database import DatabaseUnavailable, Transaction
from service.files import store as files
from service.files.policy import PolicyReader
from service.leader.leader import Leader, LeadLost
from service.model import END_STATES, Announcement, FileState, MediaFile, Vendor, Verdict
from service.zego.callback import NoFile, parse_callback
from service.zego.envelope import Unreadable, read_envelope
from service.zego.signature import parse_timestamp

_AIM_S: Final = 0.05
"""How long a transaction may take: meanwhile, on SQLite, nobody else writes."""

_NOT_DECIDED: Final = END_STATES | {FileState.DELETING}

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Understanding:
    """Understands whatever is pending in the inbox. It can be killed and started at any point."""

    leader: Leader
    reader: PolicyReader
    freshness: timedelta
    now: Callable[[], datetime]
    max_batch: int = 500
    _fitting: int = field(default=100)
    """How many callbacks fit into a transaction, as far as is known."""

    def run(self) -> int:
        """Understand all that was pending when it was called; returns how many callbacks that were.

        Later ones are for the next run: however fast they arrive, this one ends.

        Raises:
            LeadLost: another process leads.
            DatabaseUnavailable: the database could not be reached, or a transient error did not go away.
        """
        total = 0
        with self.leader.database.read() as tx:
            up_to = store.find_highest_id(tx)
        while True:
            limit = min(self._fitting, self.max_batch)
            with self.leader.database.read() as tx:
                pending = store.list_pending(tx, limit, up_to)
            if pending:
                # Nobody but the leader makes them other than pending: they are as they were read, or the lead is lost.
                self._understand_batch([read_callback(callback) for callback in pending])
                total += len(pending)
            if len(pending) < limit:
                return total

    def _understand_batch(self, readings: Sequence[Reading]) -> None:
        if self._try(readings) is None:
            return
        for reading in readings:
            failure = self._try([reading])
            if failure is not None:
                self._give_up(reading, f"understanding it failed ({failure}): report this as a defect")

    def _give_up(self, reading: Reading, reason: str) -> None:
        """Write down that a callback cannot be understood; others with its signature are in conflict all the same."""
        if self._try([reading._replace(parsed=NoFile(Verdict.NOT_UNDERSTOOD, reason))]) is not None:
            since = reading.understood_at or self.now()
            failed = Judgement(reading.id, reading.key, Verdict.NOT_UNDERSTOOD, reason, since, reading.media_file_id)
            self.leader.transact(lambda tx: store.save_judgements(tx, [failed]))

    def _try(self, readings: Sequence[Reading]) -> str | None:
        """Understand callbacks; the name of the error if one of them cannot be understood.

        Errors that say nothing about the callbacks are raised: the same ones will be understood later.
        """
        try:
            self._transact(readings)
        except LeadLost:
            raise
        except Exception as error:
            if isinstance(error, DatabaseUnavailable) and not error.is_refusal:
                raise
            log.exception("callbacks_not_understood", callbacks=[reading.id for reading in readings])
            return type(error).__name__
        return None

    def _transact(self, readings: Sequence[Reading]) -> None:
        took = self.leader.transact(lambda tx: self._understand(tx, readings))
        if len(readings) >= min(self._fitting, self.max_batch):
            fits = round(len(readings) * _AIM_S / max(took, 0.001))
            self._fitting = max(10, min(fits, 2 * self._fitting, self.max_batch))

    def _understand(self, tx: Transaction, readings: Sequence[Reading]) -> float:
        """Understand callbacks in one transaction; returns how long that took, in seconds."""
        started = time.monotonic()
        now = self.now()
        same = store.list_same_signatures(tx, (each.key[0] for each in readings), (each.id for each in readings))
        book = _open_book(tx, readings, same)
        judgements = understand(readings, same, book, self.freshness, now)
        numbers = self._save_files(tx, list(book.changes()), now)
        numbers |= {identity: file.id for identity, file in book.known.items()}
        store.save_judgements(tx, [_number_file(judgement, numbers) for judgement in judgements])
        return time.monotonic() - started

    def _save_files(self, tx: Transaction, changes: Sequence[Change], now: datetime) -> dict[Identity, int]:
        """Decide about new and changed files, and store them; returns the numbers of the new ones."""
        if not changes:
            return {}
        policy = self.reader.read(tx, [change.new for change in changes])
        new: list[MediaFile] = []
        changed: list[MediaFile] = []
        for change in changes:
            file = change.new if change.new.state in _NOT_DECIDED else policy.decide_file(change.new, now)
            (new if change.old is None else changed).append(file)
        numbers = files.add_files(tx, new)
        files.save_files(tx, changed)
        if any(rule.keep_latest for rule in policy.rules.rules):
            for app_id, streams in _find_changed_streams(changes).items():
                files.flag_streams(tx, app_id, streams, only_state=FileState.KEPT)
        return {(file.app_id, file.vendor, file.file_id): number for file, number in zip(new, numbers, strict=True)}


def read_callback(callback: StoredCallback) -> Reading:
    """Read and parse a stored callback. Never raises."""
    sent_at: datetime | None = None
    parsed: Announcement | NoFile
    try:
        envelope = read_envelope(callback.raw or b"", callback.content_type)
        sent_at, parsed = parse_timestamp(envelope.timestamp), parse_callback(envelope)
    except Unreadable as error:
        parsed = NoFile(Verdict.NOT_UNDERSTOOD, str(error))
    except Exception as error:  # it would fail the same way for ever
        log.exception("callback_not_parsed", callback=callback.id)
        parsed = NoFile(Verdict.NOT_UNDERSTOOD, f"reading it failed ({type(error).__name__}): report this as a defect")
    since, number = callback.understood_at, callback.media_file_id
    return Reading(callback.id, callback.key, callback.received_at, sent_at, parsed, since, number)


def _open_book(tx: Transaction, readings: Iterable[Reading], same: Iterable[SameSignature]) -> FileBook:
    """Load the files that callbacks name, and those of other callbacks with their signatures."""
    named: dict[tuple[str, Vendor], set[str]] = defaultdict(set)
    for reading in readings:
        if isinstance(reading.parsed, Announcement):
            app_id, vendor, file_id = identify(reading.parsed)
            named[app_id, vendor].add(file_id)
    found: list[MediaFile] = []
    for (app_id, vendor), file_ids in named.items():
        found += files.find_by_identity(tx, app_id, vendor, file_ids).values()
    found += files.find_files(tx, [each.media_file_id for each in same if each.media_file_id is not None]).values()
    erasures = files.find_erasures(tx, [file.erasure_id for file in found if file.erasure_id is not None])
    return FileBook({(file.app_id, file.vendor, file.file_id): file for file in found}, erasures)


def _number_file(judgement: Judgement, numbers: dict[Identity, int]) -> Judgement:
    if judgement.identity is None:
        return judgement
    return judgement._replace(media_file_id=numbers[judgement.identity])


def _find_changed_streams(changes: Iterable[Change]) -> dict[str, set[str]]:
    """The streams by app in which a file may have started or ceased to count for `keep_latest`."""
    streams: dict[str, set[str]] = defaultdict(set)
    for old, new in changes:
        if old is not None:
            streams[old.app_id].add(old.stream_id)
        if old is not None or new.suspicion is None:
            streams[new.app_id].add(new.stream_id)
    return streams
