"""The leader's row: who leads, under which token, and how far it has come."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import JSON, Column, Integer, String, Table, select, update

from service.audit.store import audit_head
from service.database import Transaction
from service.database.columns import BigId, columns_of, insert_into, metadata

COMMAND: Final = " (a command)"
"""How the name of a leader ends that is no worker, but a command that leads for as long as it runs."""


class LeaderRow(NamedTuple):
    """The leader's row; `holder` is empty while nobody leads, `boot` to `started` say which process that is."""

    token: int = 0  # grows with every new leader; whoever carries an older one may change nothing
    beat: int = 0  # grows with every sign of life
    holder: str = ""
    boot: str = ""
    namespace: str = ""
    pid: int = 0
    started: str = ""
    renewed_at: datetime | None = None
    wanted_at: datetime | None = None  # a worker would lead if a command did not: the command hands over
    applied: int = 0  # the last order that was applied
    # Every file was decided under this revision or a later one; since `walked_revision`, up to this file.
    decided_revision: int = 0
    walked_revision: int = 0
    decided_up_to: int = 0
    confirm: str = "off"  # the setting CONFIRM that the last leader had
    refusals: dict[str, str] | None = None  # why it deletes nothing, by cause (`service.sweep.trust`)
    zego_ahead_s: int | None = None  # ZEGO's clock beside its own, as it was seen last
    settings: dict[str, str] | None = None  # of the worker that led last (`WorkerSettings.write_down`)

    @property
    def is_worker(self) -> bool:
        """Whether a worker leads, as far as the row knows: no command, and not nobody."""
        return bool(self.holder) and not self.holder.endswith(COMMAND)


_BIG: Final = dict.fromkeys(("token", "beat", "pid", "applied", "decided_up_to"), BigId)
_NUMBERS: Final = {"decided_revision": Integer(), "walked_revision": Integer()}
_SHORT: Final = {"boot": String(64), "namespace": String(64), "started": String(32), "confirm": String(8)}
_JSON: Final = dict.fromkeys(("refusals", "settings"), JSON(none_as_null=True))

leader: Final = Table(
    "leader",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    *columns_of(LeaderRow, **_BIG, **_SHORT, **_NUMBERS, **_JSON),
)


def find_leader(tx: Transaction, *, lock: bool = False) -> LeaderRow | None:
    """The leader's row; None before anybody ever led."""
    query = select(*(leader.c[name] for name in LeaderRow._fields))
    row = tx.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else LeaderRow._make(row)


def lock_leader(tx: Transaction) -> LeaderRow:
    """The leader's row, made where there is none, and kept from changing until the transaction ends."""
    while (row := find_leader(tx, lock=True)) is None:
        tx.execute(insert_into(tx, leader).values(id=1, **LeaderRow()._asdict()).on_conflict_do_nothing())
    return row


def take_lead(tx: Transaction, token: int, holder: str, process: dict[str, Any], now: datetime) -> None:
    """Make a process (`leader.identify_process`, and a worker's `settings`) the leader, under a new token."""
    values = process | {"beat": leader.c.beat + 1, "renewed_at": now, "wanted_at": None}
    set_progress(tx, token=token, holder=holder, **values)


def release_lead(tx: Transaction, token: int) -> None:
    """Lead no more."""
    tx.execute(update(leader).where(leader.c.token == token).values(holder="", beat=leader.c.beat + 1))


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
