"""The inventory: one row per media file, identified by app, vendor and the vendor's file id; and the erasures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
    and_,
    bindparam,
    case,
    func,
    insert,
    null,
    or_,
    select,
    text,
    update,
)

from service.database import Transaction
from service.database.columns import BigId, columns_of, metadata, partial_index
from service.filters import FileFilter
from service.model import END_STATES, Erasure, FileState, MediaFile, Vendor
from service.rules.match import is_pattern

# The conditions of partial indexes, as text: a query with the same text is seen to be covered, on both databases.
IS_ELIGIBLE: Final = text("state = 'scheduled'")
IS_RETRIED: Final = text("state = 'scheduled' AND last_outcome IS NOT NULL")
IS_FLAGGED: Final = text("decide_again")
_IS_TO_ERASE: Final = text("erasure_id IS NOT NULL")

media_files: Final = Table(
    "media_files",
    metadata,
    *columns_of(
        MediaFile,
        id=Column("id", BigId, primary_key=True, autoincrement=False),
        app_id=String(20),
        event=String(64),
        revision=Integer(),
        moved_by=Integer(),
        attempts=Integer(),
    ),
    UniqueConstraint("app_id", "vendor", "file_id"),
    partial_index("ix_media_files_due", IS_ELIGIBLE, "app_id", "vendor", "call_after", "id"),
    partial_index("ix_media_files_retry", IS_RETRIED, "app_id", "vendor", "call_after", "id"),
    partial_index("ix_media_files_flagged", IS_FLAGGED, "id"),
    partial_index("ix_media_files_erasure", _IS_TO_ERASE, "erasure_id"),
    Index("ix_media_files_state", "state", "id"),
    Index("ix_media_files_stream", "app_id", "stream_id", "ended_at"),
)

erasures: Final = Table(
    "erasures",
    metadata,
    *columns_of(
        Erasure,
        id=Column("id", BigId, primary_key=True),
        app_id=String(20),
        file_ids=Column("file_ids", JSON, nullable=False),
    ),
)

COLUMNS: Final = tuple(media_files.c[name] for name in MediaFile._fields)
"""What to select for a `MediaFile`, in the order of its fields."""

_NOT_FOR_DECIDING: Final = frozenset(
    {"received_at", "began_at", "replay_url", "adopted_at", "listed_in", "missing_since", "confirmed_at"}
    | {"attempts", "first_attempt_at", "last_outcome", "last_attempt_id"}
)
COLUMNS_TO_DECIDE: Final = tuple(null() if column.name in _NOT_FOR_DECIDING else column for column in COLUMNS)
"""The same without what no decision looks at: that is None."""

MAX_LOOKED_AT: Final = 10_000
"""How many files are looked at for one page: it costs the same at any depth, however few fit."""

_PAGE: Final = 100

DECIDED: Final = (
    *("state", "state_reason", "state_at", "rule", "due_at", "wait_until", "wait_reason", "call_after", "revision"),
    *("decide_again", "moved_by"),
)
"""What a decision writes."""

_CHANGING: Final = tuple(
    name for name in MediaFile._fields if name not in ("id", "app_id", "vendor", "file_id", "received_at")
)
# Named so that no parameter has the name of a column: SQLAlchemy reserves those.
_SAVE_FILE: Final = (
    update(media_files)
    .where(media_files.c.id == bindparam("file"))
    .values({name: bindparam(f"new_{name}") for name in _CHANGING})
)


def add_files(tx: Transaction, files: Sequence[MediaFile]) -> list[int]:
    """Store new files; returns their numbers in the same order.

    Only the leader does this, so that it can count on from the highest number by itself.
    """
    if not files:
        return []
    first = find_highest_id(tx) + 1
    numbers = list(range(first, first + len(files)))
    rows = [file._asdict() | {"id": number} for number, file in zip(numbers, files, strict=True)]
    tx.execute(insert(media_files), rows)
    return numbers


def save_files(tx: Transaction, files: Sequence[MediaFile]) -> None:
    """Write everything that can change of these files."""
    if files:
        rows = [{"file": file.id} | {f"new_{name}": getattr(file, name) for name in _CHANGING} for file in files]
        tx.execute(_SAVE_FILE, rows)


def save_decisions(tx: Transaction, files: Sequence[MediaFile], before: Sequence[MediaFile] | None = None) -> None:
    """Write what was decided of these files, and nothing else.

    `before` are the same rows as this transaction has read them: what is alike in all of them is not written again.
    """
    # By hand, for it is done to all files after a change of rules: each database in the way that is quickest there.
    columns = {name: list(map(attrgetter(name), files)) for name in DECIDED}
    if before is not None:
        columns = {name: values for name, values in columns.items() if values != list(map(attrgetter(name), before))}
    if not files or not columns:
        return
    for name, values in columns.items():  # as the driver takes them
        process = media_files.c[name].type.dialect_impl(tx.dialect).bind_processor(tx.dialect)
        columns[name] = values if process is None else list(map(process, values))
    numbers = [file.id for file in files]
    if tx.dialect.name == "sqlite":
        places = ", ".join(f"{name} = ?" for name in columns)
        rows = list(zip(*columns.values(), numbers, strict=True))
        tx.exec_driver_sql(f"UPDATE media_files SET {places} WHERE id = ?", rows)  # noqa: S608  (our own names)
        return
    types = {name: media_files.c[name].type.compile(tx.dialect) for name in columns}
    same = [name for name, values in columns.items() if values.count(values[0]) == len(values)]
    listed = [name for name in columns if name not in same]
    sources = [f"{name} = %s::{types[name]}" for name in same] + [f"{name} = v.{name}" for name in listed]
    lists = ["%s::bigint[]", *(f"%s::{types[name]}[]" for name in listed)]
    tx.exec_driver_sql(
        f"UPDATE media_files SET {', '.join(sources)} FROM unnest({', '.join(lists)})"  # noqa: S608  (the same)
        f" AS v({', '.join(['number', *listed])}) WHERE media_files.id = v.number",
        (*(columns[name][0] for name in same), numbers, *(columns[name] for name in listed)),
    )


def find_file(tx: Transaction, number: int) -> MediaFile | None:
    """One file."""
    return find_files(tx, [number]).get(number)


def find_files(tx: Transaction, numbers: Iterable[int]) -> dict[int, MediaFile]:
    """Files by number; those that do not exist are left out."""
    query = select(*COLUMNS).where(media_files.c.id.in_(sorted(set(numbers))))
    return {row.id: MediaFile._make(row) for row in tx.execute(query)}


def find_by_identity(tx: Transaction, app_id: str, vendor: Vendor, file_ids: Iterable[str]) -> dict[str, MediaFile]:
    """Files of one app and vendor by the vendor's ids; those that are not known are left out."""
    is_named = media_files.c.file_id.in_(sorted(set(file_ids)))
    query = select(*COLUMNS).where(media_files.c.app_id == app_id, media_files.c.vendor == vendor, is_named)
    return {row.file_id: MediaFile._make(row) for row in tx.execute(query)}


