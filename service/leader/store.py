"""The leader's row: who leads, under which token, and how far it has come."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Column, Integer, String, Table, Text, select, update

from service.audit.store import audit_head
from service.database import Transaction
from service.database.schema import BigId, UtcDateTime, insert_into, metadata
from service.leader.process import ProcessId

leader: Final = Table(
    "leader",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    # Grows with every new leader; whoever carries an older one may change nothing.
    Column("token", BigId, nullable=False, default=0),
    # Grows with every sign of life.
    Column("beat", BigId, nullable=False, default=0),
    Column("holder", Text, nullable=False, default=""),
    Column("boot", String(64), nullable=False, default=""),
    Column("namespace", String(64), nullable=False, default=""),
    Column("pid", BigId, nullable=False, default=0),
    Column("started", String(32), nullable=False, default=""),
    Column("renewed_at", UtcDateTime),
    # A worker that would lead if a command did not: the command hands over.
    Column("wanted_at", UtcDateTime),
    # The last order that was applied.
    Column("applied", BigId, nullable=False, default=0),
    # Every file was decided under this revision or a later one; since `walked_revision`, up to this file.
    Column("decided_revision", Integer, nullable=False, default=0),
    Column("walked_revision", Integer, nullable=False, default=0),
    Column("decided_up_to", BigId, nullable=False, default=0),
    # The setting CONFIRM that the last leader had.
    Column("confirm", String(8), nullable=False, default="off"),
)


class LeaderRow(NamedTuple):
    """The leader's row; `holder` is empty while nobody leads."""

    token: int
    beat: int
    holder: str
    boot: str
    namespace: str
    pid: int
    started: str
    renewed_at: datetime | None
    wanted_at: datetime | None
    applied: int
    decided_revision: int
    walked_revision: int
    decided_up_to: int
    confirm: str

    @property
    def process(self) -> ProcessId:
        """The process that leads, or was the last to do so."""
        return ProcessId(self.boot, self.namespace, self.pid, self.started)


def find_leader(tx: Transaction, *, lock: bool = False) -> LeaderRow | None:
    """The leader's row; None before anybody ever led."""
    query = select(*(leader.c[name] for name in LeaderRow._fields))
    row = tx.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else LeaderRow._make(row)


def lock_leader(tx: Transaction) -> LeaderRow:
    """The leader's row, made where there is none, and kept from changing until the transaction ends."""
    while (row := find_leader(tx, lock=True)) is None:
        tx.execute(insert_into(tx, leader).values(id=1).on_conflict_do_nothing())
    return row


def take_lead(tx: Transaction, token: int, holder: str, process: ProcessId, now: datetime) -> None:
    """Make a process the leader, under a new token."""
    values = asdict(process) | {"beat": leader.c.beat + 1, "renewed_at": now, "wanted_at": None}
    set_progress(tx, token=token, holder=holder, **values)


def release_lead(tx: Transaction, token: int) -> None:
    """Lead no more."""
    tx.execute(update(leader).where(leader.c.token == token).values(holder="", beat=leader.c.beat + 1))


def want_lead(tx: Transaction, now: datetime) -> None:
    """Let a leading command know that a worker stands by."""
    set_progress(tx, wanted_at=now)


def note_applied(tx: Transaction, number: int) -> None:
    """Write down that all orders up to a number were looked at, unless later ones were."""
    tx.execute(update(leader).where(leader.c.applied < number).values(applied=number))


def set_progress(tx: Transaction, **values: Any) -> None:  # noqa: ANN401  (columns of the row)
    """Write down how far the leader has come: columns of its row."""
    tx.execute(update(leader).values(**values))


def read_token_and_number(tx: Transaction) -> tuple[int, int]:
    """The leader's token and the newest number of the audit, in one query."""
    query = select(leader.c.token, select(audit_head.c.number).scalar_subquery().label("number"))
    row = tx.execute(query).one_or_none()
    return (0, 0) if row is None else (row.token, row.number or 0)
