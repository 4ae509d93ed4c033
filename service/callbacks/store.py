"""The inbox: every callback that was stored, as it came, with its verdict. The quarantine is a verdict, too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
    Text,
    UniqueConstraint,
    bindparam,
    func,
    or_,
    select,
    text,
    tuple_,
    update,
)

from service.callbacks.understand import MAX_CONTENTS, Judgement, Key, SameSignature
from service.database import Transaction
from service.database.schema import BigId, UtcDateTime, count_changed, enum_column, metadata, partial_index
from service.filters import CallbackFilter
from service.model import QUARANTINE_VERDICTS, Verdict

IS_PENDING: Final = text("verdict = 'pending'")
IS_PRUNABLE: Final = text("raw IS NOT NULL AND verdict NOT IN ('pending', 'not_understood', 'forged', 'unknown_app')")

callbacks: Final = Table(
    "callbacks",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("app_id", String(20), nullable=False),
    Column("signature", String(40), nullable=False),
    Column("content_hash", String(64), nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    # None: dropped after INBOX_KEEP, or as one of too many contents under one signature.
    Column("raw", LargeBinary),
    Column("content_type", String(200), nullable=False),
    Column("event", String(64), nullable=False),
    Column("verdict", enum_column(Verdict), nullable=False),
    Column("reason", Text, nullable=False),
    # When its present verdict, and a suspicion that follows from it, was reached first; a replay does not move it.
    Column("understood_at", UtcDateTime),
    Column("repeats", Integer, nullable=False),
    Column("media_file_id", BigInteger, ForeignKey("media_files.id")),
    UniqueConstraint("signature", "app_id", "content_hash"),
    Index("ix_callbacks_verdict", "verdict", "app_id", "id"),
    Index("ix_callbacks_media_file_id", "media_file_id"),
    partial_index("ix_callbacks_pending", IS_PENDING, "id"),
    partial_index("ix_callbacks_prunable", IS_PRUNABLE, "received_at", "id"),
)

NOT_UNDERSTOOD_YET: Final = "stored, not understood yet"


class NewCallback(NamedTuple):
    """A callback to store: its bytes, and what was read of it without understanding it."""

    app_id: str
    signature: str
    content_hash: str
    received_at: datetime
    raw: bytes
    content_type: str
    event: str

    @property
    def key(self) -> Key:
        """What tells it from other callbacks; one with the same key is a repeat."""
        return self.signature, self.app_id, self.content_hash


class StoredCallback(NamedTuple):
    """A callback as it is stored. `raw` is loaded only where it is to be read again; see `body_bytes`, `read_body`."""

    id: int
    app_id: str
    signature: str
    content_hash: str
    received_at: datetime
    content_type: str
    event: str
    verdict: Verdict
    reason: str
    understood_at: datetime | None
    repeats: int
    media_file_id: int | None
    body_bytes: int | None
    """None: its bytes were dropped."""
    raw: bytes | None = None

    @property
    def key(self) -> Key:
        """What tells it from other callbacks."""
        return self.signature, self.app_id, self.content_hash


_IS_AUTHENTIC: Final = callbacks.c.verdict.not_in(sorted(QUARANTINE_VERDICTS))
_STORED: Final[Select[Any]] = select(
    *(callbacks.c[name] for name in StoredCallback._fields[:-2]), func.length(callbacks.c.raw).label("body_bytes")
)
_STORED_WITH_BODY: Final = _STORED.add_columns(callbacks.c.raw)

# Written by hand, with a list of rows: SQLite's driver gives up the interpreter's lock for every statement, and gets it
# back only after the threads that wait for it. A statement a row would make a batch take ten times as long.
_NEW_COLUMNS: Final = ("app_id", "signature", "content_hash", "received_at", "raw", "content_type", "event")
_INSERT: Final = f"INSERT INTO callbacks ({', '.join(_NEW_COLUMNS)}, verdict, reason, repeats) VALUES "  # noqa: S608
_COUNT_REPEATS: Final = (
    " ON CONFLICT (signature, app_id, content_hash) DO UPDATE SET repeats = callbacks.repeats + excluded.repeats + 1"
)
_MOMENT: Final = _NEW_COLUMNS.index("received_at")
_WAS_REFUSED: Final = "callbacks.verdict IN ('forged', 'unknown_app')"
_FREE: Final = "".join(
    f", {name} = CASE WHEN {_WAS_REFUSED} THEN excluded.{name} ELSE callbacks.{name} END"
    for name in ("verdict", "reason")
)
_JUDGE: Final = update(callbacks).where(callbacks.c.id == bindparam("number"))


def store_callbacks(tx: Transaction, counted: Sequence[tuple[NewCallback, int]]) -> None:
    """Store authentic callbacks to be understood, each with how many equal ones came with it (1: it alone).

    They have to differ in their keys. One that is stored already is counted as repeated; one that was in the quarantine
    leaves it.
    """
    rows = [(*new, Verdict.PENDING.value, NOT_UNDERSTOOD_YET, count - 1) for new, count in counted]
    _insert(tx, rows, _COUNT_REPEATS + _FREE)


def store_quarantined(tx: Transaction, new: NewCallback, verdict: Verdict, reason: str) -> None:
    """Store a callback that is not authentic; one that is stored already is counted as repeated."""
    _insert(tx, [(*new, verdict.value, reason, 0)], f"{_COUNT_REPEATS} WHERE {_WAS_REFUSED}")


def find_highest_id(tx: Transaction) -> int:
    """The highest number of the inbox; 0 while it is empty."""
    return tx.execute(select(func.max(callbacks.c.id))).scalar() or 0


def list_pending(tx: Transaction, limit: int, up_to: int) -> list[StoredCallback]:
    """Callbacks up to a number that are not understood yet, with their bytes, the oldest first."""
    query = _STORED_WITH_BODY.where(IS_PENDING, callbacks.c.id <= up_to).order_by(callbacks.c.id).limit(limit)
    return [StoredCallback(*row) for row in tx.execute(query)]


def list_same_signatures(tx: Transaction, signatures: Iterable[str], ids: Iterable[int]) -> list[SameSignature]:
    """The authentic callbacks that share one of these signatures with another one, of any app, in order of id.

    Beyond the first `MAX_CONTENTS` of a signature only those that are understood and not in conflict yet, and those of
    `ids`: so much is enough to know that all of them are in conflict.
    """
    columns = callbacks.c
    is_named = columns.signature.in_(sorted(set(signatures)))
    counted = select(columns.signature).where(is_named, _IS_AUTHENTIC).group_by(columns.signature)
    shared = list(tx.execute(counted.having(func.count() > 1)).scalars())
    if not shared:
        return []
    place = func.row_number().over(partition_by=columns.signature, order_by=columns.id).label("place")
    key = (columns.signature, columns.app_id, columns.content_hash)
    ranked = select(columns.id, *key, columns.verdict, columns.understood_at, columns.media_file_id, place)
    found = ranked.where(columns.signature.in_(shared), _IS_AUTHENTIC).subquery()
    concerned = or_(
        found.c.place <= MAX_CONTENTS,
        found.c.verdict.not_in([Verdict.CONFLICT, Verdict.PENDING]),
        found.c.id.in_(sorted(ids)),
    )
    rows = tx.execute(select(found).where(concerned).order_by(found.c.id))
    return [SameSignature(row[0], tuple(row[1:4]), *row[4:]) for row in rows]


def save_judgements(tx: Transaction, judgements: Sequence[Judgement]) -> None:
    """Write what callbacks were understood as, and drop the bytes that need not be kept."""
    changed = ("verdict", "reason", "understood_at", "media_file_id")
    # In the order in which writers lock them: so they never wait for each other in a circle.
    in_order = sorted(judgements, key=lambda judgement: judgement.key)
    tx.execute(_JUDGE, [{"number": each.id} | {name: getattr(each, name) for name in changed} for each in in_order])
    if dropped := [judgement.id for judgement in in_order if not judgement.keeps_body]:
        tx.execute(update(callbacks).where(callbacks.c.id.in_(dropped)).values(raw=None))


def set_pending(tx: Transaction, numbers: Sequence[int]) -> None:
    """Let callbacks be understood again."""
    chosen = update(callbacks).where(callbacks.c.id.in_(numbers))
    tx.execute(chosen.values(verdict=Verdict.PENDING, reason=NOT_UNDERSTOOD_YET))


def list_to_replay(
    tx: Transaction, wanted: CallbackFilter, after: int, limit: int, ids: Sequence[int] | None
) -> list[StoredCallback]:
    """Callbacks beyond `after` that are wanted, and among `ids` unless that is None, with their bytes, by id."""
    query = _filter(_STORED_WITH_BODY, wanted).where(callbacks.c.id > after).order_by(callbacks.c.id).limit(limit)
    if ids is not None:
        query = query.where(callbacks.c.id.in_(ids))
    return [StoredCallback(*row) for row in tx.execute(query)]


def drop_bodies(tx: Transaction, before: datetime, limit: int) -> int:
    """Drop the bytes of callbacks that came before a moment, the oldest first; the rows stay. Returns how many."""
    old = select(callbacks.c.id).where(IS_PRUNABLE, callbacks.c.received_at < before)
    chosen = old.order_by(callbacks.c.received_at, callbacks.c.id).limit(limit)
    return count_changed(tx.execute(update(callbacks).where(callbacks.c.id.in_(chosen)).values(raw=None)))


def has_room(tx: Transaction, new: NewCallback, app_id: str | None, max_count: int, max_bytes: int) -> bool:
    """Whether the quarantine of a known app, or (None) of all unknown apps, has room for a callback, or has it."""
    columns = callbacks.c
    used = select(func.count(), func.coalesce(func.sum(func.length(columns.raw)), 0))
    if app_id is None:
        used = used.where(columns.verdict == Verdict.UNKNOWN_APP)
    else:
        used = used.where(columns.verdict == Verdict.FORGED, columns.app_id == app_id)
    count, size = tx.execute(used).one()
    if count < max_count and size + len(new.raw) <= max_bytes:
        return True
    key = tuple_(columns.signature, columns.app_id, columns.content_hash)
    return tx.execute(select(columns.id).where(key == new.key)).first() is not None


def find_callback(tx: Transaction, number: int) -> StoredCallback | None:
    """One callback."""
    row = tx.execute(_STORED.where(callbacks.c.id == number)).one_or_none()
    return None if row is None else StoredCallback(*row)


def read_body(tx: Transaction, number: int) -> bytes | None:
    """The bytes of a callback; None if there is none, or they were dropped."""
    return tx.execute(select(callbacks.c.raw).where(callbacks.c.id == number)).scalar_one_or_none()


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


def _insert(tx: Transaction, rows: Sequence[tuple[Any, ...]], on_conflict: str) -> None:
    mark = "?" if tx.dialect.name == "sqlite" else "%s"
    one = f"({', '.join([mark] * len(rows[0]))})"
    store_moment = callbacks.c.received_at.type.dialect_impl(tx.dialect).bind_processor(tx.dialect)
    values: list[Any] = []
    for row in rows:
        values += row
        if store_moment is not None:
            values[_MOMENT - len(row)] = store_moment(row[_MOMENT])
    tx.exec_driver_sql(_INSERT + ", ".join([one] * len(rows)) + on_conflict, tuple(values))
