"""A sweep costs what is due, not what exists: no query of the daily ways may read a whole table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text

from service.core.model import FileState, Vendor, Verdict
from service.core.rules_file import parse_rules
from service.db import claims, coverage, figures, files, inbox, leases, listings, plans, pruning, revisions, runs
from service.db.claims import Wanted
from service.db.engine import Database
from service.db.files import FileFilter
from service.db.inbox import CallbackFilter
from service.db.migrate import upgrade_database
from service.db.models import ListingRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.orm import Session

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LANE = ("1", Vendor.TENCENT)
LISTING = ListingRow(id=1, app_id="1", vendor=Vendor.WANGSU)
LATEST = parse_rules('[[rules]]\nname = "all"\nmatch = { vendor = "Ws" }\nkeep = "1d"\nkeep_latest = 2\n')

QUERIES: dict[str, Callable[[Session], object]] = {
    "lanes": lambda session: claims.list_due_lanes(session, NOW),
    "lanes with retries": lambda session: claims.list_due_lanes(session, NOW, only_retries=True),
    "the next due files": lambda session: claims.next_due(session, LANE, NOW, (NOW, 1), 400),
    "the next retries": lambda session: claims.next_due(session, LANE, NOW, None, 400, Wanted(only_retries=True)),
    "the next approved files": lambda session: claims.next_due(session, LANE, NOW, None, 400, Wanted(approval="run 1")),
    "files the breaker knows": lambda session: claims.next_due(session, LANE, NOW, None, 400, Wanted(only_passed=True)),
    "new files": lambda session: claims.count_new(session, "1", NOW),
    "their numbers": lambda session: list(claims.list_new(session, "1", NOW)),
    "files of a plan that are due": lambda session: claims.has_new(session, [1, 2], NOW),
    "present files": lambda session: claims.count_present(session, "1"),
    "due files that are held": lambda session: claims.next_held(session, NOW, None, 500),
    "due files of a lane": lambda session: claims.count_due(session, LANE, NOW),
    "a plan's files": lambda session: plans.mark_files(session, [1, 2], "run 1", NOW),
    "files waiting": lambda session: claims.count_waiting(session, NOW),
    "files of an older revision": lambda session: files.older_than_revision(session, 2, 500),
    "their number": lambda session: files.count_older_than(session, 2),
    "one file": lambda session: files.find_by_identity(session, "1", Vendor.TENCENT, "f"),
    "the newest of a stream": lambda session: files.newest_spans(session, "1", "room", LATEST, 0, NOW),
    "streams not quiet any more": lambda session: files.list_quieted_streams(session, NOW, 100),
    "the end of quiet": lambda session: files.end_quiet(session, "1", "room", NOW),
    "what a rank keeps": lambda session: files.ruled_by_rank(session, "1", "room", ["latest"]),
    "overdue and unconfirmed": lambda session: files.count_overdue_unconfirmed(session, NOW),
    "due": lambda session: figures.count_due(session, NOW),
    "the oldest due file": lambda session: figures.oldest_due_at(session, NOW),
    "cooling files": lambda session: figures.count_cooling(session, NOW),
    "held files": lambda session: figures.count_held(session, NOW),
    "observed files": lambda session: figures.count_observed(session, NOW),
    "a page of files": lambda session: files.page_files(session, FileFilter(), 100, after=9),
    "a page of one state": lambda session: files.page_files(session, FileFilter(state=FileState.KEPT), 100),
    "a page of one app": lambda session: files.page_files(session, FileFilter(app_id="1", vendor=Vendor.HUAWEI), 100),
    "a page of streams": lambda session: files.page_files(session, FileFilter(stream="a-*", text="b"), 100, after=9),
    "a page of due files": lambda session: files.page_files(session, FileFilter(due_before=NOW, due_after=NOW), 100),
    "a page of a verdict": lambda session: list(
        inbox.list_callbacks(session, CallbackFilter(Verdict.ACCEPTED), 100, before=9)
    ),
    "claimed files": lambda session: claims.claimed_by(session, 1, [1, 2]),
    "files in hand": lambda session: list(coverage.find_in_hand(session, "1")),
    "files in flight": lambda session: list(coverage.find_in_flight(session, "1")),
    "the streams of an app": lambda session: coverage.list_streams(session, "1"),
    "held files of streams": lambda session: coverage.list_numbers(session, "1", ["a", "b"], [FileState.HELD]),
    "files of streams": lambda session: list(coverage.find_in_streams(session, "1", ["a", "b"])),
    "named files": lambda session: list(coverage.find_named(session, [1, 2])),
    "an app's files": lambda session: coverage.has_files(session, "1"),
    "claims of a run": lambda session: claims.release_claims(session, 1, "", NOW),
    "open attempts": lambda session: claims.close_open_attempts(session, 1, NOW),
    "stale runs": lambda session: claims.list_stale_runs(session, NOW, timedelta(minutes=2)),
    "attempts of a file": lambda session: list(runs.list_attempts(session, file_key=1)),
    "purges of a file": lambda session: runs.find_cache_codes(session, file_key=1),
    "purges of a run": lambda session: runs.find_cache_codes(session, run_id=1),
    "failed purges": figures.count_failed_purges,
    "files to purge": lambda session: figures.find_unpurged(session, NOW),
    "bodies to drop": lambda session: pruning.find_callbacks(session, NOW, None, 500),
    "more bodies to drop": lambda session: pruning.find_callbacks(session, NOW, (NOW, 1), 500),
    "dropping bodies": lambda session: pruning.drop_bodies(session, [1, 2], NOW),
    "attempts to drop": lambda session: pruning.find_attempts(session, NOW, None, 500),
    "more attempts to drop": lambda session: pruning.find_attempts(session, NOW, (NOW, 1), 500),
    "dropping attempts": lambda session: pruning.drop_attempts(session, [1, 2]),
    "runs to drop": lambda session: pruning.find_runs(session, NOW, 0, 500),
    "dropping runs": lambda session: pruning.drop_runs(session, [1, 2]),
    "attempts before": lambda session: runs.maybe_deleted_before(session, [1, 2], 3),
    "totals of a run": lambda session: runs.count_totals(session, 1),
    "a callback's signature": lambda session: inbox.lock_signature(session, "s", NOW),
    "callbacks that wait for a listing": lambda session: inbox.list_set_aside(session, "1", 9, 500),
    "the oldest of a verdict": lambda session: inbox.find_oldest(session, Verdict.SET_ASIDE),
    "the newest of a verdict": lambda session: inbox.find_newest(session, Verdict.MISDIRECTED),
    "a file's own callback": lambda session: inbox.was_announced(session, 1),
    "a file by its URL": lambda session: files.find_adopted_by_url(session, "1", ["https://a/b", "http://a/b"]),
    "known files of a page": lambda session: listings.find_known(session, LANE, ["a", "b"]),
    "seen files": lambda session: listings.mark_seen(session, 1, [1, 2], NOW),
    "files not seen": lambda session: listings.list_unseen(session, LISTING, NOW, 9, 10),
    "their count": lambda session: listings.count_unseen(session, LISTING, NOW),
    "known files of a lane": lambda session: listings.has_alive(session, LANE),
    "the first callback": lambda session: listings.first_callback_at(session, "1"),
    "some streams": lambda session: listings.list_some_streams(session, "1", 500),
    "lost callbacks": lambda session: listings.count_lost(session, NOW),
    "deletions in hand": lambda session: listings.deletions_in_hand(session, "1", NOW),
    "files to confirm": lambda session: listings.list_to_confirm(session, LANE, NOW, (NOW, NOW), 9, 10),
    "lanes to confirm": lambda session: listings.list_lanes_to_confirm(session, NOW),
    "files seen lately": lambda session: listings.list_seen_in(session, LANE, 1, NOW, 9, 200),
    "unfinished callbacks": lambda session: inbox.list_unfinished(session, 0, 10),
    "the rules in force": revisions.current_rules,
    "the lease": lambda session: leases.find_lease(session, "sweep"),
}
BIG = ("media_files", "attempts", "calls", "callbacks", "signatures")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    upgrade_database(database)
    yield database
    database.dispose()


@pytest.mark.parametrize("name", QUERIES)
def test_no_daily_query_reads_a_whole_table(database: Database, name: str) -> None:
    statements: list[tuple[str, Any]] = []

    def remember(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        statements.append((statement, parameters))

    with database.write() as session:
        event.listen(database.engine, "before_cursor_execute", remember)
        QUERIES[name](session)
        event.remove(database.engine, "before_cursor_execute", remember)
        seen = [(statement, parameters) for statement, parameters in statements if "advisory" not in statement]
        assert seen
        if not database.is_sqlite:  # tiny tables would be read whole whatever the indexes
            session.execute(text("SET LOCAL enable_seqscan = off"))
        for statement, parameters in seen:
            plan = explain(session, database, statement, parameters)
            for table in BIG:
                assert f"SCAN {table}\n" not in plan, f"{statement}\n{plan}"
                assert f"Seq Scan on {table}" not in plan, f"{statement}\n{plan}"


@pytest.mark.parametrize(
    ("find", "index"),
    [
        (pruning.find_callbacks, "ix_callbacks_prunable"),
        (pruning.find_attempts, "ix_attempts_passing"),
    ],
)
def test_what_may_be_forgotten_is_found_over_an_index_of_its_own(database: Database, find: Any, index: str) -> None:
    statements: list[tuple[str, Any]] = []

    def remember(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        statements.append((statement, parameters))

    with database.write() as session:
        event.listen(database.engine, "before_cursor_execute", remember)
        find(session, NOW, (NOW, 1), 500)
        event.remove(database.engine, "before_cursor_execute", remember)
        if not database.is_sqlite:
            session.execute(text("SET LOCAL enable_seqscan = off"))
        assert index in explain(session, database, *statements[-1])


def explain(session: Session, database: Database, statement: str, parameters: Any) -> str:
    prefix = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
    rows = session.connection().exec_driver_sql(prefix + statement, parameters).all()
    return "".join(f"{row[-1]}\n" for row in rows)


def test_looking_for_retries_reads_retries_only(database: Database) -> None:
    # It happens every few seconds, and whatever is due may wait behind a blocked app.
    statements: list[tuple[str, Any]] = []

    def remember(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        statements.append((statement, parameters))

    with database.write() as session:
        event.listen(database.engine, "before_cursor_execute", remember)
        claims.list_due_lanes(session, NOW, only_retries=True)
        event.remove(database.engine, "before_cursor_execute", remember)
        if not database.is_sqlite:
            session.execute(text("SET LOCAL enable_seqscan = off"))
        assert "ix_media_files_retry" in explain(session, database, *statements[-1])


@pytest.mark.parametrize(
    ("index", "query"),
    [
        ("ix_media_files_observed", lambda session: figures.count_observed(session, NOW)),
        ("ix_media_files_url", lambda session: files.find_adopted_by_url(session, "1", ["http://a", "https://a"])),
    ],
)
def test_what_has_an_index_of_its_own_is_read_from_it(
    database: Database, index: str, query: Callable[[Session], object]
) -> None:
    statements: list[tuple[str, Any]] = []

    def remember(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        statements.append((statement, parameters))

    with database.write() as session:
        event.listen(database.engine, "before_cursor_execute", remember)
        query(session)
        event.remove(database.engine, "before_cursor_execute", remember)
        if not database.is_sqlite:
            session.execute(text("SET LOCAL enable_seqscan = off"))
        assert index in explain(session, database, *statements[-1])
