"""The leader's work on the inbox: pending callbacks become files and verdicts, and old bytes are dropped."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog

from service.callbacks import store
from service.callbacks.understand import (
    MAX_CONTENTS,
    Identity,
    Reading,
    StoredCallback,
    identify,
    read_callback,
    recall,
    reread_callback,
    understand,
)
from service.database import DatabaseUnavailable, Transaction
from service.files import store as files
from service.files.policy import PolicyReader
from service.leader.leader import Leader, LeadLost
from service.model import END_STATES, FileState, MediaFile, Vendor, Verdict
from service.rules.decide import leaves_erasure

_AIM_S: Final = 0.05
"""How long a transaction may take: meanwhile, on SQLite, nobody else writes."""

_LINES_A_SECOND: Final = 5
_PRUNED_AT_ONCE: Final = 500
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
    _counts_until: float = 0.0

    def run(self) -> int:
        """Understand all that was pending when it was called, however fast others arrive; returns how many."""
        total = 0
        with self.leader.database.read() as tx:
            up_to = store.find_highest_id(tx)
        while True:
            limit = min(self._fitting, self.max_batch)
            with self.leader.database.read() as tx:
                pending = store.list_pending(tx, limit, up_to)
            if pending:
                # Nobody but the leader makes them other than pending: they are as they were read, or the lead is lost.
                self._understand_batch(pending)
                total += len(pending)
            if len(pending) < limit:
                return total

    def _understand_batch(self, callbacks: Sequence[StoredCallback]) -> None:
        """Understand callbacks together; if one of them cannot be understood, one by one."""
        failure = self._try(callbacks, lambda: [read_callback(each, self.freshness) for each in callbacks])
        if failure is None:
            return
        if len(callbacks) > 1:
            for callback in callbacks:
                self._understand_batch([callback])
            return
        # Others with its signature are in conflict all the same; but even if that fails it is not tried for ever.
        reason = f"understanding it failed ({failure}): report this as a defect"
        failed = Reading(callbacks[0], Verdict.NOT_UNDERSTOOD, reason)
        if self._try(callbacks, lambda: [failed]) is not None:
            moment = failed.callback.understood_at or self.now()
            judged = failed.callback._replace(verdict=failed.verdict, reason=reason, understood_at=moment)
            self.leader.transact(lambda tx: store.save_judgements(tx, [judged]))

    def _try(self, callbacks: Sequence[StoredCallback], read: Callable[[], Sequence[Reading]]) -> str | None:
        """Understand callbacks; the name of the error if one of them cannot be understood.

        Errors that say nothing about the callbacks are raised: the same ones will be understood later.
        """
        try:
            readings = read()
            took_s, judged = self.leader.transact(lambda tx: self._understand(tx, readings))
        except LeadLost:
            raise
        except Exception as error:
            if isinstance(error, DatabaseUnavailable) and not error.is_refusal:
                raise
            log.exception("callbacks_not_understood", callbacks=[each.id for each in callbacks])
            return type(error).__name__
        self._report(readings, judged)
        if len(readings) >= min(self._fitting, self.max_batch):
            fits = round(len(readings) * _AIM_S / max(took_s, 0.001))
            self._fitting = max(10, min(fits, 2 * self._fitting, self.max_batch))
        return None

    def _report(self, readings: Sequence[Reading], judged: Iterable[StoredCallback]) -> None:
        """Log what callbacks were understood as: each, where that makes a few lines a second, else their number."""
        now, by_id = time.monotonic(), {each.id: each for each in judged}
        found = [by_id[reading.callback.id] for reading in readings]
        if len(found) > _LINES_A_SECOND or now < self._counts_until:
            log.info("callbacks_understood", callbacks=len(found), **Counter(each.verdict.value for each in found))
            return
        self._counts_until = now + len(found) / _LINES_A_SECOND
        for reading, each in zip(readings, found, strict=True):
            said, facts = reading.said, {"callback": each.id, "app": each.app_id, "verdict": each.verdict.value}
            if said is not None:
                facts |= {"vendor": said.vendor.value, "stream": said.stream_id, "file": each.media_file_id}
            if each.verdict is not Verdict.ACCEPTED:
                facts |= {"reason": each.reason}
            log.info("callback_understood", **facts)

    def _understand(self, tx: Transaction, readings: Sequence[Reading]) -> tuple[float, list[StoredCallback]]:
        """Understand callbacks in one transaction; returns how long that took, in seconds, and what was judged."""
        started, now = time.monotonic(), self.now()
        announced, batch = _load_announced(tx, readings), [reading.callback for reading in readings]
        earlier = store.list_announcing(tx, list(announced), [each.id for each in batch]) if announced else []
        same = store.list_same_signatures(tx, batch)
        others = files.find_files(tx, [each.media_file_id for each in same if each.media_file_id is not None])
        known = {identify(file): file for file in (announced | others).values()}
        reread = [reread_callback(each, self.freshness, announced[each.media_file_id or 0]) for each in earlier]
        for number, count in Counter(each.media_file_id or 0 for each in earlier).items():
            if count >= MAX_CONTENTS and announced[number].suspicion is None:  # others may have said more
                last = next(each for each in reversed(earlier) if each.media_file_id == number)
                reread.append(recall(last, announced[number]))
        judged, changed = understand(readings, reread, same, known, now)
        numbers = self._save_files(tx, known, changed, now)
        named = [each if of is None else each._replace(media_file_id=numbers[of]) for each, of in judged]
        store.save_judgements(tx, named)
        return time.monotonic() - started, named

    def _save_files(
        self, tx: Transaction, known: Mapping[Identity, MediaFile], changed: Mapping[Identity, MediaFile], now: datetime
    ) -> dict[Identity, int]:
        """Decide about new and changed files, and store them; returns the numbers of all that are known then."""
        numbers = {identity: file.id for identity, file in known.items()}
        if not changed:
            return numbers
        policy = self.reader.read(tx, changed.values())
        decided: dict[Identity, MediaFile] = {}
        streams: dict[str, set[str]] = defaultdict(set)  # by app: those in which a file may start or cease to count
        for identity, file in changed.items():
            old, new = known.get(identity), file
            if old is not None:
                streams[old.app_id].add(old.stream_id)
                if new.erasure_id is not None and leaves_erasure(old, new, policy.erasures[new.erasure_id]):
                    new = new._replace(erasure_id=None)
            if old is not None or new.suspicion is None:
                streams[new.app_id].add(new.stream_id)
            decided[identity] = new if new.state in _NOT_DECIDED else policy.decide_file(new, now)
        added = [identity for identity in decided if identity not in known]
        numbers.update(zip(added, files.add_files(tx, [decided[identity] for identity in added]), strict=True))
        files.save_files(tx, [file for identity, file in decided.items() if identity in known])
        if any(rule.keep_latest for rule in policy.rules.rules):
            for app_id, names in streams.items():
                files.flag_streams(tx, app_id, names)
        return numbers


def _load_announced(tx: Transaction, readings: Iterable[Reading]) -> dict[int, MediaFile]:
    """The known files that callbacks announce, by number."""
    named: dict[tuple[str, Vendor], set[str]] = defaultdict(set)
    for reading in readings:
        if reading.said is not None:
            named[reading.said.app_id, reading.said.vendor].add(reading.said.file_id)
    found = (files.find_by_identity(tx, *whose, file_ids).values() for whose, file_ids in named.items())
    return {file.id: file for each in found for file in each}


def prune_inbox(leader: Leader, before: datetime, stop: threading.Event | None = None) -> int:
    """Drop the bytes of understood callbacks that came before a moment, in batches until `stop` is set; how many."""
    total, dropped = 0, _PRUNED_AT_ONCE
    while dropped == _PRUNED_AT_ONCE and (stop is None or not stop.is_set()):
        dropped = leader.transact(lambda tx: store.drop_bodies(tx, before, _PRUNED_AT_ONCE))
        total += dropped
    return total
