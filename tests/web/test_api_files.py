from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from service.core.model import Vendor
from tests.world import APP, OTHER_APP

if TYPE_CHECKING:
    import pytest

    from tests.web.conftest import Api


def names(api: Api, **query: Any) -> list[str]:
    return [file["file_id"] for file in api.walk("/files", **query)]


def test_pages_follow_each_other_without_a_gap(api: Api) -> None:
    ids = api.world.add(23)
    assert names(api, limit=5) == ids
    first = api.get("/files", limit=5)
    assert len(first["items"]) == 5
    assert names(api, limit=5, cursor=first["next_cursor"]) == ids[5:]


def test_a_page_that_is_full_to_the_end_says_that_it_is_the_last(api: Api) -> None:
    api.world.add(5)
    assert api.get("/files", limit=5)["next_cursor"] is None


def test_files_that_arrive_meanwhile_come_at_the_end(api: Api) -> None:
    ids = api.world.add(4)
    first = api.get("/files", limit=2)
    more = api.world.add(2, prefix="later")
    assert names(api, cursor=first["next_cursor"]) == [*ids[2:], *more]


def test_each_filter_and_all_of_them_together(api: Api) -> None:
    world = api.world
    world.keep("30d")
    world.add(2, prefix="a", stream_id="lesson-1", age=timedelta(days=20))
    world.add(2, prefix="b", stream_id="lesson-[2]%_\\", app_id=OTHER_APP)
    world.add(2, prefix="c", stream_id="Lesson-3", vendor=Vendor.HUAWEI)
    world.sweep()  # decides them
    assert names(api, app=OTHER_APP) == ["b-00000", "b-00001"]
    assert names(api, vendor="Huawei") == ["c-00000", "c-00001"]
    assert names(api, stream="lesson-*") == ["a-00000", "a-00001", "b-00000", "b-00001"]
    assert names(api, stream="lesson-[2]%_\\") == ["b-00000", "b-00001"]
    assert names(api, stream="lesson-[1]") == []
    assert names(api, stream="lesson%") == []
    assert names(api, stream="lesson-?") == ["a-00000", "a-00001"]
    assert names(api, text="-00001") == ["a-00001", "b-00001", "c-00001"]
    assert names(api, text="esson-3") == ["c-00000", "c-00001"]
    assert names(api, text="LESSON") == []
    assert names(api, text="%_") == ["b-00000", "b-00001"]
    soon = (world.clock() + timedelta(days=15)).isoformat()
    assert names(api, due_before=soon) == ["a-00000", "a-00001"]
    assert names(api, due_after=soon) == ["b-00000", "b-00001", "c-00000", "c-00001"]
    assert names(api, state="scheduled", app=APP, vendor="Tencent", stream="l*", text="a-", due_before=soon, limit=1)
    assert names(api, state="kept") == []


def test_a_time_without_a_zone_is_utc(api: Api) -> None:
    api.world.keep("30d")
    api.world.add(1)
    api.world.sweep()
    due = api.get("/files")["items"][0]["due_at"].rstrip("Z")
    assert len(names(api, due_before=f"{due[:-1]}1")) == 1
    assert names(api, due_before=due) == []


def test_few_matches_among_many_files_are_all_found_over_short_pages(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.db.files._WINDOW", 10)  # a number, so that it takes no 50,000 files
    api.world.add(25, stream_id="common")
    rare = api.world.add(2, prefix="rare", stream_id="rare")
    api.world.add(13, prefix="more", stream_id="common")
    assert api.get("/files", stream="rare")["items"] == []
    assert names(api, stream="rare") == rare


def test_a_file_is_shown_and_explained(api: Api) -> None:
    api.world.keep("30d")
    api.world.send("one", age=timedelta(days=1))
    file = api.get("/files")["items"][0]
    assert api.get(f"/files/{file['id']}") == file
    explained = api.get(f"/files/{file['id']}/explanation")
    assert explained["file"] == file
    assert [rule["result"] for rule in explained["rules"]] == ["decides"]
    assert "deleted by the first sweep after" in explained["next_step"]


def test_confirming_goes_once_and_is_audited_with_the_tokens_name(api: Api) -> None:
    api.world.keep("30d")
    api.world.send("late", now=api.world.clock() - timedelta(hours=1))
    number = api.get("/files", state="unconfirmed")["items"][0]["id"]
    assert api.post(f"/files/{number}/confirm", role="operator")["state"] == "scheduled"
    api.post(f"/files/{number}/confirm", status=409)
    entry = api.get("/audit")["items"][0]
    assert (entry["actor"], entry["through"]) == ("operator", "API")
    assert str(number) in entry["subject"]


def test_only_what_failed_or_waits_can_be_retried(api: Api) -> None:
    api.world.keep("30d")
    api.world.send("one")
    number = api.get("/files")["items"][0]["id"]
    answer = api.post(f"/files/{number}/retry", status=409)
    assert "only failed or waiting files" in answer["detail"]
    api.post("/files/999/retry", status=404)
