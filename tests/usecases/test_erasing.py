"""Erasure on request: what was shown goes, and no more; holds and doubts come first."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, update

from service.core.model import Vendor
from service.db.models import MediaFileRow
from service.db.order_models import AuditEntryRow, ErasureRow
from service.usecases.erasing import (
    MOST_FILES,
    ErasureRequest,
    NotAsExpected,
    list_erasures,
    preview_erasure,
    request_erasure,
    settle_erasures,
    show_erasure,
)
from service.usecases.holding import HoldOrder, place_hold, release_hold
from service.usecases.inventory import NotPossible, confirm_files, retry_files
from service.usecases.orders import BadOrder
from tests.world import APP, OTHER_APP, TESTER

if TYPE_CHECKING:
    from tests.world import World

DAY = timedelta(days=1)
STREAM = ErasureRequest((), APP, "mei-*", "she asked")


def preview(world: World, request: ErasureRequest = STREAM) -> dict[str, Any]:
    return preview_erasure(world.database, request, world.clock())


def erase(world: World, expect: int, request: ErasureRequest = STREAM, **options: Any) -> dict[str, Any]:
    return request_erasure(world.database, request, expect, TESTER, world.clock(), **options)


def hold(world: World, file_id: str) -> int:
    order = HoldOrder(None, world.files()[file_id]["id"], None, "a court asks")
    number: int = place_hold(world.database, order, TESTER, world.clock())["id"]
    return number


def test_files_of_a_stream_go_whatever_the_rules_say(world: World) -> None:
    world.keep("forever")
    world.add(2, prefix="mine", stream_id="mei-1")
    world.add(1, prefix="other", stream_id="bo-1")
    world.add(1, prefix="elsewhere", stream_id="mei-1", app_id=OTHER_APP)
    assert preview(world)["files"] == 2
    erasure = erase(world, 2)
    assert (erasure["files"], erasure["by_state"]) == (2, {"scheduled": 2})
    file = world.files()["mine-00000"]
    assert (file["due_at"], file["approval"], file["rule"]) == ("2026-03-01T12:00:00Z", "erasure 1", None)
    assert file["state_reason"] == "erasure 1 of 2026-03-01 12:00 UTC: she asked"
    world.sweep()
    assert world.states() == {"deleted": ["mine-00000", "mine-00001"], "kept": ["other-00000", "elsewhere-00000"]}
    assert show_erasure(world.database, 1)["by_state"] == {"deleted": 2}  # type: ignore[index]


def test_the_request_is_on_record_with_its_numbers(world: World) -> None:
    world.add(1, stream_id="mei-1")
    erase(world, 1)
    with world.database.read() as session:
        [entry] = session.scalars(select(AuditEntryRow).where(AuditEntryRow.action == "request_erasure"))
    assert (entry.actor, entry.subject) == ("a tester", "erasure 1")
    assert '"stream_pattern": "mei-*"' in entry.detail
    assert '"files": 1' in entry.detail
    [listed] = list_erasures(world.database)
    assert (listed["requested_by"], listed["reason"], listed["files"]) == ("a tester", "she asked", 1)


def test_a_preview_tells_the_kinds_apart_and_changes_nothing(world: World) -> None:
    world.keep("1d")
    world.add(3, prefix="old", stream_id="mei-1")
    world.sandbox.fail_file("old-00001", "AccessDenied", "no")
    hold(world, "old-00002")
    world.sweep()
    world.send("new", stream="mei-2", vendor=Vendor.HUAWEI)
    world.send("stale", stream="mei-2", now=world.clock() - timedelta(hours=1))
    before = world.files()
    told = preview(world)
    numbers = {key: told[key] for key in ("files", "held", "unconfirmed", "failed", "ended")}
    assert numbers == {"files": 2, "held": 1, "unconfirmed": 1, "failed": 1, "ended": 1}
    assert told["by_state"] == {"failed": 1, "held": 1, "scheduled": 1}
    assert told["by_vendor"] == {"Huawei": 1, "Tencent": 2}
    assert [file["file_id"] for file in told["samples"]] == ["old-00001", "new"]
    assert world.files() == before
    world.sandbox.heal("old-00001")
    assert erase(world, 2)["by_state"] == {"held": 1, "scheduled": 2}
    world.sweep()
    assert world.states()["deleted"] == ["old-00000", "old-00001", "new"]
    assert world.stored() == {"old-00002", "stale"}


def test_a_hold_wins_until_it_is_released(world: World) -> None:
    world.add(1, stream_id="mei-1")
    number = hold(world, "file-00000")
    assert erase(world, 0)["by_state"] == {"held": 1}
    world.sweep()
    assert world.stored() == {"file-00000"}
    release_hold(world.database, number, TESTER, world.clock())
    world.sweep()
    assert world.stored() == set()


def test_a_hold_placed_after_the_request_stops_it(world: World) -> None:
    world.add(1, stream_id="mei-1")
    erase(world, 1)
    hold(world, "file-00000")
    world.sweep()
    assert world.state("file-00000") == "held"


def doubt(world: World) -> ErasureRequest:
    """A file whose stream only a stale callback has told; the request that names it."""
    world.keep("forever")
    world.send("stale", stream="mei-2", now=world.clock() - timedelta(hours=1))
    return ErasureRequest((world.files()["stale"]["id"],), None, None, "she asked")


def test_a_doubtful_file_goes_once_it_is_confirmed(world: World) -> None:
    erase(world, 0, doubt(world))
    world.sandbox.search = False
    world.sweep()
    assert world.state("stale") == "unconfirmed"
    confirm_files(world.database, [1], TESTER, world.clock())
    world.sweep()
    assert world.state("stale") == "deleted"


def test_a_pattern_leaves_out_a_doubtful_file(world: World) -> None:
    """Its stream is hearsay: the next callback may tell another one."""
    doubt(world)
    with pytest.raises(NotPossible, match="unconfirmed, so no pattern takes them"):
        erase(world, 0)
    world.send("sure", stream="mei-1")
    told = preview(world)
    assert (told["files"], told["unconfirmed"]) == (1, 1)
    assert erase(world, 1)["files"] == 1
    world.clock.move(seconds=5)
    world.send("stale", stream="lesson-1")
    world.sweep()
    assert world.states() == {"kept": ["stale"], "deleted": ["sure"]}


@pytest.mark.parametrize(("pattern", "state"), [("mei-*", "kept"), ("*", "deleted"), (None, "deleted")])
def test_a_file_of_another_stream_after_all_leaves_the_erasure_of_a_pattern(
    world: World, pattern: str | None, state: str
) -> None:
    erase(world, 0, doubt(world))
    world.database.transact(lambda session: session.execute(update(ErasureRow).values(stream_pattern=pattern)))
    world.clock.move(seconds=5)
    world.send("stale", stream="lesson-1")
    world.sweep()
    assert world.state("stale") == state
    with world.database.read() as session:
        [row] = session.scalars(select(MediaFileRow))
    assert (row.erasure_id, row.approval) == ((None, None) if state == "kept" else (1, "erasure 1"))
    noted = "stream_id: lesson-1, so erasure 1 of mei-* does not take it any more" in (row.differences or "")
    assert noted == (state == "kept")


def test_a_request_under_a_clock_that_ran_ahead_is_due_now(world: World) -> None:
    world.keep("forever")
    world.send("f", stream="mei-1")
    world.clock.move(days=365)
    erase(world, 1)
    assert world.files()["f"]["due_at"] == "2027-03-01T12:00:00Z"
    world.clock.move(days=-365)
    world.sweep()
    assert world.state("f") == "deleted"
    assert show_erasure(world.database, 1)["settled_at"] == "2026-03-01T12:00:00Z"  # type: ignore[index]


def test_what_was_given_up_under_a_clock_that_ran_ahead_is_not_taken_up_by_that(world: World) -> None:
    world.send("f", stream="mei-1")
    world.sandbox.fail_file("f", "AccessDenied", "no")
    world.clock.move(days=365)
    erase(world, 1)
    world.sweep()
    world.clock.move(days=-365)
    settle_erasures(world.database, world.clock)
    assert world.state("f") == "failed"


def test_files_that_arrive_later_are_not_part_of_it(world: World) -> None:
    world.keep("forever")
    world.send("first", stream="mei-1")
    erase(world, 1)
    world.send("second", stream="mei-1")
    world.sweep()
    assert world.states() == {"deleted": ["first"], "kept": ["second"]}


def test_a_file_announced_again_stays_erased(world: World) -> None:
    world.keep("forever")
    world.send("f", stream="mei-1", age=DAY)
    erase(world, 1)
    world.send("f", stream="mei-1", age=timedelta(hours=1))
    file = world.files()["f"]
    assert (file["state"], file["approval"]) == ("scheduled", "erasure 1")
    world.keep("2d")
    assert world.state("f") == "scheduled"


def test_another_number_of_files_is_refused_with_the_new_one(world: World) -> None:
    world.add(1, stream_id="mei-1")
    told = preview(world)
    world.add(1, prefix="later", stream_id="mei-1")
    with pytest.raises(NotAsExpected, match="now: 2, not 1") as refused:
        erase(world, told["files"])
    assert refused.value.preview["files"] == 2
    assert list(list_erasures(world.database)) == []
    assert {file["approval"] for file in world.files().values()} == {None}


def test_as_many_files_but_others_are_refused(world: World) -> None:
    world.keep("forever")
    world.send("a", stream="mei-1")
    world.send("b", stream="mei-1")
    told = preview(world)
    number = hold(world, "a")
    world.send("c", stream="mei-2")
    with pytest.raises(NotAsExpected, match="as many, but not the same") as refused:
        erase(world, told["files"], digest=told["digest"])
    assert (refused.value.preview["files"], list(list_erasures(world.database))) == (2, [])
    assert refused.value.preview["digest"] == preview(world)["digest"] != told["digest"]
    release_hold(world.database, number, TESTER, world.clock())
    told = preview(world)
    assert erase(world, 3, digest=told["digest"])["files"] == 3


def test_the_digest_stands_for_what_waits_as_well(world: World) -> None:
    """What is held goes later: another held file is another erasure."""
    world.send("a", stream="mei-1")
    world.send("b", stream="mei-1")
    hold(world, "a")
    told = preview(world)
    assert preview(world) == told
    world.send("c", stream="mei-1")
    hold(world, "c")
    assert preview(world)["files"] == told["files"]
    assert preview(world)["digest"] != told["digest"]


def test_a_kill_between_the_request_and_its_files_is_made_up_for(world: World) -> None:
    world.keep("forever")
    world.add(3, stream_id="mei-1")
    world.sweep()
    ordered = erase(world, 3, patience_s=-1)
    assert (ordered["settled_at"], ordered["by_state"]) == (None, {"kept": 3})
    world.add(1, prefix="later", stream_id="mei-1")
    assert settle_erasures(world.database, world.clock) == 3
    assert settle_erasures(world.database, world.clock) == 0
    world.sweep()
    assert world.stored() == {"later-00000"}


def test_a_file_may_be_erased_twice_and_one_given_up_is_taken_up_again(world: World) -> None:
    world.add(1, stream_id="mei-1")
    world.sandbox.fail_file("file-00000", "AccessDenied", "no")
    erase(world, 1)
    world.sweep()
    assert world.state("file-00000") == "failed"
    world.sandbox.heal("file-00000")
    erase(world, 1)
    file = world.files()["file-00000"]
    assert (file["approval"], file["attempts"]) == ("erasure 2", 0)
    world.sweep()
    assert world.state("file-00000") == "deleted"
    with pytest.raises(NotPossible, match="nothing to delete"):
        erase(world, 0)


def test_an_erased_file_that_was_given_up_can_be_retried(world: World) -> None:
    world.add(1, stream_id="mei-1")
    world.sandbox.fail_file("file-00000", "AccessDenied", "no")
    erase(world, 1)
    world.sweep()
    world.sandbox.heal("file-00000")
    retry_files(world.database, [1], TESTER, world.clock())
    world.sweep()
    assert world.state("file-00000") == "deleted"


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("reason", ErasureRequest((1,), None, None, " ")),
        ("files", ErasureRequest((), None, None, "why")),
        ("files", ErasureRequest((1,), APP, "*", "why")),
        ("files", ErasureRequest((1, 404), None, None, "why")),
        ("files", ErasureRequest(tuple(range(MOST_FILES + 1)), None, None, "why")),
        ("app_id", ErasureRequest((1,), OTHER_APP, None, "why")),
        ("app_id", ErasureRequest((), None, "*", "why")),
        ("app_id", ErasureRequest((), "404", "*", "why")),
        ("stream_pattern", ErasureRequest((), APP, "", "why")),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused_whole(world: World, field: str, request_: ErasureRequest) -> None:
    world.add(1)
    with pytest.raises(BadOrder) as refused:
        preview_erasure(world.database, request_, world.clock(), known_apps=[APP])
    assert refused.value.field == field
    with pytest.raises(BadOrder) as refused:
        request_erasure(world.database, request_, 1, TESTER, world.clock(), known_apps=[APP])
    assert refused.value.field == field
    assert list(list_erasures(world.database)) == []


def test_a_stream_that_is_not_known_fits_only_a_pattern_that_fits_nothing_too(world: World) -> None:
    """A hold takes files without a stream in, to be safe; an erasure leaves them out for the same reason."""
    world.add(1, stream_id="")
    assert preview(world)["files"] == 0
    assert preview(world, ErasureRequest((), APP, "*", "all of it"))["files"] == 1
