"""What was listed enters the inventory: files are adopted, facts filled in, doubts settled, ended files reopened."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from service.core.model import END_STATES, FileState
from service.core.reconciling import BY_LISTING, believe_created, compare_listed, find_late_lost_day, find_lost_day
from service.db import files, listings, locks, revisions
from service.db.models import MediaFileRow
from service.usecases.announce import leave_erasure
from service.usecases.deciding import Circumstances, decide_again, decide_stream, lock_ranks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from service.core.listing import ListedFile
    from service.core.model import Lane
    from service.core.reconciling import Finding, KnownFile
    from service.core.rules import RuleSet
    from service.db.engine import Database, Session

CHUNK = 200
"""Files written in one transaction: arriving callbacks wait for no more."""

_DIFFERENCES_LIMIT = 4_000
NOT_DECIDED = (*END_STATES, FileState.FAILED, FileState.DELETING)
"""States in which no rule decides a file."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Page:
    """Files listed together: of which lane, in which listing (None: asked for directly), and asked for when."""

    lane: Lane
    listing_id: int | None
    asked_at: datetime
    files: Sequence[ListedFile]

    def chunks(self) -> Iterator[Page]:
        """The same files in portions, each named once."""
        unique: dict[str, ListedFile] = {}
        for file in self.files:
            # Listed twice with two ages, the later one counts.
            if file.file_id not in unique or _is_later(file, unique[file.file_id]):
                unique[file.file_id] = file
        files = list(unique.values())
        for start in range(0, len(files), CHUNK):
            yield replace(self, files=files[start : start + CHUNK])


@dataclass(frozen=True, slots=True)
class Adopter:
    """How listed files enter the inventory: how long adopted ones are left alone, and when the first callbacks came.

    With `since`, files that were made before it are not adopted. `expected_before` is set in a second look: what was
    announced before that moment should have been listed already.
    """

    cooling_off: timedelta
    first_callback_at: datetime | None = None
    since: datetime | None = None
    expected_before: datetime | None = None

    def take_in(self, session: Session, page: Page, now: datetime) -> Counter[str]:
        """Write what a page (one of its chunks) shows, in one transaction; returns what changed, as a listing counts.

        Idempotent: a page that is taken in twice counts once.
        """
        locks.lock_policy_shared(session)
        rules = revisions.current_rules(session)
        listed = {file.file_id: file for file in page.files}
        known = listings.find_known(session, page.lane, list(listed))
        compared = [(file, compare_listed(file, listed[file.file_id], page.asked_at, now)) for file in known.values()]
        seen = [file for file, finding in compared if finding is not None]
        changed = [file for file, finding in compared if finding is not None and finding.is_news]
        # Before any row is locked, as everybody does who ranks: files of no known stream are adopted.
        lock_ranks(session, rules, {(page.lane[0], ""), *((page.lane[0], file.stream_id) for file in changed)})
        counts = self._adopt(session, page, [listed[file_id] for file_id in listed.keys() - known.keys()], rules, now)
        counts["contradicted"] += sum(self._is_contradicted(file, page) for file in seen)
        if changed:
            counts += self._update(session, page, listed, changed, rules, now)
        counts["listed"] += listings.mark_seen(session, page.listing_id, [file.number for file in seen], page.asked_at)
        return counts

    def _is_contradicted(self, file: KnownFile, page: Page) -> bool:
        """In a second look: the first one should have shown the file, and did not."""
        is_late = self.expected_before is not None and file.received_at < self.expected_before
        return is_late and file.state not in END_STATES and file.listed_in != page.listing_id

    def _adopt(
        self, session: Session, page: Page, new: Sequence[ListedFile], rules: RuleSet, now: datetime
    ) -> Counter[str]:
        circumstances = Circumstances(session, rules, now)
        rows = {}
        for listed in new:
            created = believe_created(listed, now)
            if self.since is not None and created is not None and created < self.since:
                continue
            row = self._make_row(page, listed, created, now)
            _, decision, approval = circumstances.decide(row)
            files.apply_decision(row, decision, approval, rules.revision, now)
            rows[listed.file_id] = row
        added = listings.insert_files(session, list(rows.values()))
        lost = sum(rows[file_id].lost_on is not None for file_id in added)
        return Counter(listed=len(added), adopted=len(added), lost=lost)

    def _make_row(self, page: Page, listed: ListedFile, created: datetime | None, now: datetime) -> MediaFileRow:
        return MediaFileRow(
            app_id=page.lane[0],
            vendor=page.lane[1],
            file_id=listed.file_id,
            # A listing tells neither: rules that ask for them cannot be judged, and keep the file.
            stream_id="",
            event="",
            ended_at=created or now,
            received_at=now,
            duration_s=listed.duration_s,
            size_bytes=listed.size_bytes,
            replay_url=listed.media_url,
            name=listed.name,
            vendor_created_at=created,
            vendor_expires_at=listed.expires_at,
            listed_at=page.asked_at,
            listed_in=page.listing_id,
            adopted_at=now,
            quiet_until=self._quiet_until(now),
            lost_on=find_lost_day(created, self.first_callback_at),
            state=FileState.KEPT,
            state_reason="not decided yet",
            revision=-1,
            decided_at=now,
            attempts=0,
        )

    def _quiet_until(self, now: datetime) -> datetime | None:
        return find_quiet_end(self.cooling_off, now)

    def _update(
        self,
        session: Session,
        page: Page,
        listed: Mapping[str, ListedFile],
        changed: Sequence[KnownFile],
        rules: RuleSet,
        now: datetime,
    ) -> Counter[str]:
        streams = {(page.lane[0], file.stream_id) for file in changed}
        counts: Counter[str] = Counter()
        undecided = []
        for row in files.find_files(session, [file.number for file in changed], lock=True).values():
            # (Once more, now that the row is locked: what was read before may have changed since.)
            known = listings.describe_known(session, row)
            finding = compare_listed(known, listed[row.file_id], page.asked_at, now)
            if finding is None:
                continue
            if lost_on := find_late_lost_day(known, finding.values.get("vendor_created_at"), self.first_callback_at):
                row.lost_on = lost_on
                counts["lost"] += 1
            counts += self._apply(session, row, finding, now)
            if row.state is FileState.FAILED:
                row.decided_at = now
            elif row.state not in END_STATES:
                # A claim on it is broken: what was told of it may be why it stays.
                undecided.append(row)
        session.flush()
        decide_again(session, undecided, rules, now)
        for app_id, stream_id in streams | {(row.app_id, row.stream_id) for row in undecided}:
            decide_stream(session, app_id, stream_id, rules, now)
        return counts

    def _apply(self, session: Session, row: MediaFileRow, finding: Finding, now: datetime) -> Counter[str]:
        if finding.difference is not None:
            drop_facts(session, row, finding.values, finding.difference)
            row.quiet_until = self._quiet_until(now)
        for column, value in finding.values.items():
            setattr(row, column, value)
        counts = Counter(filled=int(bool(finding.values)))
        if finding.confirms:
            row.suspicion, row.confirmed_at, row.confirmed_by = None, now, BY_LISTING
            counts["confirmed"] += 1
        if finding.reopens:
            log.warning("file_reopened", file=row.id, app=row.app_id, was=row.state.value)
            row.state, row.approval, row.retry_at, row.last_cache_code = FileState.KEPT, None, None, None
            row.attempts, row.first_attempt_at = 0, None
            row.quiet_until = self._quiet_until(now)
            counts["reopened"] += 1
        return counts


