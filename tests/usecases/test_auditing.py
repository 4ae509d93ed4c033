from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, select, text

from service.core.chain import START, Head
from service.core.model import Actor
from service.db import audit
from service.db.engine import Database
from service.db.migrate import upgrade_database
from service.db.order_models import AuditEntryRow, AuditLinkRow
from service.usecases.auditing import chain_entries, export_entries, list_entries, record_start, verify_chain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.usecases.auditing import Verified

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ALICE = Actor("alice", "command line")
COPY_OF_ENTRY_4 = """
INSERT INTO audit_entries
SELECT 100, at, actor, through, action, subject, detail FROM audit_entries WHERE id = 4
"""


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    upgrade_database(database)
    yield database
    database.dispose()


def write(database: Database, count: int, action: str = "place_hold", start: datetime = NOON) -> None:
    def add(session: Any) -> None:
        for number in range(count):
            at = start + timedelta(microseconds=number)
            audit.add_entry(session, ALICE, action, f"hold {number}", at, {"reason": "trial"})
            session.flush()

    database.transact(add)


def tamper(database: Database, *statements: str) -> None:
    with database.write() as session:
        for statement in statements:
            session.execute(text(statement))


def chained(database: Database) -> Verified:
    chain_entries(database)
    return verify_chain(database)


def test_an_empty_audit_is_in_order(database: Database) -> None:
    assert chain_entries(database) == 0
    verified = verify_chain(database)
    assert (verified.head, verified.unchained, verified.fault) == (START, 0, None)


def test_entries_are_chained_after_they_were_written_and_each_once(database: Database) -> None:
    write(database, 3)
    assert verify_chain(database).unchained == 3
    assert chain_entries(database) == 3
    assert chain_entries(database) == 0
    write(database, 2)
    verified = chained(database)
    assert (verified.head.position, verified.unchained, verified.fault) == (5, 0, None)


def test_a_chain_of_several_batches_verifies_and_keeps_its_earlier_heads(database: Database) -> None:
    write(database, 700)
    first = chained(database).head
    write(database, 600)
    verified = chained(database)
    assert (verified.head.position, verified.fault) == (1300, None)
    assert verify_chain(database, first) == verified
    assert verify_chain(database, verified.head) == verified


@pytest.mark.parametrize(
    "change",
    [
        "at = '2026-03-01 12:00:00.000001'",
        "actor = 'mallory'",
        "through = 'API'",
        "action = 'release_hold'",
        "subject = 'hold 1'",
        "detail = '{}'",
    ],
    ids=lambda change: change.split()[0],
)
def test_every_altered_fact_of_an_entry_is_found(database: Database, change: str) -> None:
    write(database, 650)
    assert chained(database).fault is None
    tamper(database, f"UPDATE audit_entries SET {change} WHERE id = 620")  # noqa: S608  (our own words)
    fault = chained(database).fault
    assert fault is not None
    assert "entry 620 (position 620)" in fault


@pytest.mark.parametrize(
    ("statements", "says"),
    [
        (["DELETE FROM audit_entries WHERE id = 4"], "entry 4 (position 4) is missing"),
        (["DELETE FROM audit_entries WHERE id = 9"], "entry 9 (position 9) is missing"),
        (["DELETE FROM audit_links WHERE entry_id = 4"], "position 4 of the chain is missing"),
        (
            ["DELETE FROM audit_entries WHERE id = 4", "DELETE FROM audit_links WHERE entry_id = 4"],
            "position 4 of the chain is missing",
        ),
        (
            [
                "DELETE FROM audit_entries WHERE id = 8",
                "DELETE FROM audit_links WHERE entry_id = 8",
                "UPDATE audit_links SET position = 8 WHERE position = 9",
            ],
            "entry 9 (position 8)",
        ),
        (["UPDATE audit_entries SET id = 100 WHERE id = 4"], "entry 4 (position 4) is missing"),
        (["UPDATE audit_links SET hash = 'x' WHERE position = 4"], "entry 4 (position 4)"),
        (
            [  # two entries change places
                "UPDATE audit_links SET entry_id = 100 WHERE position = 4",
                "UPDATE audit_links SET entry_id = 4 WHERE position = 5",
                "UPDATE audit_links SET entry_id = 5 WHERE position = 4",
            ],
            "entry 5 (position 4)",
        ),
        (
            [  # one more is put before the last one
                COPY_OF_ENTRY_4,
                "UPDATE audit_links SET position = 10 WHERE position = 9",
                "INSERT INTO audit_links SELECT 9, 100, hash FROM audit_links WHERE position = 4",
            ],
            "entry 100 (position 9)",
        ),
        (["DELETE FROM audit_links WHERE position = 1"], "position 1 of the chain is missing"),
    ],
)
def test_removed_inserted_and_reordered_entries_are_found(database: Database, statements: list[str], says: str) -> None:
    write(database, 9)
    assert chained(database).fault is None
    tamper(database, *statements)
    fault = chained(database).fault
    assert fault is not None
    assert says in fault


