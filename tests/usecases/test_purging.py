"""Purging Wangsu's cache along with a deletion: what came of it is told, and never changes what came of the file."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.core.model import Vendor
from service.core.purge import Purge
from service.usecases.calling import App
from service.usecases.doctor import Examined, examine
from service.usecases.explaining import explain_file
from service.usecases.figures import count_figures
from service.usecases.reports import show_run
from service.usecases.run_details import describe_run
from service.zego.client import ZegoClient
from service.zego.sandbox_faults import drop_after
from tests.world import APP, SERVER_SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.world import World

WANGSU = Vendor.WANGSU


@pytest.fixture
def purging(world: World) -> Iterator[World]:
    """A world whose app asks for the cache to be purged."""
    with ZegoClient(APP, SERVER_SECRET, world.sandbox.url, None, clear_cache=True, now=world.clock) as client:
        use(world, client)
        world.keep("1d")
        yield world


def use(world: World, client: ZegoClient) -> None:
    world.service = replace(world.service, sweeper=replace(world.service.sweeper, apps={APP: App(client, client)}))


def purge_of(world: World, file_id: str) -> tuple[str, str | None]:
    last = world.files()[file_id]["last_outcome"]
    return last["outcome"], last["cache_purge"]


def attempts_of(world: World, file_id: str) -> list[tuple[str, str | None]]:
    found = explain_file(world.database, world.files()[file_id]["id"], world.clock())
    return [(attempt["outcome"], attempt["cache_purge"]) for attempt in found.attempts]


def doctor(world: World) -> list[tuple[str, str]]:
    subject = Examined(
        world.database, [], None, world.service.settings.sweep_slots, timedelta(minutes=2), None, world.clock
    )
    return [(check.status.value, check.text) for check in examine(subject) if check.name == "cache"]


@pytest.mark.parametrize(
    ("code", "purge", "failed"), [(1, Purge.DONE, 0), (2, Purge.FAILED, 2), (None, Purge.UNKNOWN, 0)]
)
def test_what_came_of_the_purge_is_told_everywhere(purging: World, code: int | None, purge: Purge, failed: int) -> None:
    world = purging
    world.sandbox.purge_code = code
    world.add(2, vendor=WANGSU)
    run = world.sweep()
    assert [purge_of(world, f"file-0000{n}") for n in (0, 1)] == [("deleted", purge)] * 2
    assert attempts_of(world, "file-00000") == [("deleted", purge)]
    details = describe_run(world.database, run)
    assert details is not None
    assert [call["cache_purge"] for call in details.calls] == [purge]
    assert {attempt["cache_purge"] for attempt in details.attempts} == {purge}
    shown: Any = show_run(world.database, run)
    assert (shown["outcomes"]["deleted"], shown["purges_failed"]) == (2, failed)
    assert count_figures(world.database, world.clock()).purges_failed == failed
    [(status, text)] = doctor(world)
    assert status == ("ok" if purge is Purge.DONE else "warning")
    assert purge is Purge.DONE or "of 2 files deleted in the last 30 days: 1, 2" in text
    world.clock.move(days=31)
    assert [status for status, _ in doctor(world)] == ["ok"], "nobody is told for ever"
    assert count_figures(world.database, world.clock()).purges_failed == failed


def test_only_wangsu_is_asked_and_only_by_apps_that_want_it(purging: World) -> None:
    world = purging
    world.sandbox.purge_code = 2
    world.add(1, vendor=Vendor.HUAWEI, prefix="huawei")
    world.sweep()
    use(world, world.service.clients[APP])
    world.add(1, vendor=WANGSU, prefix="wangsu")
    run = world.sweep()
    assert [purge_of(world, name) for name in ("huawei-00000", "wangsu-00000")] == [("deleted", None)] * 2
    details = describe_run(world.database, run)
    assert details is not None
    assert [call["cache_purge"] for call in details.calls] == [None]
    assert attempts_of(world, "wangsu-00000") == [("deleted", None)]
    assert doctor(world) == [("ok", "no purge of Wangsu's cache failed")]


def test_a_file_that_was_not_deleted_has_no_purge(purging: World) -> None:
    world = purging
    world.sandbox.purge_code = 2
    world.add(3, vendor=WANGSU)
    world.sandbox.remove_file(APP, WANGSU, "file-00000")
    world.sandbox.fail_file("file-00001", "Busy", times=1)
    run = world.sweep()
    assert purge_of(world, "file-00000") == ("gone", None)
    assert purge_of(world, "file-00001") == ("retryable", None)
    assert purge_of(world, "file-00002") == ("deleted", "failed")
    assert attempts_of(world, "file-00000") == [("gone", None)]
    shown: Any = show_run(world.database, run)
    assert shown["purges_failed"] == 1
    world.sandbox.purge_code = 1
    world.clock.move(hours=1)
    world.sweep()
    assert purge_of(world, "file-00001") == ("deleted", "done")
    assert attempts_of(world, "file-00001") == [("retryable", None), ("deleted", "done")]
    assert count_figures(world.database, world.clock()).purges_failed == 1


def test_of_a_deletion_whose_answer_was_never_seen_nobody_knows_about_the_purge(purging: World) -> None:
    world = purging
    world.add(1, vendor=WANGSU)
    world.sandbox.next(drop_after())
    world.sweep()
    assert purge_of(world, "file-00000") == ("unknown", None)
    world.sandbox.purge_code = 2
    world.add(1, vendor=WANGSU, prefix="other")
    world.clock.move(hours=1)
    run = world.sweep()
    assert purge_of(world, "file-00000") == ("deleted", "unknown")
    assert purge_of(world, "other-00000") == ("deleted", "failed")
    assert attempts_of(world, "file-00000") == [("unknown", None), ("deleted", "unknown")]
    shown: Any = show_run(world.database, run)
    assert (shown["outcomes"]["deleted"], shown["purges_failed"]) == (2, 1)
    assert [text for _, text in doctor(world)] == [
        "purging Wangsu's cache failed of 1 file deleted in the last 30 days: 2",
        "nobody knows whether Wangsu's cache was purged of 1 file deleted in the last 30 days: 1",
    ]
