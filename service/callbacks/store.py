"""The inbox: every callback that was stored, as it came, with its verdict. The quarantine is a verdict, too."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Select,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    cast,
    exists,
    func,
    or_,
    select,
    text,
    update,
)

from service.callbacks.understand import MAX_CONTENTS, StoredCallback
from service.database import Transaction
from service.database.columns import BigId, UtcDateTime, columns_of, count_changed, metadata, partial_index
from service.files.store import media_files
from service.filters import CallbackFilter
from service.model import QUARANTINE_VERDICTS, Suspicion, Verdict

IS_PENDING: Final = text("verdict = 'pending'")
IS_PRUNABLE: Final = text("raw IS NOT NULL AND verdict NOT IN ('pending', 'not_understood', 'forged', 'unknown_app')")

_COLUMNS: Final = columns_of(
    StoredCallback,
    id=Column("id", BigId, primary_key=True),
    app_id=String(20),
    signature=String(40),
    content_hash=String(64),
    # None: dropped after INBOX_KEEP, or as one of too many contents under one signature.
    raw=Column("raw", LargeBinary),
    content_type=String(200),
    event=String(64),
    repeats=Integer(),
    media_file_id=Column("media_file_id", BigInteger, ForeignKey("media_files.id")),
)

callbacks: Final = Table(
    "callbacks",
    metadata,
    *(column for column in _COLUMNS if column.name != "body_bytes"),  # that is computed
    UniqueConstraint("signature", "app_id", "content_hash"),
    Index("ix_callbacks_verdict", "verdict", "app_id", "id"),
    Index("ix_callbacks_media_file_id", "media_file_id"),
    partial_index("ix_callbacks_pending", IS_PENDING, "id"),
    partial_index("ix_callbacks_prunable", IS_PRUNABLE, "received_at", "id"),
)


class NewCallback(NamedTuple):
    """A callback to store: its bytes, and what was read of it without understanding it."""

    signature: str
    app_id: str
    content_hash: str
    raw: bytes
    content_type: str
    event: str
    received_at: datetime

    @property
    def key(self) -> tuple[str, str, str]:
        """Its identity (signature, app, content): one with the same key is a repeat."""
        return self[:3]


_NOT_UNDERSTOOD_YET: Final = "stored, not understood yet"
_IS_AUTHENTIC: Final = callbacks.c.verdict.not_in(sorted(QUARANTINE_VERDICTS))
_STORED: Final[Select[Any]] = select(
    *(callbacks.c[name] for name in StoredCallback._fields[:-2]), func.length(callbacks.c.raw).label("body_bytes")
)
_STORED_WITH_BODY: Final = _STORED.add_columns(callbacks.c.raw)

# Written by hand, with a list of rows: SQLite's driver gives up the interpreter's lock for every statement, and gets it
# back only after the threads that wait for it. A statement a row would make a batch take ten times as long.
_INSERT: Final = f"INSERT INTO callbacks ({', '.join(NewCallback._fields)}, verdict, reason, repeats) "
# PostgreSQL and its driver read a long list of parameters anew for each batch; this is one, in one statement.
_FROM_JSON: Final = """
    SELECT r->>0, r->>1, r->>2, decode(r->>3, 'base64'), r->>4, r->>5, (r->>6)::timestamptz, r->>7, r->>8, (r->>9)::int
    FROM json_array_elements(%s) AS r WHERE true"""
_COUNT_REPEATS: Final = (
    " ON CONFLICT (signature, app_id, content_hash) DO UPDATE SET repeats = callbacks.repeats + excluded.repeats + 1"
)
# Of one request, stored before a crash or an error that hid it: no repeat.
_COUNT_OTHERS: Final = """ ON CONFLICT (signature, app_id, content_hash) DO UPDATE SET repeats = CASE
    WHEN callbacks.received_at <> excluded.received_at THEN callbacks.repeats + excluded.repeats + 1
    WHEN callbacks.repeats < excluded.repeats THEN excluded.repeats
    ELSE callbacks.repeats END"""
_WAS_REFUSED: Final = "callbacks.verdict IN ('forged', 'unknown_app', 'wrong_path', 'not_allowed')"
_FREE: Final = "".join(
    f", {name} = CASE WHEN {_WAS_REFUSED} THEN excluded.{name} ELSE callbacks.{name} END"
    for name in ("verdict", "reason")
)
_JUDGED: Final = ("verdict", "reason", "understood_at", "media_file_id")
_JUDGE: Final = update(callbacks).where(callbacks.c.id == bindparam("number"))


def store_callbacks(tx: Transaction, counted: Sequence[tuple[NewCallback, int]]) -> None:
    """Store authentic callbacks of different keys, each with how many equal ones came with it (1: it alone).

    One that is stored already is counted as repeated; one that was in the quarantine leaves it.
    """
    rows = [(new, Verdict.PENDING, _NOT_UNDERSTOOD_YET, count - 1) for new, count in counted]
    _insert(tx, rows, _COUNT_REPEATS + _FREE)


def store_spooled(tx: Transaction, rows: Sequence[NewCallback]) -> None:
    """As `store_callbacks`, in their order; a request that is stored already, known by its time, is no repeat."""
    by_key: dict[tuple[str, str, str], dict[datetime, NewCallback]] = {}
    for row in rows:
        by_key.setdefault(row.key, {})[row.received_at] = row
    equal = [list(each.values()) for each in by_key.values()]
    pending = [(each[0], Verdict.PENDING, _NOT_UNDERSTOOD_YET, len(each) - 1) for each in equal]
    _insert(tx, pending, _COUNT_OTHERS + _FREE)


def store_quarantined(
    tx: Transaction, new: NewCallback, verdict: Verdict, reason: str, max_count: int, max_bytes: int
) -> bool:
    """Store a callback that is not authentic, or count it as repeated; False: the quota of its verdict is full."""
    used = select(func.count(), func.coalesce(func.sum(func.length(callbacks.c.raw)), 0))
    used = used.where(callbacks.c.verdict == verdict)
    if verdict is not Verdict.UNKNOWN_APP:
        used = used.where(callbacks.c.app_id == new.app_id)
    count, size = tx.execute(used).one()
    has_room = count < max_count and size + len(new.raw) <= max_bytes
    if has_room:
        _insert(tx, [(new, verdict, reason, 0)], f"{_COUNT_REPEATS} WHERE {_WAS_REFUSED}")
    return bool(has_room)


def find_highest_id(tx: Transaction) -> int:
    """The highest number of the inbox; 0 while it is empty."""
    return tx.execute(select(func.max(callbacks.c.id))).scalar() or 0


def find_newest_received_at(tx: Transaction) -> datetime | None:
    """When the newest callback was received, authentic or not."""
    return tx.execute(select(callbacks.c.received_at).order_by(callbacks.c.id.desc()).limit(1)).scalar()


def find_authentic_at(tx: Transaction, app_id: str, *, newest: bool = False) -> datetime | None:
    """When an app's first (or newest) authentic callback was received; None before there was any."""
    found = []
    for verdict in set(Verdict) - QUARANTINE_VERDICTS:  # one by one, as the index has them
        query = select(callbacks.c.received_at).where(callbacks.c.verdict == verdict, callbacks.c.app_id == app_id)
        order = callbacks.c.id.desc() if newest else callbacks.c.id
        found.append(tx.execute(query.order_by(order).limit(1)).scalar())
    known = [moment for moment in found if moment is not None]
    return (max if newest else min)(known, default=None)


