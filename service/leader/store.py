"""The leader's row: who leads, under which token, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, Integer, String, Table, Text, select, update

from service.audit.store import audit_head
from service.database import Transaction
from service.database.schema import BigId, UtcDateTime, count_changed, insert_into, metadata
from service.leader.process import ProcessId

leader: Final = Table(
    "leader",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    # Grows with every new leader; whoever carries an older one may change nothing.
    Column("token", BigId, nullable=False),
    # Grows with every sign of life.
    Column("beat", BigId, nullable=False),
    Column("holder", Text, nullable=False),
    Column("boot", String(64), nullable=False),
    Column("namespace", String(64), nullable=False),
    Column("pid", BigId, nullable=False),
    Column("started", String(32), nullable=False),
    Column("renewed_at", UtcDateTime),
    # A worker that would lead if a command did not: the command hands over.
    Column("wanted_at", UtcDateTime),
    # The last order that was applied.
    Column("applied", BigId, nullable=False),
    # Every file was decided under this revision or a later one; since `walked_revision`, up to this file.
    Column("decided_revision", Integer, nullable=False),
    Column("walked_revision", Integer, nullable=False),
    Column("decided_up_to", BigId, nullable=False),
    # The setting CONFIRM that the last leader had.
    Column("confirm", String(8), nullable=False),
)


@dataclass(frozen=True, slots=True)
class LeaderRow:
    """The leader's row; `holder` is empty while nobody leads."""

    token: int
    beat: int
    holder: str
    process: ProcessId
    renewed_at: datetime | None
    wanted_at: datetime | None
    applied: int
    decided_revision: int
    walked_revision: int
    decided_up_to: int
    confirm: str


def find_leader(tx: Transaction, *, lock: bool = False) -> LeaderRow | None:
    """The leader's row; None before anybody ever led."""
    query = select(leader)
    row = tx.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _read_row(row)


def lock_leader(tx: Transaction) -> LeaderRow:
    """The leader's row, made where there is none, and kept from changing until the transaction ends."""
    first = insert_into(tx, leader).values(
        id=1,
        token=0,
        beat=0,
        holder="",
        boot="",
        namespace="",
        pid=0,
        started="",
        applied=0,
        decided_revision=0,
        walked_revision=0,
        decided_up_to=0,
        confirm="off",
    )
    found = find_leader(tx, lock=True)
    if found is None:
        tx.execute(first.on_conflict_do_nothing())
        found = find_leader(tx, lock=True)
    if found is None:
        raise RuntimeError("the leader's row could not be made")
    return found


def take_lead(tx: Transaction, token: int, holder: str, process: ProcessId, now: datetime) -> None:
    """Make a process the leader, under a new token."""
    tx.execute(
        update(leader).values(
            token=token,
            beat=leader.c.beat + 1,
            holder=holder,
            boot=process.boot,
            namespace=process.namespace,
            pid=process.pid,
            started=process.started,
            renewed_at=now,
            wanted_at=None,
        )
    )


def renew_lead(tx: Transaction, token: int, now: datetime) -> bool:
    """Give a sign of life; False if somebody else leads."""
    changed = update(leader).where(leader.c.token == token, leader.c.holder != "")
    return count_changed(tx.execute(changed.values(beat=leader.c.beat + 1, renewed_at=now))) == 1


def release_lead(tx: Transaction, token: int) -> None:
    """Lead no more."""
    tx.execute(update(leader).where(leader.c.token == token).values(holder="", beat=leader.c.beat + 1))


def want_lead(tx: Transaction, now: datetime) -> None:
    """Let a leading command know that a worker stands by."""
    tx.execute(update(leader).values(wanted_at=now))


def set_progress(tx: Transaction, **values: Any) -> None:  # noqa: ANN401  (columns of the row)
    """Write down how far the leader has come: the columns from `applied` on."""
    tx.execute(update(leader).values(**values))


def read_token_and_number(tx: Transaction) -> tuple[int, int]:
    """The leader's token and the newest number of the audit, in one query."""
    query = select(leader.c.token, select(audit_head.c.number).scalar_subquery().label("number"))
    row = tx.execute(query).one_or_none()
    return (0, 0) if row is None else (row.token, row.number or 0)


def _read_row(row: Any) -> LeaderRow:  # noqa: ANN401  (a row has no better type)
    return LeaderRow(
        row.token,
        row.beat,
        row.holder,
        ProcessId(row.boot, row.namespace, row.pid, row.started),
        row.renewed_at,
        row.wanted_at,
        row.applied,
        row.decided_revision,
        row.walked_revision,
        row.decided_up_to,
        row.confirm,
    )
