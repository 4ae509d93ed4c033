"""Who may use the console: people with a password and a role, their sessions, and locking out those who guess."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Final

import structlog
from werkzeug.security import check_password_hash, generate_password_hash

from service.audit.checks import BadOrder, check_name
from service.audit.record import record_entry
from service.audit.store import lock_head
from service.audit.tokens import ADMIN_TOKEN
from service.database import Database, Transaction
from service.model import Actor, NoSuchThing, NotPossible, Role
from service.people import store
from service.people.store import Person, Session
from service.units import describe_moment

SESSION_LASTS: Final = timedelta(hours=12)
MIN_PASSWORD: Final = 12
MAX_FAILURES: Final = 5
"""Wrong passwords in a row, before a person is locked out for a while."""

_FIRST_LOCK: Final = timedelta(minutes=1)
_LONGEST_LOCK: Final = timedelta(hours=1)
_MAX_DOUBLINGS: Final = 6
_MAX_PASSWORD: Final = 1_000
_KEY_BYTES: Final = 32
_one_check_at_a_time: Final = threading.Lock()
"""A check takes a core for some 50 ms: guesses must not take all of them."""

_LATER: Final = 15  # of 19: a thread that runs only where no other needs the core

_WRONG: Final = "the name or the password is wrong"

log = structlog.get_logger(__name__)


def _step_back() -> None:
    if sys.platform == "linux":  # (elsewhere it would be the whole process)
        with suppress(OSError):  # (the process itself has stepped back further)
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LATER)


_passwords: Final = ThreadPoolExecutor(1, "passwords", _step_back)
"""Where passwords are checked: callbacks go first."""


class SignInRefused(NotPossible):
    """Nobody is signed in; the text says why, and nothing of whether that person exists."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who has a session: their name, and what they may do. `person_id` None: whoever has the setting's token."""

    name: str
    role: Role
    person_id: int | None
    ends_at: datetime


def add_person(database: Database, name: str, role: Role, password: str, actor: Actor, now: datetime) -> Person:
    """Let somebody sign in from now on; BadOrder says what was not valid."""
    check_name(name, "a person", "li.wei")
    if name.casefold() == ADMIN_TOKEN.casefold():
        raise BadOrder("name", f"{name!r} is how the bearer of the setting's token is called: take another name")
    hashed = _hash_password(password)

    def add(tx: Transaction) -> Person:
        lock_head(tx)  # one at a time, so that no name is given twice
        if store.find_person(tx, name=name, removed_at=None) is not None:
            raise BadOrder(
                "name", f"there is a person called {name!r} already: remove them first, or take another name"
            )
        person = Person(0, name, role, hashed, now, actor.name)
        person = replace(person, id=store.add_person(tx, person))
        record_entry(tx, actor, "person.add", f"person {person.id}", {"name": name, "role": role.value}, now)
        return person

    return database.transact(add)


def set_password(database: Database, number: int, password: str, actor: Actor, now: datetime) -> Person:
    """Give a person a new password; all of their sessions end, and so does a lock."""
    hashed = _hash_password(password)

    def change(tx: Transaction, person: Person) -> None:
        store.change_person(tx, person.id, password_hash=hashed, failures=0, locked_until=None)

    return _change_person(database, number, "person.password", actor, now, change)


def remove_person(database: Database, number: int, actor: Actor, now: datetime) -> Person:
    """Let a person sign in no more; all of their sessions end."""
    return _change_person(
        database,
        number,
        "person.remove",
        actor,
        now,
        lambda tx, person: store.change_person(tx, person.id, removed_at=now, removed_by=actor.name),
    )


def end_sessions(database: Database, number: int, actor: Actor, now: datetime) -> Person:
    """Sign a person out everywhere."""
    return _change_person(database, number, "person.sign_out", actor, now, lambda _tx, _person: None)


