"""The inventory: finding, adding, deciding and listing media files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, func, or_, select

from service.core.model import Action, Decision, Erasure, FileState, MediaFile, Outcome, Vendor
from service.core.patterns import matches
from service.core.ranks import Span, newest
from service.core.rules import find_rule
from service.db.models import IS_ADOPTED_BY_URL, IS_QUIET, IS_UNDECIDED, AttemptRow, MediaFileRow
from service.db.schema import insert_into

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from service.core.matching import Match
    from service.core.rules import RetentionRule

_WINDOW = 50_000


@dataclass(frozen=True, slots=True)
class FileFilter:
    """Which files to list; every condition that is set must hold.

    `stream` is a pattern of `*` and `?`; `text` is a part of the file id or the stream, case-sensitive.
    """

    state: FileState | None = None
    app_id: str | None = None
    vendor: Vendor | None = None
    stream: str | None = None
    due_before: datetime | None = None
    due_after: datetime | None = None
    text: str | None = None


def facts_of(row: MediaFileRow, rank: int | None = None, erasure: Erasure | None = None) -> MediaFile:
    """What a decision may look at."""
    return MediaFile(
        app_id=row.app_id,
        vendor=row.vendor,
        file_id=row.file_id,
        stream_id=row.stream_id,
        event=row.event,
        began_at=row.began_at,
        ended_at=row.ended_at,
        received_at=row.received_at,
        duration_s=row.duration_s,
        size_bytes=row.size_bytes,
        replay_url=row.replay_url,
        suspicion=row.suspicion,
        rank=rank,
        erasure=erasure,
        vendor_created_at=row.vendor_created_at,
    )


def find_file(session: Session, file_key: int, *, lock: bool = False) -> MediaFileRow | None:
    """One file by its number in the inventory."""
    return session.get(MediaFileRow, file_key, with_for_update=lock or None)


def find_files(session: Session, file_keys: Sequence[int], *, lock: bool = False) -> dict[int, MediaFileRow]:
    """Files by their numbers; locked in one order for every transaction, so that none waits in a ring."""
    query = select(MediaFileRow).where(MediaFileRow.id.in_(file_keys)).order_by(MediaFileRow.id)
    return {row.id: row for row in session.scalars(query.with_for_update() if lock else query)}


def find_by_identity(session: Session, app_id: str, vendor: Vendor, file_id: str) -> MediaFileRow | None:
    """One file by what the vendor calls it, locked."""
    query = select(MediaFileRow).where(
        MediaFileRow.app_id == app_id, MediaFileRow.vendor == vendor, MediaFileRow.file_id == file_id
    )
    return session.scalars(query.with_for_update()).one_or_none()


def find_adopted_by_url(session: Session, app_id: str, urls: Sequence[str]) -> list[str]:
    """The ids of up to two files that were adopted from Huawei's listing with one of these URLs."""
    query = select(MediaFileRow.file_id).where(
        IS_ADOPTED_BY_URL, MediaFileRow.app_id == app_id, MediaFileRow.replay_url.in_(urls)
    )
    return list(session.scalars(query.limit(2)))


def add_file(session: Session, file: MediaFile, now: datetime) -> MediaFileRow | None:
    """Add a file, kept until it is decided; None when another transaction was faster."""
    statement = insert_into(session, MediaFileRow).values(
        app_id=file.app_id,
        vendor=file.vendor,
        file_id=file.file_id,
        stream_id=file.stream_id,
        event=file.event,
        began_at=file.began_at,
        ended_at=file.ended_at,
        received_at=file.received_at,
        duration_s=file.duration_s,
        size_bytes=file.size_bytes,
        replay_url=file.replay_url,
        suspicion=file.suspicion,
        state=FileState.KEPT,
        state_reason="not decided yet",
        revision=-1,
        decided_at=now,
        attempts=0,
    )
    created = session.scalar(statement.on_conflict_do_nothing().returning(MediaFileRow.id))
    return None if created is None else session.get(MediaFileRow, created)


def apply_facts(row: MediaFileRow, file: MediaFile) -> None:
    """Write merged facts back."""
    row.stream_id, row.event, row.suspicion = file.stream_id, file.event, file.suspicion
    row.began_at, row.ended_at = file.began_at, file.ended_at
    row.duration_s, row.size_bytes, row.replay_url = file.duration_s, file.size_bytes, file.replay_url


def note_decision(row: MediaFileRow, decision: Decision, approval: str | None, revision: int, now: datetime) -> None:
    """Write down what was decided of a file, but leave its state as it is."""
    row.state_reason, row.rule, row.due_at = decision.reason, decision.rule, decision.due_at
    row.cooling_until, row.observed_due_at = decision.cooling_until, decision.observed_due_at
    row.approval, row.revision, row.decided_at = approval, revision, now


