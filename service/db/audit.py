"""The audit: entries written together with the changes that they tell of, and their chain of hashes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select

from service.core.chain import START, Entry, Head, Link, add_link
from service.db.order_models import AuditEntryRow, AuditLinkRow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.orm import Session

    from service.core.model import Actor

_JOINED = AuditLinkRow.entry_id == AuditEntryRow.id


def add_entry(
    session: Session, actor: Actor, action: str, subject: str, now: datetime, detail: Mapping[str, Any] | None = None
) -> None:
    """Write down a change in the transaction that makes it: `action` as verb_object, `subject` what was changed.

    Unchained at first: linking would make every change wait for every other one.
    """
    session.add(
        AuditEntryRow(
            at=now,
            actor=_storable(actor.name),
            through=_storable(actor.through),
            action=action,
            subject=_storable(subject),
            detail=format_detail(detail or {}),
        )
    )


def format_detail(detail: Mapping[str, Any]) -> str:
    """A detail as it is stored."""
    return json.dumps(detail, sort_keys=True)


def list_entries(
    session: Session, limit: int, *, before: int | None = None, action: str | None = None
) -> list[tuple[Entry, Head | None]]:
    """Entries with their places in the chain (None: not linked yet), the newest first, those below `before`."""
    query = _with_places().order_by(AuditEntryRow.id.desc()).limit(limit)
    if before is not None:
        query = query.where(AuditEntryRow.id < before)
    if action is not None:
        query = query.where(AuditEntryRow.action == action)
    return [_placed(*row) for row in session.execute(query)]


def list_forward(
    session: Session, limit: int, *, after: int, since: datetime | None = None
) -> list[tuple[Entry, Head | None]]:
    """Entries with their places in the chain, by number beyond `after`; with `since` only those from then on."""
    query = _with_places().where(AuditEntryRow.id > after).order_by(AuditEntryRow.id).limit(limit)
    if since is not None:
        query = query.where(AuditEntryRow.at >= since)
    return [_placed(*row) for row in session.execute(query)]


def count_entries(session: Session, action: str | None = None) -> int:
    """How many entries there are, of one action or of all."""
    query = select(func.count()).select_from(AuditEntryRow)
    return session.scalar(query if action is None else query.where(AuditEntryRow.action == action)) or 0


def last_detail(session: Session, action: str, subject: str) -> str | None:
    """What the newest entry of an action on a subject tells, as it is stored; None if there is none."""
    query = select(AuditEntryRow.detail).where(AuditEntryRow.action == action, AuditEntryRow.subject == subject)
    return session.scalar(query.order_by(AuditEntryRow.id.desc()).limit(1))


def list_links(session: Session, after: int, limit: int) -> list[Link]:
    """Places of the chain with their entries, in their order, beyond a position."""
    query = select(AuditLinkRow, AuditEntryRow).outerjoin(AuditEntryRow, _JOINED)
    query = query.where(AuditLinkRow.position > after).order_by(AuditLinkRow.position).limit(limit)
    return [_link(*row) for row in session.execute(query)]


def list_bare_links(session: Session, after: int, limit: int) -> list[Link]:
    """The same without their entries."""
    query = select(AuditLinkRow).where(AuditLinkRow.position > after).order_by(AuditLinkRow.position).limit(limit)
    return [_link(row, None) for row in session.scalars(query)]


def find_unlinked(session: Session) -> int | None:
    """The lowest number of an entry that is not linked yet."""
    return session.scalar(select(func.min(AuditEntryRow.id)).outerjoin(AuditLinkRow, _JOINED).where(_is_unlinked()))


def count_unlinked(session: Session) -> int:
    """How many entries are not linked yet."""
    query = select(func.count()).select_from(AuditEntryRow).outerjoin(AuditLinkRow, _JOINED)
    return session.scalar(query.where(_is_unlinked())) or 0


def link_entries(session: Session, first: int, limit: int) -> list[int]:
    """Put entries from a number on that are not linked yet at the end of the chain; returns their numbers.

    The caller holds the chain's lock. A lower number may be committed after a higher one: the chain has its own order.
    """
    query = select(AuditEntryRow).outerjoin(AuditLinkRow, _JOINED)
    query = query.where(_is_unlinked(), AuditEntryRow.id >= first).order_by(AuditEntryRow.id).limit(limit)
    head = _find_head(session)
    links: list[dict[str, Any]] = []
    for row in session.scalars(query):
        head = add_link(head, _entry(row))
        links.append({"position": head.position, "entry_id": row.id, "hash": head.hash})
    if links:
        session.execute(insert(AuditLinkRow), links)
    return [link["entry_id"] for link in links]


def _find_head(session: Session) -> Head:
    row = session.scalar(select(AuditLinkRow).order_by(AuditLinkRow.position.desc()).limit(1))
    return Head(row.position, row.hash) if row else START


def _with_places() -> Select[AuditEntryRow, AuditLinkRow]:
    return select(AuditEntryRow, AuditLinkRow).outerjoin(AuditLinkRow, _JOINED)


def _placed(row: AuditEntryRow, link: AuditLinkRow | None) -> tuple[Entry, Head | None]:
    return _entry(row), None if link is None else Head(link.position, link.hash)


def _link(link: AuditLinkRow, row: AuditEntryRow | None) -> Link:
    return Link(link.position, link.entry_id, link.hash, None if row is None else _entry(row))


def _entry(row: AuditEntryRow) -> Entry:
    return Entry(row.id, row.at, row.actor, row.through, row.action, row.subject, row.detail)


def _is_unlinked() -> ColumnElement[bool]:
    return AuditLinkRow.entry_id.is_(None)


def _storable(text: str) -> str:
    """A name as both databases take it: a bad one must not keep the change from being written down."""
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
