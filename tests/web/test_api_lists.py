"""Lists of the API: pages and cursors, filters, and what each entry shows; on both databases."""

from __future__ import annotations

from datetime import timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import pytest

from service.filters import AuditFilter, CallbackFilter, FileFilter, HoldFilter, ListingFilter
from service.model import Vendor
from service.views.audit import AUDIT, TOKENS
from service.views.callbacks import CALLBACKS
from service.views.files import ERASURES, FILES, HOLDS
from service.views.rules import PREVIEWS, REVISIONS
from service.views.runs import CALLS, LISTINGS, RUN_FILES, RUNS
from service.web.api.build import declared_routes
from tests.web.api_scene import fill
from tests.world import OTHER_APP

if TYPE_CHECKING:
    from service.views.form import Listed
    from tests.web.api_scene import Api

# (path, how many there are after `fill`, whether the newest comes first: None where another order counts)
LISTS: list[tuple[str, int, bool | None]] = [
    ("/files", 38, False),
    ("/rules/revisions", 1, True),
    ("/rules/previews", 1, True),
    ("/rules/previews/1/sooner", 7, None),
    ("/holds", 2, False),
    ("/erasures", 1, True),
    ("/runs", 1, True),
    ("/runs/1/files", 30, False),
    ("/runs/1/calls", 1, False),
    ("/listings", 3, True),
    ("/callbacks", 3, True),
    ("/audit", 10, True),
    ("/audit/export", 10, False),
    ("/tokens", 5, False),
]


def number_of(entry: dict[str, Any]) -> int:
    number: int = entry["id"] if "id" in entry else entry["number"]
    return number


def test_every_list_comes_in_pages_that_neither_lose_nor_double_an_entry(api: Api) -> None:
    fill(api)
    declared = {route.path for route in declared_routes().values() if "cursor" in route.query.model_fields}
    declared.remove("/runs/<number:number>/planned")  # of an open plan: walked where a plan is approved
    assert declared == {path.replace("/1/", "/<number:number>/") for path, _, _ in LISTS}
    for path, count, newest_first in LISTS:
        role = "admin" if path == "/tokens" else "viewer"
        whole = api.get(path, role=role, limit=500)
        assert whole["next_cursor"] is None
        numbers = [number_of(entry) for entry in whole["items"]]
        assert len(numbers) == count, path
        if newest_first is not None:
            assert numbers == sorted(set(numbers), reverse=newest_first), path
        assert api.get(path, role=role, limit=count)["next_cursor"] is None, path
        for limit in (1, 2):
            assert api.walk(path, role=role, limit=limit) == whole["items"], (path, limit)


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({"state": "unconfirmed"}, ["late"]),
    ({"state": "held"}, ["lesson"]),
    ({"app": OTHER_APP}, ["other"]),
    ({"vendor": "Ws"}, ["wangsu"]),
    ({"stream": "lesson-*"}, ["lesson"]),
    ({"stream": "LESSON-*"}, []),
    ({"name": "*own*"}, ["known"]),
    ({"adopted": "true"}, ["known"]),
    ({"unknown_stream": "true"}, ["known"]),
    ({"text": "ngs"}, ["wangsu"]),
    ({"due_before": "2026-03-01T00:00:00Z"}, ["other"]),
    ({"due_after": "2026-03-30T12:00:00Z", "adopted": "false"}, ["late", "lesson", "wangsu"]),
    ({"state": "scheduled", "vendor": "Tencent", "stream": "room"}, ["other"]),
]


def test_files_are_found_by_every_condition(api: Api) -> None:
    world = api.world
    world.keep("30d")
    world.send("lesson", stream="lesson-1")
    world.send("late", now=world.clock() - timedelta(hours=2))
    world.send("wangsu", vendor=Vendor.WANGSU)
    world.add(1, prefix="other", app_id=OTHER_APP, age=timedelta(days=40))
    world.add(1, prefix="known", stream_id="", event="", name="my own", age=timedelta(days=3))
    api.post("/holds", {"app_id": "1234567890", "stream_pattern": "lesson-*", "reason": "kept"}, status=201)
    api.post("/holds/1/release")
    api.post("/holds", {"file": 1, "reason": "kept"}, status=201)
    for query, expected in FILTERS:
        found = sorted(each["file_id"].partition("-0")[0] for each in api.walk("/files", **query))
        assert found == expected, query


def test_lists_filter_by_what_they_say(api: Api) -> None:
    fill(api)
    assert [each["verdict"] for each in api.walk("/callbacks", verdict="forged")] == ["forged"]
    assert api.walk("/callbacks", app="42") == []
    for path, wanted, text in (
        ("/files", {"rule": "old"}, "no rule is called 'old': those in force are "),
        ("/files", {"moved_by": 99}, "there is no revision 99: "),
        ("/callbacks", {"file": 999}, "there is no file 999: "),
    ):
        assert text in api.get(path, status=404, **wanted)["detail"]
    assert api.get("/files", moved_by=1)["items"] == []
    [late] = api.walk("/callbacks", verdict="stale")
    assert api.walk("/callbacks", file=late["file"]) == [late]
    assert {each["vendor"] for each in api.walk("/listings", vendor="Ws")} == {"Ws"}
    assert api.walk("/listings", app="42") == []
    assert {each["subject"] for each in api.walk("/audit", action="hold.place")} == {"hold 1", "hold 2"}
    assert api.walk("/audit", actor="nobody") == []
    api.post("/holds/1/release")
    assert [hold["id"] for hold in api.walk("/holds")] == [2]
    assert [hold["id"] for hold in api.walk("/holds", released="true")] == [1, 2]
    assert api.walk("/holds", app="42") == []


@pytest.mark.parametrize(
    ("listed", "wanted"),
    [
        pytest.param(listed, wanted, id=path)
        for path, listed, wanted in (
            ("/runs/1/calls", CALLS, 1),
            ("/runs/1/files", RUN_FILES, 1),
            ("/runs", RUNS, None),
            ("/erasures", ERASURES, None),
            ("/rules/revisions", REVISIONS, None),
            ("/rules/previews", PREVIEWS, None),
            ("/tokens", TOKENS, None),
        )
    ],
)
def test_a_list_counts_what_it_lists_and_has_a_value_for_every_column(
    lasting_api: Api, listed: Listed[Any, Any, Any], wanted: Any
) -> None:
    check_list(lasting_api, listed, wanted)


def check_list(api: Api, listed: Listed[Any, Any, Any], wanted: Any) -> None:
    entries = list(listed.iterate(api.world.database, wanted))
    assert listed.count(api.world.database, wanted) == len(entries) > 0
    assert list(listed.iterate(api.world.database, wanted, 1)) == entries[:1]
    for entry in entries:
        assert any(attrgetter(attribute)(entry) is not None for attribute in listed.columns.values())
    assert set(listed.drop_first.split(", ")) < {"", *listed.columns}


def test_the_filtered_lists_count_what_they_list(lasting_api: Api) -> None:
    check_list(lasting_api, FILES, FileFilter())
    check_list(lasting_api, FILES, FileFilter(stream="lesson-*"))
    check_list(lasting_api, HOLDS, HoldFilter())
    check_list(lasting_api, CALLBACKS, CallbackFilter())
    check_list(lasting_api, LISTINGS, ListingFilter(vendor=Vendor.HUAWEI))
    check_list(lasting_api, AUDIT, AuditFilter(action="hold.place"))