def sign_in(database: Database, admin_token: str | None, name: str, password: str, now: datetime) -> str:
    """Check a name and its password, or, without a name, the setting's token; returns the key of a new session."""
    person = None
    if not name:
        if admin_token is None or not hmac.compare_digest(_hash(password), _hash(admin_token)):
            log.warning("sign_in_refused", name=ADMIN_TOKEN)
            raise SignInRefused("that is not the token of the setting ZEGO_RETENTION_ADMIN_TOKEN")
    else:
        person = _check_password(database, name, password, now)
    key = secrets.token_urlsafe(_KEY_BYTES)
    number, key_hash = (None, _hash_both(key, admin_token or "")) if person is None else (person.id, _hash(key))
    session = Session(key_hash, number, now, now + SESSION_LASTS)

    def begin(tx: Transaction) -> None:
        if person is not None:
            facts = {"id": person.id, "password_hash": person.password_hash, "removed_at": None}
            if store.find_person(tx, locks=True, **facts) is None:  # that was changed while it was checked
                raise SignInRefused(_WRONG)
            store.change_person(tx, person.id, failures=0, locked_until=None, signed_in_at=now)
        store.add_session(tx, session)

    database.transact(begin)
    log.info("signed_in", name=ADMIN_TOKEN if person is None else person.name)
    return key


def _check_password(database: Database, name: str, password: str, now: datetime) -> Person:
    """Whose name and password these are. Guesses are checked one by one, also those that are sent at once."""

    def count_guess(tx: Transaction) -> Person | None:
        person = store.find_person(tx, locks=True, name=name, removed_at=None)
        if person is not None:
            if person.locked_until is not None and now < person.locked_until:
                raise SignInRefused(f"too many wrong passwords: try again after {describe_moment(person.locked_until)}")
            _note_failure(tx, person.id, now)  # until it turns out to be right
        return person

    with _one_check_at_a_time:
        person = database.transact(count_guess) if name.isprintable() else None
        # A name that nobody has takes as long: nobody learns from it who exists.
        known = _nobody() if person is None else person.password_hash
        if _passwords.submit(check_password_hash, known, password).result() and person is not None:
            return person
    log.warning("sign_in_refused", name=name[:100])
    raise SignInRefused(_WRONG)


def find_visitor(database: Database, key: str, now: datetime, admin_token: str | None) -> Visitor | None:
    """Whose session a key is of; None: it has ended, or there is none. One of the setting's token ends with that."""
    with database.read() as tx:
        found = store.find_session(tx, _hash(key))
        if found is None and admin_token is not None:
            found = store.find_session(tx, _hash_both(key, admin_token))
    if found is None or found[0].ends_at <= now:
        return None
    session, person = found
    if session.person_id is None:
        return Visitor(ADMIN_TOKEN, Role.ADMIN, None, session.ends_at)
    if person is None or person.removed_at is not None:
        return None
    return Visitor(person.name, person.role, person.id, session.ends_at)


def sign_out(database: Database, key: str, admin_token: str | None) -> None:
    """End a session."""
    database.transact(lambda tx: store.end_session(tx, [_hash(key), _hash_both(key, admin_token or "")]))


def require_person(database: Database, number: int) -> Person:
    """A person who may sign in; NoSuchThing or NotPossible if there is none, or none any more."""
    with database.read() as tx:
        return _require_person(tx, number)


def _require_person(tx: Transaction, number: int) -> Person:
    person = store.find_person(tx, id=number)
    if person is None:
        raise NoSuchThing(f"there is no person {number}: see `zego-retention users list`")
    if person.removed_at is not None:
        raise NotPossible(f"person {number} is removed already: see `zego-retention users list`")
    return person


def _change_person(
    database: Database,
    number: int,
    action: str,
    actor: Actor,
    now: datetime,
    change: Callable[[Transaction, Person], None],
) -> Person:
    def work(tx: Transaction) -> Person:
        person = _require_person(tx, number)
        change(tx, person)
        store.end_sessions(tx, number)
        record_entry(tx, actor, action, f"person {number}", {"name": person.name}, now)
        return person

    return database.transact(work)


def _note_failure(tx: Transaction, number: int, now: datetime) -> None:
    beyond = store.count_failure(tx, number) - MAX_FAILURES
    if beyond >= 0:
        lock = min(_FIRST_LOCK * 2 ** min(beyond, _MAX_DOUBLINGS), _LONGEST_LOCK)
        store.change_person(tx, number, locked_until=now + lock)


def _hash_password(password: str) -> str:
    if not MIN_PASSWORD <= len(password) <= _MAX_PASSWORD:
        raise BadOrder("password", f"a password has {MIN_PASSWORD} to {_MAX_PASSWORD:,} characters")
    return generate_password_hash(password, method="scrypt")


@cache
def _nobody() -> str:
    return generate_password_hash(secrets.token_urlsafe(_KEY_BYTES), method="scrypt")


def _hash_both(key: str, admin_token: str) -> str:
    """What is kept of a session of the setting's token: another token, and its key opens nothing."""
    return _hash(f"{key} {admin_token}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