def find_accepted(
    tx: Transaction, app_id: str, *, after: int = 0, up_to: int | None = None, is_last: bool = False
) -> tuple[int, datetime] | None:
    """The first (or last) accepted callback of an app in a range of numbers: its number, and when it was received."""
    columns = callbacks.c
    query = select(columns.id, columns.received_at).where(columns.verdict == Verdict.ACCEPTED, columns.app_id == app_id)
    query = query.where(columns.id > after) if up_to is None else query.where(columns.id > after, columns.id <= up_to)
    row = tx.execute(query.order_by(columns.id.desc() if is_last else columns.id).limit(1)).one_or_none()
    return None if row is None else (row.id, row.received_at)


def list_pending(tx: Transaction, limit: int, up_to: int) -> list[StoredCallback]:
    """Callbacks up to a number that are not understood yet, with their bytes, the oldest first."""
    query = _STORED_WITH_BODY.where(IS_PENDING, callbacks.c.id <= up_to).order_by(callbacks.c.id).limit(limit)
    return [StoredCallback(*row) for row in tx.execute(query)]


def count_pending(tx: Transaction, up_to: int | None = None, app_id: str | None = None) -> int:
    """How many callbacks (up to a number, of an app) are not understood yet."""
    query = select(func.count()).select_from(callbacks).where(IS_PENDING)
    query = query if up_to is None else query.where(callbacks.c.id <= up_to)
    query = query if app_id is None else query.where(callbacks.c.app_id == app_id)
    return tx.execute(query).scalar_one()


