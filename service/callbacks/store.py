"""The inbox: every callback that was stored, as it came, with its verdict. The quarantine is a verdict, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

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
    update,
)

from service.callbacks.understand import MAX_CONTENTS, Judgement, Key, SameSignature
from service.database.schema import BigId, UtcDateTime, count_changed, enum_column, metadata, partial_index
from service.model import QUARANTINE_VERDICTS, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from service.database import Transaction

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
    """A callback as it is stored, without its bytes (`read_body`); `body_bytes` None: they were dropped."""

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


class Body(NamedTuple):
    """What it takes to read a stored callback again; `raw` None: its bytes were dropped."""

    id: int
    key: Key
    received_at: datetime
    raw: bytes | None
    content_type: str
    verdict: Verdict
    understood_at: datetime | None
    media_file_id: int | None


class CallbackFilter(NamedTuple):
    """Which callbacks to list; every condition that is set must hold."""

    verdict: Verdict | None = None
    app_id: str | None = None
    media_file_id: int | None = None


_IS_AUTHENTIC: Final = callbacks.c.verdict.not_in(sorted(QUARANTINE_VERDICTS))
_BODY: Final = select(
    *(callbacks.c[name] for name in ("id", "signature", "app_id", "content_hash", "received_at", "raw")),
    *(callbacks.c[name] for name in ("content_type", "verdict", "understood_at", "media_file_id")),
)
_STORED: Final = select(
    *(callbacks.c[name] for name in StoredCallback._fields[:-1]), func.length(callbacks.c.raw).label("body_bytes")
)


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
_JUDGE: Final = (
    update(callbacks)
    .where(callbacks.c.id == bindparam("callback"))
    .values({name: bindparam(f"new_{name}") for name in ("verdict", "reason", "understood_at", "media_file_id")})
)


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


def list_pending(tx: Transaction, limit: int) -> list[Body]:
    """Callbacks that are not understood yet, the oldest first."""
    return [_read_body(row) for row in tx.execute(_BODY.where(IS_PENDING).order_by(callbacks.c.id).limit(limit))]


def list_same_signatures(tx: Transaction, signatures: Iterable[str], ids: Iterable[int]) -> list[SameSignature]:
    """The authentic callbacks that share one of these signatures with another one, of any app, in order of id.

    Beyond the first `MAX_CONTENTS` of a signature only those that are understood and not in conflict yet, and those of
    `ids`: so much is enough to know that all of them are in conflict.
    """
    wanted = sorted(set(signatures))
    shared = (
        select(callbacks.c.signature)
        .where(callbacks.c.signature.in_(wanted), _IS_AUTHENTIC)
        .group_by(callbacks.c.signature)
        .having(func.count() > 1)
    )
    found = list(tx.execute(shared).scalars())
    if not found:
        return []
    place = func.row_number().over(partition_by=callbacks.c.signature, order_by=callbacks.c.id).label("place")
    names = ("id", "signature", "app_id", "content_hash", "verdict", "understood_at", "media_file_id")
    ranked = select(*(callbacks.c[name] for name in names), place)
    inner = ranked.where(callbacks.c.signature.in_(found), _IS_AUTHENTIC).subquery()
    concerned = or_(
        inner.c.place <= MAX_CONTENTS,
        inner.c.verdict.not_in([Verdict.CONFLICT, Verdict.PENDING]),
        inner.c.id.in_(sorted(ids)),
    )
    return [
        SameSignature(row.id, (row.signature, row.app_id, row.content_hash), *row[4:])
        for row in tx.execute(select(inner).where(concerned).order_by(inner.c.id))
    ]


def save_judgements(tx: Transaction, judgements: Sequence[Judgement]) -> None:
    """Write what callbacks were understood as, and drop the bytes that need not be kept."""
    # In the order in which writers lock them: so they never wait for each other in a circle.
    in_order = sorted(judgements, key=_find_key)
    tx.execute(_JUDGE, [_bind_judgement(judgement) for judgement in in_order])
    if dropped := [judgement.id for judgement in in_order if not judgement.keeps_body]:
        tx.execute(update(callbacks).where(callbacks.c.id.in_(dropped)).values(raw=None))


def set_pending(tx: Transaction, bodies: Iterable[Body]) -> None:
    """Let callbacks be understood again."""
    ids = sorted(body.id for body in bodies)
    if ids:
        tx.execute(
            update(callbacks).where(callbacks.c.id.in_(ids)).values(verdict=Verdict.PENDING, reason=NOT_UNDERSTOOD_YET)
        )


def list_bodies(
    tx: Transaction,
    wanted: CallbackFilter,
    after: int,
    limit: int,
    *,
    ids: Sequence[int] | None = None,
) -> list[Body]:
    """Callbacks beyond `after` that fulfil the conditions, or are among `ids`, in order of id."""
    query = _filter(_BODY, wanted).where(callbacks.c.id > after).order_by(callbacks.c.id).limit(limit)
    if ids is not None:
        query = query.where(callbacks.c.id.in_(sorted(ids)))
    return [_read_body(row) for row in tx.execute(query)]


def drop_bodies(tx: Transaction, before: datetime, limit: int) -> int:
    """Drop the bytes of callbacks that came before a moment, the oldest first; the rows stay. Returns how many."""
    old = select(callbacks.c.id).where(IS_PRUNABLE, callbacks.c.received_at < before)
    chosen = old.order_by(callbacks.c.received_at, callbacks.c.id).limit(limit)
    return count_changed(tx.execute(update(callbacks).where(callbacks.c.id.in_(chosen)).values(raw=None)))


def measure_quarantine(tx: Transaction, app_id: str | None) -> tuple[int, int]:
    """Count and bytes that the quarantine holds of one known app, or (None) of all unknown apps together."""
    query = select(func.count(), func.coalesce(func.sum(func.length(callbacks.c.raw)), 0))
    if app_id is None:
        query = query.where(callbacks.c.verdict == Verdict.UNKNOWN_APP)
    else:
        query = query.where(callbacks.c.verdict == Verdict.FORGED, callbacks.c.app_id == app_id)
    count, size = tx.execute(query).one()
    return int(count), int(size)


def is_stored(tx: Transaction, new: NewCallback) -> bool:
    """Whether a callback with the same content and signature is stored."""
    query = select(callbacks.c.id).where(
        callbacks.c.signature == new.signature,
        callbacks.c.app_id == new.app_id,
        callbacks.c.content_hash == new.content_hash,
    )
    return tx.execute(query).first() is not None


def find_suspected_at(tx: Transaction, file_numbers: Iterable[int]) -> dict[int, datetime]:
    """When the newest suspicion against each of these files was understood; files without one are left out.

    A confirmation clears only what was understood before it was ordered.
    """
    query = select(callbacks.c.media_file_id, func.max(callbacks.c.understood_at, type_=UtcDateTime))
    query = query.where(
        callbacks.c.media_file_id.in_(sorted(set(file_numbers))),
        callbacks.c.verdict.in_([Verdict.STALE, Verdict.CONFLICT]),
    )
    return {number: at for number, at in tx.execute(query.group_by(callbacks.c.media_file_id)) if at is not None}


def find_callback(tx: Transaction, number: int) -> StoredCallback | None:
    """One callback."""
    row = tx.execute(_STORED.where(callbacks.c.id == number)).one_or_none()
    return None if row is None else StoredCallback._make(row)


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
        yield StoredCallback._make(row)


def count_callbacks(tx: Transaction, wanted: CallbackFilter) -> int:
    """How many callbacks there are to list."""
    return int(tx.execute(_filter(select(func.count(callbacks.c.id)), wanted)).scalar_one())


def count_by_verdict(tx: Transaction) -> dict[Verdict, int]:
    """How many callbacks each verdict has."""
    query = select(callbacks.c.verdict, func.count()).group_by(callbacks.c.verdict)
    return {verdict: count for verdict, count in tx.execute(query)}  # noqa: C416  (dict() loses the types)


def find_newest(tx: Transaction, verdict: Verdict) -> StoredCallback | None:
    """The newest callback of a verdict."""
    return next(list_callbacks(tx, CallbackFilter(verdict=verdict), 1), None)


def find_first_at(tx: Transaction, app_id: str) -> datetime | None:
    """When the first authentic callback of an app came; None: none did yet."""
    query = select(func.min(callbacks.c.received_at, type_=UtcDateTime))
    return tx.execute(query.where(callbacks.c.app_id == app_id, _IS_AUTHENTIC)).scalar_one_or_none()


def _filter(query: Select[Any], wanted: CallbackFilter) -> Select[Any]:
    for name, value in wanted._asdict().items():
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


def _find_key(judgement: Judgement) -> Key:
    return judgement.key


def _bind_judgement(judgement: Judgement) -> dict[str, Any]:
    return {
        "callback": judgement.id,
        "new_verdict": judgement.verdict,
        "new_reason": judgement.reason,
        "new_understood_at": judgement.understood_at,
        "new_media_file_id": judgement.media_file_id,
    }


def _read_body(row: Any) -> Body:  # noqa: ANN401  (a row has no better type)
    return Body(row[0], tuple(row[1:4]), *row[4:])