def find_quiet_end(cooling_off: timedelta, now: datetime) -> datetime | None:
    """Until when a file is left alone that a listing has just brought in, or of which it leaves less believed.

    To the full minute: files that were listed together cool together, and are decided as one kind.
    """
    if not cooling_off:
        return None
    until = now + cooling_off
    return until + timedelta(seconds=-until.timestamp() % 60)


def drop_facts(session: Session, row: MediaFileRow, values: Mapping[str, Any], note: str) -> None:
    """Forget what only doubted callbacks told of a file, note it, and take off it what rested on it."""
    left = leave_erasure(session, row, values.get("stream_id", row.stream_id))
    for column, value in values.items():
        setattr(row, column, value)
    for line in (note, *left):
        if line not in (row.differences or ""):
            row.differences = f"{row.differences or ''}\n{line}".strip()[-_DIFFERENCES_LIMIT:]


def _is_later(file: ListedFile, other: ListedFile) -> bool:
    return file.created_at is not None and (other.created_at is None or file.created_at > other.created_at)


def take_in_page(database: Database, adopter: Adopter, page: Page, now: datetime) -> Counter[str]:
    """Write what a page shows, chunk by chunk, and count it in its listing; returns the counts.

    Raises:
        DatabaseUnavailable: the database failed; what was written stays, and is not counted again with the same page.
    """
    total: Counter[str] = Counter()

    def write(session: Session, chunk: Page) -> Counter[str]:
        counts = adopter.take_in(session, chunk, now)
        if page.listing_id is not None:
            listings.count_up(session, page.listing_id, now, counts)
        return counts

    for chunk in page.chunks():
        total += database.transact(partial(write, chunk=chunk))
    return total
