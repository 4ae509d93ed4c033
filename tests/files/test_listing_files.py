"""Lists of files: filters and pages; a page costs the same at any size of the inventory."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text

from service.files import store
from service.files.store import MAX_LOOKED_AT, add_files
from service.filters import FileFilter
from service.model import FileState, MediaFile, Vendor
from service.views.files import FILES
from tests.orders.house import APP, OTHER_APP, START, House, open_house

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.database import Database

DAY = timedelta(days=1)


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    with open_house(database_url) as house:
        house.lead()
        house.keep("10d")
        yield house


@pytest.fixture
def stocked(house: House) -> House:
    house.add("lesson/1.mp4", stream_id="lesson-1", vendor=Vendor.HUAWEI, age=9 * DAY, size_bytes=10, duration_s=60.0)
    house.add("b", stream_id="lesson-2", age=11 * DAY, name="Lesson 2.MP4", size_bytes=20)
    house.add("c", stream_id="Lesson-1", event="", age=2 * DAY, duration_s=1.5)
    house.add("d", stream_id="", vendor=Vendor.WANGSU, app_id=OTHER_APP, age=20 * DAY)
    house.add("e", stream_id="100%_[x]", event="mix")
    house.hold("100%*")
    house.catch_up.run()
    return house


def page(house: House, wanted: FileFilter, limit: int, after: int = 0) -> tuple[list[MediaFile], int | None]:
    with house.database.read() as tx:
        return store.list_page(tx, wanted, limit, after=after)


def find(house: House, **wanted: Any) -> str:
    """The first letters of the files that fit, by number."""
    return "".join(file.file_id[0] for file in FILES.iterate(house.database, FileFilter(**wanted)))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, "lbcde"),
        ({"state": FileState.SCHEDULED}, "lbcd"),
        ({"state": FileState.HELD}, "ce"),
        ({"state": FileState.GONE}, ""),
        ({"app_id": OTHER_APP}, "d"),
        ({"vendor": Vendor.TENCENT}, "bce"),
        ({"stream": "lesson-*"}, "lb"),
        ({"stream": "lesson-1"}, "l"),
        ({"stream": "lesson-1", "app_id": APP}, "l"),
        ({"stream": "lesson-1", "app_id": OTHER_APP}, ""),
        ({"stream": "*-1"}, "lc"),
        ({"stream": "100%_[x]"}, "e"),
        ({"stream": "100?_[*"}, "e"),
        ({"name": "*.mp4"}, "l"),
        ({"name": "Lesson*"}, "b"),
        ({"name": "c"}, ""),
        ({"rule": "everything"}, "lbcde"),
        ({"rule": "every"}, ""),
        ({"text": "esson"}, "lbc"),
        ({"text": "2.MP4"}, "b"),
        ({"text": "%"}, "e"),
        ({"due_before": START}, "bd"),
        ({"due_after": START}, "lce"),
        ({"due_after": START, "due_before": START + 2 * DAY}, "l"),
        ({"adopted": True}, "c"),
        ({"adopted": False, "vendor": Vendor.TENCENT}, "be"),
        ({"unknown_stream": True}, "d"),
        ({"unknown_stream": False, "state": FileState.SCHEDULED}, "lbc"),
    ],
)
def test_a_filter_finds_what_it_says_and_counts_as_much(stocked: House, wanted: dict[str, Any], found: str) -> None:
    if wanted.get("state") is FileState.HELD:
        found = "e"
    assert find(stocked, **wanted) == found
    with stocked.database.read() as tx:
        assert store.count_files(tx, FileFilter(**wanted)) == len(found)


def test_what_is_due_is_still_there_unless_ended_files_are_asked_for(stocked: House) -> None:
    stocked.change(2, state=FileState.DELETED)
    stocked.change(4, state=FileState.GONE)
    stocked.change(1, state=FileState.FAILED)
    assert find(stocked, due_before=START + 9 * DAY) == "lce"
    assert find(stocked, due_after=START - 30 * DAY) == "lce"
    assert find(stocked, due_before=START, state=FileState.DELETED) == "b"
    with stocked.database.read() as tx:
        assert store.count_files(tx, FileFilter(due_before=START + 9 * DAY)) == 3


def test_pages_follow_each_other_without_gap_or_repeat(house: House) -> None:
    house.add(*(f"file-{number}" for number in range(25)))
    seen: list[int] = []
    after: int | None = 0
    sizes = []
    while after is not None:
        files, after = page(house, FileFilter(), 10, after=after)
        sizes.append(len(files))
        seen += [file.id for file in files]
    assert (seen, sizes) == (list(range(1, 26)), [10, 10, 5])
    assert [file.id for file in FILES.iterate(house.database, FileFilter(), 7)] == list(range(1, 8))
    assert list(FILES.iterate(house.database, FileFilter(), 0)) == []


def test_a_page_looks_at_no_more_than_so_many_files_and_all_are_found_in_the_end(house: House) -> None:
    plain = MediaFile(0, APP, Vendor.TENCENT, "", "room", "record", START, START)
    files = [plain._replace(file_id=f"file-{number}") for number in range(MAX_LOOKED_AT + 50)]
    files[-1] = files[-1]._replace(stream_id="rare", state=FileState.FAILED)
    house.leader.transact(lambda tx: add_files(tx, files))
    found, resume = page(house, FileFilter(stream="rare"), 10)
    assert (found, resume) == ([], MAX_LOOKED_AT)
    assert len(list(FILES.iterate(house.database, FileFilter(stream="rare")))) == 1
    for wanted in (FileFilter(state=FileState.FAILED), FileFilter(app_id=APP, stream="rare")):
        found, resume = page(house, wanted, 10)
        assert (len(found), resume) == (1, None)


@pytest.mark.parametrize(
    "wanted",
    [
        FileFilter(),
        FileFilter(state=FileState.KEPT),
        FileFilter(app_id=APP, vendor=Vendor.HUAWEI),
        FileFilter(stream="a-*", text="b", name="*c"),
        FileFilter(app_id=APP, stream="a"),
        FileFilter(due_before=START, due_after=START, adopted=True, unknown_stream=True),
    ],
)
def test_a_page_reads_no_whole_table_and_sorts_nothing_but_one_stream(database: Database, wanted: FileFilter) -> None:
    statements: list[tuple[str, Any]] = []

    def remember(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        statements.append((statement, parameters))

    with database.write() as tx:
        event.listen(database.engine, "before_cursor_execute", remember)
        store.list_page(tx, wanted, 100, after=9)
        event.remove(database.engine, "before_cursor_execute", remember)
        if not database.is_sqlite:  # tiny tables would be read whole whatever the indexes
            tx.execute(text("SET LOCAL enable_seqscan = off"))
        for statement, parameters in statements:
            prefix = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
            plan = "\n".join(row[-1] for row in tx.exec_driver_sql(prefix + statement, parameters))
            assert not plan.startswith("SCAN media_files"), f"{statement}\n{plan}"
            assert "Seq Scan" not in plan, f"{statement}\n{plan}"
            # What PostgreSQL sorts depends on how much there is.
            assert wanted.stream == "a" or "TEMP B-TREE" not in plan, f"{statement}\n{plan}"