def list_same_signatures(tx: Transaction, named: Sequence[StoredCallback]) -> list[StoredCallback]:
    """The authentic callbacks, of any app, that share a signature of `named` with another one, in order of id.

    Beyond the first `MAX_CONTENTS` of a signature only those of `named`, and those that are not in conflict yet, or
    whose file is not: so much is enough for all of them to be in conflict.
    """
    columns = callbacks.c
    is_named = columns.signature.in_(sorted({each.signature for each in named}))
    counted = select(columns.signature).where(is_named, _IS_AUTHENTIC).group_by(columns.signature)
    shared = list(tx.execute(counted.having(func.count() > 1)).scalars())
    if not shared:
        return []
    place = func.row_number().over(partition_by=columns.signature, order_by=columns.id).label("place")
    ranked = select(columns.id, place).where(columns.signature.in_(shared), _IS_AUTHENTIC).subquery()
    has_trusted_file = exists().where(
        media_files.c.id == columns.media_file_id, media_files.c.suspicion.is_distinct_from(Suspicion.CONFLICT)
    )
    concerned = or_(
        ranked.c.place <= MAX_CONTENTS,
        columns.id.in_([each.id for each in named]),
        columns.verdict.not_in([Verdict.CONFLICT, Verdict.PENDING]),
        has_trusted_file,
    )
    query = _STORED.join(ranked, ranked.c.id == columns.id).where(concerned).order_by(columns.id)
    return [StoredCallback(*row) for row in tx.execute(query)]


def list_announcing(tx: Transaction, numbers: Sequence[int], besides: Sequence[int]) -> list[StoredCallback]:
    """Callbacks that announced these files before and were trusted or are in conflict, with their bytes, by id.

    Of each file the first `MAX_CONTENTS`, those with the numbers `besides` left out.
    """
    columns = callbacks.c
    place = func.row_number().over(partition_by=columns.media_file_id, order_by=columns.id).label("place")
    announcing = select(columns.id, place).where(
        columns.media_file_id.in_(numbers),
        columns.verdict.in_([Verdict.ACCEPTED, Verdict.CONFLICT, Verdict.PENDING]),
        columns.id.not_in(besides),
    )
    ranked = announcing.subquery()
    query = _STORED_WITH_BODY.join(ranked, ranked.c.id == columns.id).where(ranked.c.place <= MAX_CONTENTS)
    return [StoredCallback(*row) for row in tx.execute(query.order_by(columns.id))]


def save_judgements(tx: Transaction, judged: Sequence[StoredCallback]) -> None:
    """Write what callbacks were understood as, and drop the bytes of those without `body_bytes`."""
    # In the order in which writers lock them: so they never wait for each other in a circle.
    in_order = sorted(judged, key=lambda each: (each.signature, each.app_id, each.content_hash))
    tx.execute(_JUDGE, [{"number": each.id} | {name: getattr(each, name) for name in _JUDGED} for each in in_order])
    if dropped := [each.id for each in judged if each.body_bytes is None]:
        tx.execute(update(callbacks).where(callbacks.c.id.in_(dropped)).values(raw=None))