def find_highest_id(tx: Transaction) -> int:
    """The highest number of the inventory; 0 while it is empty."""
    return tx.execute(select(func.max(media_files.c.id))).scalar() or 0


def list_in_range(tx: Transaction, after: int, limit: int, columns: Sequence[Any] = COLUMNS) -> list[MediaFile]:
    """Files by number, beyond `after`: one chunk of a walk over the whole inventory."""
    query = select(*columns).where(media_files.c.id > after).order_by(media_files.c.id).limit(limit)
    return [MediaFile._make(row) for row in tx.execute(query).all()]


def list_flagged(tx: Transaction, after: int, limit: int) -> list[MediaFile]:
    """Files to be decided again, beyond a number, with `COLUMNS_TO_DECIDE`; an open call is waited for."""
    is_free = media_files.c.state != FileState.DELETING
    query = select(*COLUMNS_TO_DECIDE).where(IS_FLAGGED, is_free, media_files.c.id > after)
    return [MediaFile._make(row) for row in tx.execute(query.order_by(media_files.c.id).limit(limit)).all()]


def flag_files(tx: Transaction, numbers: Iterable[int]) -> None:
    """Let files be decided again. Ended files are left out."""
    _flag(tx, media_files.c.id.in_(sorted(set(numbers))))


def flag_streams(tx: Transaction, app_id: str, streams: Iterable[str]) -> None:
    """Let the files of these streams of an app be decided again that are kept for their rank.

    The empty name, which stands for unknown streams, is left out: those files share nothing.
    """
    names, is_kept = sorted(set(streams) - {""}), media_files.c.state == FileState.KEPT
    has_date = media_files.c.due_at.is_not(None)
    _flag(tx, media_files.c.app_id == app_id, media_files.c.stream_id.in_(names), is_kept, has_date)


