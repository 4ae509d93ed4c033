"""The inbox: callbacks as they came, and the quarantine beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import defer

from service.core.model import QUARANTINE_VERDICTS, Verdict
from service.db.models import IS_PENDING, CallbackRow, SignatureRow
from service.db.schema import insert_into

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy.orm import Session

_OF_RENDITIONS = "procedure"
_WAITING_EVENTS = ("compose", _OF_RENDITIONS)


@dataclass(frozen=True, slots=True)
class NewCallback:
    """A callback to store: its bytes and what was read of it without understanding it."""

    app_id: str
    signature: str
    content_hash: str
    received_at: datetime
    raw: bytes
    content_type: str
    event: str


@dataclass(frozen=True, slots=True)
class CallbackFilter:
    """Which callbacks to list; every condition that is set must hold."""

    verdict: Verdict | None = None
    app_id: str | None = None


def lock_signature(session: Session, signature: str, now: datetime) -> None:
    """Make every transaction that handles this signature wait for this one to end."""
    insert = insert_into(session, SignatureRow).values(signature=signature, first_seen_at=now)
    lock = select(SignatureRow.signature).where(SignatureRow.signature == signature).with_for_update()
    is_locked = False
    while not is_locked:  # once, unless the row is pruned between the two
        session.execute(insert.on_conflict_do_nothing())
        is_locked = session.scalar(lock) is not None


def store_callback(session: Session, new: NewCallback, verdict: Verdict, reason: str) -> tuple[CallbackRow, bool]:
    """Store a callback, or find the one with the same content and signature; the second value says if it is new."""
    insert = insert_into(session, CallbackRow).values(
        app_id=new.app_id,
        signature=new.signature,
        content_hash=new.content_hash,
        received_at=new.received_at,
        raw=new.raw,
        content_type=new.content_type,
        event=new.event,
        verdict=verdict,
        reason=reason,
        repeats=0,
    )
    created = session.scalar(insert.on_conflict_do_nothing().returning(CallbackRow.id))
    query = select(CallbackRow).where(
        CallbackRow.app_id == new.app_id,
        CallbackRow.signature == new.signature,
        CallbackRow.content_hash == new.content_hash,
    )
    return session.scalars(query.with_for_update()).one(), created is not None


def find_same_signature(session: Session, row: CallbackRow) -> int | None:
    """Another authentic callback that carries this one's signature, of any app: apps may share a secret."""
    return session.scalar(select(CallbackRow.id).where(*_has_same_signature(row)).order_by(CallbackRow.id).limit(1))


def find_undisputed(session: Session, row: CallbackRow) -> list[CallbackRow]:
    """Those among the other callbacks with this one's signature that are not known to be in conflict, locked."""
    query = select(CallbackRow).where(*_has_same_signature(row), CallbackRow.verdict != Verdict.CONFLICT)
    return list(session.scalars(query.options(defer(CallbackRow.raw)).order_by(CallbackRow.id).with_for_update()))


def quarantine_usage(session: Session, app_id: str | None) -> tuple[int, int]:
    """Count and bytes that the quarantine holds of one known app, or (None) of all unknown apps together."""
    query = select(func.count(), func.coalesce(func.sum(func.length(CallbackRow.raw)), 0))
    if app_id is None:
        query = query.where(CallbackRow.verdict == Verdict.UNKNOWN_APP)
    else:
        query = query.where(CallbackRow.verdict == Verdict.FORGED, CallbackRow.app_id == app_id)
    count, size = session.execute(query).one()
    return int(count), int(size)


def is_stored(session: Session, new: NewCallback) -> bool:
    """The same content with the same signature is stored already."""
    query = select(CallbackRow.id).where(
        CallbackRow.app_id == new.app_id,
        CallbackRow.signature == new.signature,
        CallbackRow.content_hash == new.content_hash,
    )
    return session.scalar(query) is not None


def find_callback(session: Session, callback_id: int, *, lock: bool = False) -> CallbackRow | None:
    """One stored callback."""
    return session.get(CallbackRow, callback_id, with_for_update=lock or None)


def list_unfinished(session: Session, after: int, limit: int) -> list[int]:
    """Ids of the callbacks that are stored but not understood yet, oldest first, beyond `after`."""
    query = select(CallbackRow.id).where(IS_PENDING, CallbackRow.id > after)
    return list(session.scalars(query.order_by(CallbackRow.id).limit(limit)))