def apply_decision(row: MediaFileRow, decision: Decision, approval: str | None, revision: int, now: datetime) -> None:
    """Write what was decided of an undecided file; its retry moment only lives on while its time has come."""
    note_decision(row, decision, approval, revision, now)
    row.state = decision.state
    row.claim_run_id = row.claimed_at = None
    if decision.action is not Action.DELETE:
        row.retry_at = None


def older_than_revision(session: Session, revision: int, limit: int, *, lock: bool = True) -> list[MediaFileRow]:
    """Undecided files that an older (or no) rule set decided."""
    query = (
        select(MediaFileRow)
        .where(IS_UNDECIDED, MediaFileRow.revision < revision)
        .order_by(MediaFileRow.revision, MediaFileRow.id)
        .limit(limit)
    )
    return list(session.scalars(query.with_for_update() if lock else query))


def list_older_than(session: Session, revision: int, after: int, limit: int) -> list[MediaFileRow]:
    """One batch of the undecided files that an older (or no) rule set decided, by number beyond `after`, not locked."""
    query = select(MediaFileRow).where(IS_UNDECIDED, MediaFileRow.revision < revision, MediaFileRow.id > after)
    return list(session.scalars(query.order_by(MediaFileRow.id).limit(limit)))


def count_older_than(session: Session, revision: int) -> int:
    """How many undecided files wait to be decided under this revision."""
    return session.scalar(select(func.count()).where(IS_UNDECIDED, MediaFileRow.revision < revision)) or 0


def newest_spans(
    session: Session,
    app_id: str,
    stream_id: str,
    rules: Sequence[RetentionRule],
    place: int,
    now: datetime,
    announced_by: datetime | None = None,
) -> list[Span]:
    """What the rule at this place, of those that it decides, keeps of a stream as its newest recordings.

    Only files that surely exist and stay but for the rules count: confirmed, not to be erased, undeleted, and not
    possibly deleted, as one in flight may be, or one with an attempt of unknown outcome; and not still left alone
    because a listing showed them only a while before `now`. Announced by a moment, if one is given.
    """
    rule, row = rules[place], MediaFileRow
    maybe_deleted = select(AttemptRow.id).where(
        AttemptRow.media_file_id == MediaFileRow.id,
        or_(AttemptRow.outcome.is_(None), AttemptRow.outcome == Outcome.UNKNOWN),
    )
    query = (
        select(row.id, row.vendor, row.event, row.began_at, row.ended_at, row.duration_s, row.size_bytes)
        .where(
            row.app_id == app_id,
            row.stream_id == stream_id,
            row.state.not_in([FileState.DELETED, FileState.GONE, FileState.DELETING]),
            row.suspicion.is_(None),
            row.erasure_id.is_(None),
            or_(row.quiet_until.is_(None), row.quiet_until <= now),
            ~maybe_deleted.exists(),
            *_may_match(rule.match),
        )
        .order_by(row.ended_at.desc(), row.id.desc())
    )
    if announced_by is not None:
        query = query.where(row.received_at <= announced_by)
    rows = session.execute(query.execution_options(yield_per=100))
    seen: dict[int, Span] = {}

    def remember() -> Iterator[Span]:
        for file_key, vendor, event, began_at, ended_at, duration_s, size_bytes in rows:
            facts = MediaFile(
                app_id, vendor, "", stream_id, event, began_at, ended_at, ended_at, duration_s, size_bytes
            )
            if find_rule(facts, rules) == place:
                seen[file_key] = Span(file_key, began_at, ended_at)
                yield seen[file_key]

    kept = newest(remember(), rule.keep_latest or 0)
    rows.close()
    return [span for file_key, span in seen.items() if file_key in kept]


def list_quieted_streams(session: Session, now: datetime, limit: int) -> list[tuple[str, str]]:
    """Streams with files that have been left alone for long enough since a listing showed them; at most `limit`."""
    row = MediaFileRow
    query = select(row.app_id, row.stream_id).where(IS_QUIET, row.quiet_until <= now).distinct()
    return [(app_id, stream_id) for app_id, stream_id in session.execute(query.limit(limit))]


def end_quiet(session: Session, app_id: str, stream_id: str, now: datetime) -> None:
    """Note on the files of a stream that nobody has to leave them alone any more."""
    row = MediaFileRow
    query = select(row).where(IS_QUIET, row.app_id == app_id, row.stream_id == stream_id, row.quiet_until <= now)
    for each in session.scalars(query.order_by(row.id).with_for_update()):
        each.quiet_until = None
    session.flush()


def ruled_by_rank(session: Session, app_id: str, stream_id: str, rules: Iterable[str]) -> list[MediaFileRow]:
    """Files of a stream that one of these rules (with keep_latest) keeps, or that are claimed under it, locked."""
    query = select(MediaFileRow).where(
        MediaFileRow.app_id == app_id,
        MediaFileRow.stream_id == stream_id,
        MediaFileRow.state.in_([FileState.KEPT, FileState.DELETING]),
        MediaFileRow.rule.in_(list(rules)),
    )
    return list(session.scalars(query.order_by(MediaFileRow.id).with_for_update()))