def _flag(tx: Transaction, *conditions: ColumnElement[bool]) -> None:
    is_there = media_files.c.state.not_in(END_STATES)
    tx.execute(update(media_files).where(*conditions, is_there).values(decide_again=True))


def fits_pattern(tx: Transaction, column: ColumnElement[Any], pattern: str) -> ColumnElement[bool]:
    """The condition that a column fits a pattern of `*` and `?`, case-sensitively."""
    if not is_pattern(pattern):
        return column == pattern
    if tx.dialect.name == "sqlite":  # its LIKE folds case
        return column.op("GLOB", is_comparison=True)(pattern.replace("[", "[[]"))
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return column.like(escaped.replace("*", "%").replace("?", "_"), escape="\\")


def count_by_state(tx: Transaction, *conditions: Any) -> dict[FileState, int]:  # noqa: ANN401  (text or expression)
    """How many files there are in each state."""
    query = select(media_files.c.state, func.count()).where(*conditions).group_by(media_files.c.state)
    return {state: count for state, count in tx.execute(query)}  # noqa: C416  (dict() loses the types)


def count_present(tx: Transaction, app_id: str) -> int:
    """How many files of an app are there, as far as is known: all that have not ended."""
    query = select(func.count()).where(media_files.c.app_id == app_id, media_files.c.state.not_in(END_STATES))
    return int(tx.execute(query).scalar_one())


def list_page(tx: Transaction, wanted: FileFilter, limit: int, *, after: int = 0) -> tuple[list[MediaFile], int | None]:
    """Files by number beyond `after`, and where to resume: None at the end.

    No more than `MAX_LOOKED_AT` files are looked at, so a page may hold fewer than fit.
    """
    number = media_files.c.id
    query = select(*COLUMNS).where(*_conditions(tx, wanted), number > after).order_by(number).limit(limit + 1)
    edge: int | None = None
    if not _is_one_stream(wanted):
        looked_at = select(number).where(number > after).order_by(number)
        if wanted.state is not None:
            looked_at = looked_at.where(media_files.c.state == wanted.state)
        edge = tx.execute(looked_at.offset(MAX_LOOKED_AT - 1).limit(1)).scalar()
    if edge is not None:
        query = query.where(number <= edge)
    files = [MediaFile._make(row) for row in tx.execute(query)]
    return (files[:limit], files[limit - 1].id) if len(files) > limit else (files, edge)


def count_files(tx: Transaction, wanted: FileFilter) -> int:
    """How many files there are to list; looks at all of them, unless nothing but their state is asked for."""
    query = select(func.count()).select_from(media_files).where(*_conditions(tx, wanted))
    return int(tx.execute(query).scalar_one())