def list_ids(session: Session, verdict: Verdict | None, after: int, limit: int) -> list[int]:
    """Ids of the callbacks of one verdict (None: of all) whose body is there, oldest first, beyond `after`."""
    query = select(CallbackRow.id).where(CallbackRow.id > after, CallbackRow.pruned_at.is_(None))
    if verdict is not None:
        query = query.where(CallbackRow.verdict == verdict)
    return list(session.scalars(query.order_by(CallbackRow.id).limit(limit)))


def list_callbacks(
    session: Session, wanted: CallbackFilter, limit: int | None = None, *, before: int | None = None
) -> Iterator[CallbackRow]:
    """Stored callbacks without their bytes, the newest first, those below `before`."""
    query = _filtered(wanted).options(defer(CallbackRow.raw)).order_by(CallbackRow.id.desc()).limit(limit)
    if before is not None:
        query = query.where(CallbackRow.id < before)
    yield from session.scalars(query.execution_options(yield_per=500))


def count_callbacks(session: Session, wanted: CallbackFilter) -> int:
    """How many stored callbacks there are to list."""
    return session.scalar(select(func.count()).select_from(_filtered(wanted).subquery())) or 0


def list_set_aside(session: Session, app_id: str, after: int, limit: int) -> list[int]:
    """Ids of an app's callbacks that wait for a listing to show their file, oldest first, beyond `after`.

    Those in conflict wait as well, if they are about a file that is not known yet.
    """
    waits_in_doubt = and_(
        CallbackRow.verdict == Verdict.CONFLICT,
        CallbackRow.event.in_(_WAITING_EVENTS),
        CallbackRow.media_file_id.is_(None),
    )
    query = select(CallbackRow.id).where(
        CallbackRow.verdict.in_([Verdict.SET_ASIDE, Verdict.CONFLICT]),
        CallbackRow.app_id == app_id,
        CallbackRow.id > after,
        or_(CallbackRow.verdict == Verdict.SET_ASIDE, waits_in_doubt),
    )
    return list(session.scalars(query.order_by(CallbackRow.id).limit(limit)))


def find_newest(session: Session, verdict: Verdict) -> CallbackRow | None:
    """The newest callback of one verdict, without its bytes."""
    query = select(CallbackRow).where(CallbackRow.verdict == verdict).options(defer(CallbackRow.raw))
    return session.scalars(query.order_by(CallbackRow.id.desc()).limit(1)).one_or_none()


def find_oldest(session: Session, verdict: Verdict) -> CallbackRow | None:
    """The oldest callback of one verdict, without its bytes."""
    query = select(CallbackRow).where(CallbackRow.verdict == verdict).options(defer(CallbackRow.raw))
    return session.scalars(query.order_by(CallbackRow.id).limit(1)).one_or_none()


def is_first_believed(session: Session, file_key: int) -> bool:
    """Of the callbacks that announced this file, stale ones aside, the first was believed."""
    query = select(CallbackRow.verdict).where(
        CallbackRow.media_file_id == file_key,
        CallbackRow.verdict != Verdict.STALE,
        CallbackRow.event != _OF_RENDITIONS,
    )
    return session.scalar(query.order_by(CallbackRow.id).limit(1)) == Verdict.ACCEPTED


def was_announced(session: Session, file_key: int) -> bool:
    """A believed callback has announced this file."""
    query = select(CallbackRow.id).where(
        CallbackRow.media_file_id == file_key,
        CallbackRow.verdict == Verdict.ACCEPTED,
        CallbackRow.event != _OF_RENDITIONS,
    )
    return session.scalar(query.limit(1)) is not None


def count_pruned(session: Session, verdict: Verdict | None) -> int:
    """How many callbacks of one verdict (None: of all) have no body any more."""
    query = select(func.count()).where(CallbackRow.pruned_at.is_not(None))
    return session.scalar(query if verdict is None else query.where(CallbackRow.verdict == verdict)) or 0


def count_by_verdict(session: Session) -> dict[Verdict, int]:
    """How many stored callbacks each verdict has."""
    rows = session.execute(select(CallbackRow.verdict, func.count()).group_by(CallbackRow.verdict))
    return {verdict: count for verdict, count in rows}  # noqa: C416  (dict() loses the types)


def _has_same_signature(row: CallbackRow) -> tuple[ColumnElement[bool], ...]:
    return (
        CallbackRow.signature == row.signature,
        CallbackRow.id != row.id,
        CallbackRow.verdict.not_in(QUARANTINE_VERDICTS),
    )


def _filtered(wanted: CallbackFilter) -> Select[CallbackRow]:
    query = select(CallbackRow)
    if wanted.verdict is not None:
        query = query.where(CallbackRow.verdict == wanted.verdict)
    if wanted.app_id is not None:
        query = query.where(CallbackRow.app_id == wanted.app_id)
    return query