def list_files(
    session: Session, wanted: FileFilter, limit: int | None = None, *, after: int = 0
) -> Iterator[MediaFileRow]:
    """Files by number, beyond `after`, streamed."""
    query = select(MediaFileRow).where(*_conditions(session, wanted), MediaFileRow.id > after).order_by(MediaFileRow.id)
    found = session.scalars(query.execution_options(yield_per=500))
    pattern = wanted.stream
    try:
        yield from islice((row for row in found if pattern is None or matches(pattern, row.stream_id)), limit)
    finally:
        found.close()


def page_files(
    session: Session, wanted: FileFilter, limit: int, *, after: int = 0
) -> tuple[list[MediaFileRow], int | None]:
    """One page of files by number, beyond `after`, and the number to go on after: None at the end.

    No more than a window of files is looked at, so that a page costs the same at any depth and however few fit: it may
    hold fewer than there are.
    """
    edge = _edge_of_window(session, wanted, after)
    query = select(MediaFileRow).where(*_conditions(session, wanted), MediaFileRow.id > after)
    if edge is not None:
        query = query.where(MediaFileRow.id <= edge)
    rows = list(session.scalars(query.order_by(MediaFileRow.id).limit(limit + 1)))
    if len(rows) > limit:
        rows, edge = rows[:limit], rows[limit - 1].id
    return [row for row in rows if wanted.stream is None or matches(wanted.stream, row.stream_id)], edge


def _edge_of_window(session: Session, wanted: FileFilter, after: int) -> int | None:
    query = select(MediaFileRow.id).where(MediaFileRow.id > after).order_by(MediaFileRow.id)
    if wanted.state is not None:
        query = query.where(MediaFileRow.state == wanted.state)
    return session.scalar(query.offset(_WINDOW - 1).limit(1))


def count_files(session: Session, wanted: FileFilter) -> int | None:
    """How many files there are to list; None where a stream pattern would make counting as dear as listing."""
    if wanted.stream is not None:
        return None
    return session.scalar(select(func.count()).where(*_conditions(session, wanted)).select_from(MediaFileRow)) or 0


def count_by_state(session: Session) -> dict[FileState, int]:
    """How many files each state has."""
    rows = session.execute(select(MediaFileRow.state, func.count()).group_by(MediaFileRow.state))
    return {state: count for state, count in rows}  # noqa: C416  (dict() loses the types)


def count_overdue_unconfirmed(session: Session, now: datetime) -> int:
    """Files whose time has come but that nobody confirmed."""
    condition = and_(MediaFileRow.state == FileState.UNCONFIRMED, MediaFileRow.due_at <= now)
    return session.scalar(select(func.count()).where(condition)) or 0


def _may_match(match: Match) -> list[ColumnElement[bool]]:
    """What is true in SQL of every file that a match takes, as far as the database tells it exactly as we do."""
    row = MediaFileRow
    conditions: list[ColumnElement[bool]] = []
    if match.vendor is not None:
        conditions.append(row.vendor.in_(match.vendor))
    if match.event is not None:
        conditions.append(row.event.in_(match.event))
    if match.min_size is not None:
        conditions.append(row.size_bytes >= match.min_size)
    if match.max_size is not None:
        conditions.append(row.size_bytes <= match.max_size)
    return conditions


def _conditions(session: Session, wanted: FileFilter) -> list[ColumnElement[bool]]:
    """The filter in SQL. A stream pattern is only narrowed down here where the database reads it as we do."""
    row, is_sqlite = MediaFileRow, session.get_bind().dialect.name == "sqlite"
    position = func.instr if is_sqlite else func.strpos
    make: dict[str, Callable[[Any], ColumnElement[bool]]] = {
        "state": lambda state: row.state == state,
        # (An expression, not the column: SQLite would answer through an index on apps, and sort all of an app's files.)
        "app_id": lambda app_id: row.app_id.concat("") == app_id,
        "vendor": lambda vendor: row.vendor == vendor,
        "due_before": lambda moment: row.due_at < moment,
        "due_after": lambda moment: row.due_at > moment,
        "stream": lambda pattern: _fits(pattern, is_sqlite=is_sqlite),
        "text": lambda part: or_(position(row.file_id, part) > 0, position(row.stream_id, part) > 0),
    }
    values = {name: getattr(wanted, name) for name in make}
    return [make[name](value) for name, value in values.items() if value is not None]


def _fits(pattern: str, *, is_sqlite: bool) -> ColumnElement[bool]:
    if is_sqlite:
        return MediaFileRow.stream_id.op("GLOB")(pattern.replace("[", "[[]"))
    escaped = re.sub(r"([\\%_])", r"\\\1", pattern).replace("*", "%").replace("?", "_")
    return MediaFileRow.stream_id.like(escaped, escape="\\")
