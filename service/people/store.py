"""The tables of people and of their sessions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, String, Table, delete, insert, select, update

from service.database import Transaction
from service.database.columns import BigId, columns_of, count_changed, metadata
from service.model import Role


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may sign in with a password. `failures` counts wrong ones since the last right one.

    `session_ends_at` is when the last of the sessions that stand ends.
    """

    id: int
    name: str
    role: Role
    password_hash: str
    added_at: datetime
    added_by: str
    failures: int = 0
    locked_until: datetime | None = None
    signed_in_at: datetime | None = None
    removed_at: datetime | None = None
    removed_by: str | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """A session; the key in the browser's cookie is kept nowhere, only its SHA-256. No person: the setting's token."""

    key_hash: str
    person_id: int | None
    started_at: datetime
    ends_at: datetime


people: Final = Table(
    "people",
    metadata,
    *columns_of(
        Person,
        id=Column("id", BigId, primary_key=True),
        name=Column("name", String(100), nullable=False),
        failures=Integer,
    ),
)

sessions: Final = Table(
    "sessions",
    metadata,
    *columns_of(
        Session,
        key_hash=Column("key_hash", String(64), primary_key=True),
        person_id=Column("person_id", BigInteger, ForeignKey("people.id"), index=True),
    ),
)


def add_person(tx: Transaction, person: Person) -> int:
    """Store a person; returns their number."""
    facts = {name: value for name, value in asdict(person).items() if name != "id"}
    return int(tx.execute(insert(people).values(facts).returning(people.c.id)).scalar_one())


def find_person(tx: Transaction, *, locks: bool = False, **facts: object) -> Person | None:
    """The person with these facts, by their columns; nobody changes that row in this transaction if it `locks`."""
    query = select(people).filter_by(**facts)
    row = tx.execute(query.with_for_update() if locks else query).first()
    return None if row is None else Person(*row)


def list_people(tx: Transaction, limit: int | None = None, *, after: int = 0) -> list[Person]:
    """People by number beyond `after`, those who were removed included."""
    query = select(people).where(people.c.id > after).order_by(people.c.id).limit(limit)
    return [Person(*row) for row in tx.execute(query)]


def change_person(tx: Transaction, number: int, **facts: object) -> None:
    """Write down facts of a person."""
    tx.execute(update(people).where(people.c.id == number).values(facts))


def count_failure(tx: Transaction, number: int) -> int:
    """Count a wrong password; returns how many there were since the last right one."""
    counted = update(people).where(people.c.id == number).values(failures=people.c.failures + 1)
    return int(tx.execute(counted.returning(people.c.failures)).scalar_one())


def add_session(tx: Transaction, session: Session) -> None:
    """Store a session, and forget those that have ended."""
    tx.execute(delete(sessions).where(sessions.c.ends_at <= session.started_at))
    tx.execute(insert(sessions).values(asdict(session)))


def find_session(tx: Transaction, key_hash: str) -> tuple[Session, Person | None] | None:
    """A session, and whose it is."""
    row = tx.execute(select(sessions).where(sessions.c.key_hash == key_hash)).one_or_none()
    if row is None:
        return None
    session = Session(*row)
    return session, None if session.person_id is None else find_person(tx, id=session.person_id)


def end_session(tx: Transaction, key_hashes: Sequence[str]) -> None:
    """End one session, kept under one of these."""
    tx.execute(delete(sessions).where(sessions.c.key_hash.in_(key_hashes)))


def end_sessions(tx: Transaction, person_id: int | None) -> int:
    """End every session of a person (None: of the setting's token); returns how many."""
    return count_changed(tx.execute(delete(sessions).where(sessions.c.person_id.is_not_distinct_from(person_id))))