def test_an_entry_that_cannot_even_be_read_is_named(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    upgrade_database(database)
    write(database, 9)
    chain_entries(database)
    tamper(database, "UPDATE audit_entries SET at = 'never' WHERE id = 4")
    fault = verify_chain(database).fault
    assert fault is not None
    assert "entry 4 (position 4)" in fault
    database.dispose()


def test_a_cut_tail_is_found_by_a_head_that_was_noted(database: Database) -> None:
    write(database, 9)
    noted = chained(database).head
    tamper(database, "DELETE FROM audit_entries WHERE id > 7", "DELETE FROM audit_links WHERE position > 7")
    assert verify_chain(database).fault is None
    fault = verify_chain(database, noted).fault
    assert fault is not None
    assert "its last entries were removed" in fault


def test_a_chain_rewritten_as_a_whole_is_found_by_a_head_that_was_noted(database: Database) -> None:
    write(database, 9)
    noted = chained(database).head
    tamper(database, "UPDATE audit_entries SET actor = 'mallory' WHERE id = 4", "DELETE FROM audit_links")
    assert chained(database).fault is None
    write(database, 9)
    chain_entries(database)
    fault = verify_chain(database, noted).fault
    assert fault is not None
    assert "rewritten" in fault


def test_many_that_chain_at_once_make_one_chain(database_url: str, database: Database) -> None:
    gate = threading.Barrier(6)

    def work(_: int) -> None:
        own = Database(database_url)
        gate.wait()
        for _ in range(10):
            write(own, 7)
            chain_entries(own)
        own.dispose()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    verified = chained(database)
    assert (verified.head.position, verified.unchained, verified.fault) == (420, 0, None)


def test_a_lower_number_that_is_committed_later_gets_the_next_place(postgres_url: str) -> None:
    database = Database(postgres_url)
    upgrade_database(database)
    with database.write() as late:
        audit.add_entry(late, ALICE, "place_hold", "late", NOON)
        late.flush()
        write(database, 2)
        assert chain_entries(database) == 2
    assert chain_entries(database) == 1
    with database.read() as session:
        order = list(session.scalars(select(AuditLinkRow.entry_id).order_by(AuditLinkRow.position)))
    assert order == [2, 3, 1]
    assert verify_chain(database) == chained(database)
    assert verify_chain(database).fault is None
    database.dispose()


class Killed(BaseException):
    """Stands for a process that ends here."""


def test_a_kill_between_two_batches_is_made_good_by_the_next_one(database: Database) -> None:
    write(database, 1200)
    seen = 0

    def strike(_c: object, _u: object, statement: str, parameters: Any, *_: object) -> tuple[str, Any]:
        nonlocal seen
        seen += "INSERT INTO audit_links" in statement
        if seen > 1:
            raise Killed
        return statement, parameters

    event.listen(database.engine, "before_cursor_execute", strike, retval=True)
    with pytest.raises(Killed):
        chain_entries(database)
    event.remove(database.engine, "before_cursor_execute", strike)
    left = verify_chain(database)
    assert 0 < left.head.position < 1200
    assert left.unchained == 1200 - left.head.position
    assert left.fault is None
    verified = chained(database)
    assert (verified.head.position, verified.fault) == (1200, None)


def test_the_list_is_newest_first_and_goes_on_where_it_stopped(database: Database) -> None:
    write(database, 1100)
    write(database, 2, action="revoke_token")
    assert [entry["id"] for entry in list_entries(database)] == list(range(1102, 0, -1))
    page = list(list_entries(database, limit=2, action="place_hold"))
    assert [entry["id"] for entry in page] == [1100, 1099]
    page = list(list_entries(database, after=1099, limit=2, action="place_hold"))
    assert [entry["id"] for entry in page] == [1098, 1097]


def test_the_export_is_whole_and_in_order_and_shows_the_places(database: Database) -> None:
    write(database, 600)
    head = chained(database).head
    write(database, 1, start=NOON + timedelta(days=1))
    found = list(export_entries(database))
    assert [entry["id"] for entry in found] == list(range(1, 602))
    assert (found[599]["position"], found[599]["hash"]) == (head.position, head.hash)
    assert (found[600]["position"], found[600]["hash"]) == (None, None)
    assert found[0] == {
        "id": 1,
        "at": "2026-03-01T12:00:00.000000Z",
        "actor": "alice",
        "through": "command line",
        "action": "place_hold",
        "subject": "hold 0",
        "detail": {"reason": "trial"},
        "position": 1,
        "hash": found[0]["hash"],
    }
    assert [e["id"] for e in export_entries(database, NOON + timedelta(hours=1))] == [601]


def test_a_name_that_no_database_can_hold_keeps_nothing_from_being_written_down(database: Database) -> None:
    odd = Actor("a\0b\udcff", "command line")
    database.transact(lambda session: audit.add_entry(session, odd, "place_hold", "x\0", NOON, {"y": "\0\udcff"}))
    [entry] = list_entries(database)
    assert entry["actor"] == "a\\x00b\\udcff"
    assert entry["detail"] == {"y": "\0\udcff"}
    assert chained(database).fault is None


def test_an_entry_is_there_only_with_its_change(database: Database) -> None:
    def fail(session: Any) -> None:
        audit.add_entry(session, ALICE, "place_hold", "hold 1", NOON)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        database.transact(fail)
    assert list(list_entries(database)) == []


def test_a_start_is_written_down_when_what_it_sees_differs(database: Database) -> None:
    assert record_start(database, "web", {"keep": "1d"}, NOON)
    assert not record_start(database, "web", {"keep": "1d"}, NOON)
    assert record_start(database, "worker", {"keep": "1d"}, NOON)
    assert record_start(database, "web", {"keep": "2d"}, NOON)
    assert record_start(database, "web", {"keep": "1d"}, NOON)
    told = [(e["subject"], e["actor"], e["through"], e["detail"]["keep"]) for e in list_entries(database)]
    assert told == [
        ("web", "settings", "web", "1d"),
        ("web", "settings", "web", "2d"),
        ("worker", "settings", "worker", "1d"),
        ("web", "settings", "web", "1d"),
    ]


def test_heads_and_rows_mean_the_same(database: Database) -> None:
    write(database, 1)
    head = chained(database).head
    with database.read() as session:
        row = session.scalars(select(AuditLinkRow)).one()
        assert session.scalars(select(AuditEntryRow)).one().id == row.entry_id
    assert Head(row.position, row.hash) == head