def iterate_stream(tx: Transaction, app_id: str, stream_id: str, rule: str) -> Iterator[MediaFile]:
    """The files of a stream that a rule decided (not those that it cannot be judged for), the newest first."""
    columns = media_files.c
    query = select(*COLUMNS).where(columns.app_id == app_id, columns.stream_id == stream_id, columns.rule == rule)
    query = query.where(columns.due_at.is_not(None)).order_by(columns.ended_at.desc(), columns.id.desc())
    skip = 0
    while rows := tx.execute(query.limit(_PAGE).offset(skip)).all():
        yield from (MediaFile._make(row) for row in rows)
        skip += _PAGE


def add_erasure(tx: Transaction, erasure: Erasure) -> int:
    """Store an erasure; returns its number."""
    facts = asdict(erasure)
    del facts["id"]
    return int(tx.execute(insert(erasures).values(facts).returning(erasures.c.id)).scalar_one())


def find_erasures(tx: Transaction, numbers: Iterable[int]) -> dict[int, Erasure]:
    """Erasures by number."""
    query = select(erasures).where(erasures.c.id.in_(sorted(set(numbers))))
    return {row.id: Erasure(*row) for row in tx.execute(query)}


def list_erasures(tx: Transaction, limit: int | None = None, *, before: int | None = None) -> list[Erasure]:
    """Erasures, the newest first, those below `before`."""
    query = select(erasures).order_by(erasures.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(erasures.c.id < before)
    return [Erasure(*row) for row in tx.execute(query)]


def count_erasures(tx: Transaction) -> int:
    """How many erasures there are."""
    return tx.execute(select(func.count()).select_from(erasures)).scalar_one()


def count_erased(tx: Transaction, erasure_id: int) -> dict[FileState, int]:
    """How many of the files that an erasure took are in each state."""
    return count_by_state(tx, _IS_TO_ERASE, media_files.c.erasure_id == erasure_id)


def _is_one_stream(wanted: FileFilter) -> bool:
    """It asks for one stream of one app: an index has just those."""
    return wanted.app_id is not None and bool(wanted.stream) and not is_pattern(wanted.stream or "")


def _conditions(tx: Transaction, wanted: FileFilter) -> list[ColumnElement[bool]]:
    columns = media_files.c
    position = func.instr if tx.dialect.name == "sqlite" else func.strpos
    # An expression, not the column: a database would find all files of the app through an index, and sort them.
    app: Any = columns.app_id if _is_one_stream(wanted) else columns.app_id.concat("")
    name = case(
        (func.coalesce(columns.name, "") != "", columns.name),
        (columns.vendor != Vendor.TENCENT, columns.file_id),
        else_="",
    )
    # One that is kept for its rank is shown without its date; of those that have ended it says what was.
    not_due = {FileState.KEPT, *END_STATES} - {wanted.state}
    make: dict[str, Callable[[Any], ColumnElement[bool]]] = {
        "state": lambda state: columns.state == state,
        "app_id": lambda app_id: app == app_id,
        "vendor": lambda vendor: columns.vendor == vendor,
        "stream": lambda pattern: fits_pattern(tx, columns.stream_id, pattern),
        "name": lambda pattern: fits_pattern(tx, name, pattern),
        "text": lambda part: or_(
            *(position(column, part) > 0 for column in (columns.file_id, columns.stream_id, columns.name))
        ),
        "rule": lambda rule: columns.rule == rule,
        "due_before": lambda moment: and_(columns.due_at < moment, columns.state.not_in(not_due)),
        "due_after": lambda moment: and_(columns.due_at > moment, columns.state.not_in(not_due)),
        "adopted": lambda is_adopted: (columns.event == "") == is_adopted,
        "unknown_stream": lambda is_unknown: (columns.stream_id == "") == is_unknown,
        "moved_by": lambda revision: columns.moved_by == revision,
    }
    return [make[name](value) for name, value in asdict(wanted).items() if value is not None]
