"""The audit: numbers without gaps however many write, and a chain in which every alteration is found."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from service.audit.chain import hash_entry, parse_head, verify_chain
from service.audit.record import record_entry
from service.audit.store import START, Head, iterate_entries, list_entries
from service.database import Database
from service.filters import AuditFilter
from service.model import Actor

if TYPE_CHECKING:
    from service.database import Transaction

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ALICE = Actor("alice", "command line")


def write(database: Database, count: int, action: str = "hold.place", first: int = 0) -> None:
    def add(tx: Transaction) -> None:
        for number in range(first, first + count):
            at = NOON + timedelta(microseconds=number)
            record_entry(tx, ALICE, action, f"hold {number}", {"reason": "trial"}, at)

    database.transact(add)


def export_numbers(database: Database, after: int = 0) -> list[int]:
    with database.read() as tx:
        return [entry.number for entry in iterate_entries(tx, after)]


def tamper(database: Database, *statements: str) -> None:
    with database.write() as tx:
        for statement in statements:
            tx.execute(text(statement))


def test_an_empty_audit_is_in_order(database: Database) -> None:
    verified = verify_chain(database)
    assert (verified.head, verified.fault) == (START, None)


def test_many_writers_number_their_entries_without_a_gap_from_the_very_first(database: Database) -> None:
    """Also those that meet while the audit is empty; and each sees its own number when it commits."""

    def write_some(writer: int) -> list[int]:
        return [
            database.transact(lambda tx: record_entry(tx, ALICE, "hold.place", f"hold {writer}", {}, NOON))
            for _ in range(10)
        ]

    with ThreadPoolExecutor(8) as pool:
        numbers = [number for numbers in pool.map(write_some, range(8)) for number in numbers]
    assert sorted(numbers) == list(range(1, 81))
    assert (verify_chain(database).head.number, verify_chain(database).fault) == (80, None)


def test_an_entry_of_a_transaction_that_fails_leaves_no_gap(database: Database) -> None:
    write(database, 1)

    def fail(tx: Transaction) -> None:
        record_entry(tx, ALICE, "hold.place", "hold 2", {}, NOON)
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        database.transact(fail)
    write(database, 1)
    assert export_numbers(database) == [1, 2]
    assert verify_chain(database).fault is None


def test_a_chain_of_several_batches_verifies_and_keeps_its_earlier_heads(database: Database) -> None:
    write(database, 700)
    first = verify_chain(database).head
    write(database, 600, first=700)
    verified = verify_chain(database)
    assert (verified.head.number, verified.fault) == (1_300, None)
    assert verify_chain(database, parse_head(str(first))) == verified
    assert verify_chain(database, verified.head) == verified


@pytest.mark.parametrize(
    "change",
    [
        "at = '2026-03-01 12:00:00.000001'",
        "actor = 'mallory'",
        "through = 'API'",
        "action = 'hold.release'",
        "subject = 'hold 1'",
        "detail = '{}'",
        f"hash = '{'0' * 64}'",
    ],
    ids=lambda change: change.split()[0],
)
def test_every_altered_fact_of_an_entry_is_found(database: Database, change: str) -> None:
    write(database, 650)
    tamper(database, f"UPDATE audit_entries SET {change} WHERE number = 620")  # noqa: S608  (our own words)
    verified = verify_chain(database)
    assert verified.fault == "entry 620 does not match its hash: one of them was altered"
    assert verified.head.number == 619


@pytest.mark.parametrize(
    ("statements", "fault"),
    [
        (["DELETE FROM audit_entries WHERE number = 4"], "entry 4 is missing: entries were removed"),
        (["DELETE FROM audit_entries WHERE number > 7"], "entry 8 is missing: the audit ends at 7, and its head is 9"),
        (
            ["DELETE FROM audit_entries WHERE number = 4", "UPDATE audit_entries SET number = 4 WHERE number = 5"],
            "entry 4 does not match its hash: one of them was altered",
        ),
        (["UPDATE audit_head SET number = 5"], "entry 6 is missing: the audit ends at 5, and its head is 5"),
        (["DELETE FROM audit_head"], "the audit ends at entry 0, but there are later entries: it was altered"),
        (
            [
                "UPDATE audit_head SET number = 8",
                "UPDATE audit_head SET hash = (SELECT hash FROM audit_entries WHERE number = 8)",
            ],
            "the audit ends at entry 8, but there are later entries: it was altered",
        ),
    ],
)
def test_removed_moved_and_added_entries_are_found(database: Database, statements: list[str], fault: str) -> None:
    write(database, 9)
    tamper(database, *statements)
    assert verify_chain(database).fault == fault


def test_an_altered_entry_whose_hash_was_made_anew_is_found_by_the_next_one(database: Database) -> None:
    write(database, 9)
    with database.read() as tx:
        before, entry = list(iterate_entries(tx, 2))[:2]
    forged = hash_entry(Head(before.number, before.hash), replace(entry, subject="hold 99"))
    alteration = f"UPDATE audit_entries SET subject = 'hold 99', hash = '{forged}' WHERE number = 4"  # noqa: S608
    tamper(database, alteration)
    verified = verify_chain(database)
    fault = "entry 5 does not match its hash: one of them was altered"
    assert (verified.head.number, verified.fault) == (4, fault)


def test_a_time_that_cannot_be_read_is_found(sqlite_url: str) -> None:
    """PostgreSQL takes no such time."""
    database = Database(sqlite_url)
    write(database, 9)
    tamper(database, "UPDATE audit_entries SET at = 'noon' WHERE number = 4")
    verified = verify_chain(database)
    assert (verified.head.number, verified.fault) == (3, "entry 4 cannot be read: it was altered")
    database.dispose()


def test_a_chain_that_was_rewritten_as_a_whole_does_not_hold_a_head_that_was_noted(database: Database) -> None:
    write(database, 9)
    noted = verify_chain(database).head
    tamper(database, "DELETE FROM audit_entries", "DELETE FROM audit_head")
    write(database, 12, first=100)
    assert verify_chain(database).fault is None
    fault = verify_chain(database, noted).fault
    assert fault is not None
    assert fault.startswith("entry 9 has another hash than the noted head")
    tamper(database, "DELETE FROM audit_entries", "DELETE FROM audit_head")
    write(database, 3)
    assert verify_chain(database, noted).fault == "the audit ends at 3, before the noted head: entries were removed"


def test_verifying_while_others_write_finds_nothing(database: Database) -> None:
    write(database, 600)

    def write_often() -> None:
        for number in range(40):
            write(database, 1, first=number)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write_often)
        while not writing.done():
            assert verify_chain(database).fault is None
        writing.result()


@pytest.mark.parametrize("text_of_head", ["", "1", "1:abc", "x:" + "0" * 64, "1:" + "g" * 64, "-1:" + "0" * 64])
def test_what_is_no_head_is_refused_with_a_right_one(text_of_head: str) -> None:
    with pytest.raises(ValueError, match="NUMBER:HASH"):
        parse_head(text_of_head)
    assert parse_head(str(Head(7, "a" * 64))) == Head(7, "a" * 64)


def test_entries_are_listed_newest_first_and_exported_oldest_first(database: Database) -> None:
    write(database, 600)
    write(database, 3, "rules.apply", first=600)

    def list_numbers(wanted: AuditFilter, limit: int = 1_000, before: int | None = None) -> list[int]:
        with database.read() as tx:
            return [entry.number for entry in list_entries(tx, wanted, limit, before=before)]

    assert list_numbers(AuditFilter()) == list(range(603, 0, -1))
    assert list_numbers(AuditFilter(), 2, 600) == [599, 598]
    assert list_numbers(AuditFilter(action="rules.apply")) == [603, 602, 601]
    assert list_numbers(AuditFilter(subject="hold 7", actor="alice")) == [8]
    assert list_numbers(AuditFilter(actor="bob")) == []
    assert export_numbers(database) == list(range(1, 604))
    assert export_numbers(database, 600) == [601, 602, 603]