def set_pending(tx: Transaction, numbers: Sequence[int]) -> None:
    """Let callbacks be understood again."""
    chosen = update(callbacks).where(callbacks.c.id.in_(numbers))
    tx.execute(chosen.values(verdict=Verdict.PENDING, reason=_NOT_UNDERSTOOD_YET))


def list_to_replay(
    tx: Transaction, wanted: CallbackFilter, after: int, limit: int, ids: Sequence[int] | None
) -> list[StoredCallback]:
    """Callbacks beyond `after` that are wanted, and among `ids` unless that is None, with their bytes, by id."""
    query = _filter(_STORED_WITH_BODY, wanted).where(callbacks.c.id > after).order_by(callbacks.c.id).limit(limit)
    query = query if ids is None else query.where(callbacks.c.id.in_(ids))
    return [StoredCallback(*row) for row in tx.execute(query)]


def drop_bodies(tx: Transaction, before: datetime, limit: int) -> int:
    """Drop the bytes of callbacks that came before a moment, the oldest first; the rows stay. Returns how many."""
    old = select(callbacks.c.id).where(IS_PRUNABLE, callbacks.c.received_at < before)
    chosen = old.order_by(callbacks.c.received_at, callbacks.c.id).limit(limit)
    return count_changed(tx.execute(update(callbacks).where(callbacks.c.id.in_(chosen)).values(raw=None)))


def count_by_hour(tx: Transaction, since: datetime, limit: int) -> dict[str, int]:
    """How many of the newest `limit` callbacks came in each hour since a moment; hours as `2026-03-01 12`, in UTC."""
    newest = select(callbacks.c.received_at).order_by(callbacks.c.id.desc()).limit(limit).subquery()
    at = newest.c.received_at
    hour = func.to_char(func.timezone("UTC", at), "YYYY-MM-DD HH24")
    if tx.dialect.name == "sqlite":
        hour = func.substr(cast(at, String), 1, 13)
    return {name: count for name, count in tx.execute(select(hour, func.count()).where(at >= since).group_by(hour))}  # noqa: C416


def find_callback(tx: Transaction, number: int) -> StoredCallback | None:
    """One callback, with its bytes."""
    row = tx.execute(_STORED_WITH_BODY.where(callbacks.c.id == number)).one_or_none()
    return None if row is None else StoredCallback(*row)


def list_callbacks(
    tx: Transaction, wanted: CallbackFilter, limit: int | None = None, *, before: int | None = None
) -> Iterator[StoredCallback]:
    """Callbacks, the newest first, those below `before`."""
    query = _filter(_STORED, wanted).order_by(callbacks.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(callbacks.c.id < before)
    for row in tx.execution_options(yield_per=500).execute(query):
        yield StoredCallback(*row)


def count_callbacks(tx: Transaction, wanted: CallbackFilter) -> int:
    """How many callbacks there are to list."""
    return int(tx.execute(_filter(select(func.count(callbacks.c.id)), wanted)).scalar_one())


def _filter(query: Select[Any], wanted: CallbackFilter) -> Select[Any]:
    for name, value in asdict(wanted).items():
        if value is not None:
            query = query.where(callbacks.c[name] == value)
    return query


def _insert(tx: Transaction, rows: Sequence[tuple[NewCallback, Verdict, str, int]], on_conflict: str) -> None:
    store_moment = UtcDateTime().bind_processor(tx.dialect)
    values = [
        (*new[:-1], store_moment(new.received_at), verdict.value, reason, repeats)
        for new, verdict, reason, repeats in rows
    ]
    if tx.dialect.name == "sqlite":
        source = "VALUES " + ", ".join([f"({', '.join('?' * len(values[0]))})"] * len(values))
        tx.exec_driver_sql(_INSERT + source + on_conflict, tuple(value for row in values for value in row))
    else:
        tx.exec_driver_sql(_INSERT + _FROM_JSON + on_conflict, (json.dumps(values, default=_to_json),))


def _to_json(value: bytes | datetime) -> str:
    return value.isoformat() if isinstance(value, datetime) else base64.b64encode(value).decode()
