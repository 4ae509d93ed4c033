from __future__ import annotations

import re
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from service.callbacks.spool import Spool
from service.callbacks.store import NewCallback
from service.database import Database
from service.health.metrics import metric_names
from service.leader.store import set_progress
from service.model import FileState, Vendor, Verdict
from tests.health.scene import APP, NOW, Page, Scene
from tests.processes import wait_until

if TYPE_CHECKING:
    from pathlib import Path

HOUR = timedelta(hours=1)


@pytest.fixture
def scene(database: Database) -> Scene:
    scene = Scene(database)
    scene.make_well()
    return scene


@pytest.fixture
def page(database: Database) -> Page:
    return Page(Scene(database))


def test_figures_are_those_of_the_database(scene: Scene, page: Page) -> None:
    scene.add_due(3, since=HOUR)
    scene.add_due(1, since=HOUR, app_id="42", call_after=NOW + HOUR, wait_reason="cooling_off")
    scene.add_files(2, state=FileState.UNCONFIRMED, due_at=NOW - HOUR)
    scene.add_callbacks(Verdict.FORGED, 2)
    scene.add_callbacks(Verdict.PENDING)
    scene.add_app_state(vendor="Huawei")
    scene.add_app_state(app_id="42", blocked=False, until=NOW + HOUR)
    scene.add_app_state(app_id="43", blocked=False, until=NOW - HOUR)
    scene.add_plan()
    scene.add_order(failure="x")
    scene.add_listing(Vendor.HUAWEI, state="incomplete", lost=4)
    figures = page.figures()
    expected: dict[str, float] = {
        "database_up": 1,
        'files{state="scheduled"}': 4,
        'files{state="failed"}': 0,
        "files_due": 3,
        "files_cooling": 1,
        "files_overdue_unconfirmed": 2,
        "oldest_due_age_seconds": 3600,
        f'breaker_open{{app="{APP}"}}': 1,
        'inbox_callbacks{verdict="forged"}': 2,
        "inbox_unfinished": 1,
        f'gate_blocked{{app="{APP}",vendor="Huawei"}}': 1,
        'gate_paused{app="42",vendor="*"}': 1,
        'runs{state="done"}': 1,
        f'lost_callbacks{{app="{APP}"}}': 4,
        "last_pass_finished_timestamp_seconds": NOW.timestamp(),
        f'last_listing_finished_timestamp_seconds{{app="{APP}",vendor="Huawei"}}': NOW.timestamp(),
        f'listing_incomplete{{app="{APP}",vendor="Huawei"}}': 1,
        f'listing_incomplete{{app="{APP}",vendor="Tencent"}}': 0,
        "rules_revision": 1,
        "orders_failed": 1,
        "leader_renewed_timestamp_seconds": NOW.timestamp(),
    }
    assert {name: figures.get(name) for name in expected} == expected
    assert 'app="43"' not in page.text()


def test_every_metric_is_listed_and_every_listed_metric_is_there(scene: Scene, page: Page) -> None:
    scene.add_plan()
    scene.add_app_state()
    scene.add_app_state(app_id="42", blocked=False, until=NOW + HOUR)
    scene.add_listing(lost=1)
    with scene.database.write() as tx:
        set_progress(tx, refusals={"clock_off_zego": "a test"}, zego_ahead_s=700)
    page.text()  # (what has ended is counted from here on)
    scene.add_ended_call()
    scene.queue_message()
    page.time = 100
    shown = dict(re.findall(r"^# HELP (\S+) (.*)$", page.text(), re.MULTILINE))
    assert shown == metric_names()
    assert all(re.fullmatch(r"zego_retention_[a-z_]+", name) and text.endswith(".") for name, text in shown.items())
    assert list(text_string_to_metric_families(page.text()))


def test_calls_and_outcomes_are_counted_when_they_have_ended(scene: Scene, page: Page) -> None:
    scene.add_ended_call()
    assert "calls_total{" not in page.text(), "what had ended before this process"
    call = scene.add_open_call()
    page.time += 11
    assert "calls_total{" not in page.text()
    scene.add_ended_call(outcomes={"deleted": 2, "rejected": 1}, code="0")
    scene.end_call(call)
    page.time += 11
    figures = page.figures()
    assert figures[f'calls_total{{app="{APP}",code="0"}}'] == 1
    assert figures[f'calls_total{{app="{APP}",code="http_502"}}'] == 1
    assert figures[f'outcomes_total{{app="{APP}",code="none",outcome="deleted"}}'] == 2
    assert figures[f'outcomes_total{{app="{APP}",code="none",outcome="unknown"}}'] == 1
    page.time += 11
    assert page.figures() == figures


def test_commits_the_worker_and_missed_sweeps_are_seen(scene: Scene, page: Page) -> None:
    page.metrics.observe_commit(0.02)
    scene.queue_message()
    figures = page.figures()
    assert figures["commit_duration_seconds_count"] == 1
    assert (figures["worker_leads"], figures["sweep_missed"]) == (1, 0)
    assert figures[f'last_callback_timestamp_seconds{{app="{APP}"}}'] == (NOW - timedelta(days=20)).timestamp()
    assert (figures['notify_failing{channel="slack"}'], figures['notify_failing{channel="mailto"}']) == (1, 0)
    scene.variables["SWEEP_EVERY"] = "1m"
    other = Page(scene).figures()
    assert (other["worker_leads"], other["sweep_missed"]) == (1, 1)
    scene.lead(age=HOUR)
    page.time += 11
    assert page.figures()["worker_leads"] == 0


def test_callbacks_are_counted_by_answer(page: Page) -> None:
    for answer in ("stored", "stored", "unavailable"):
        page.metrics.count_callback(answer, 0.03)
    figures = page.figures()
    assert figures['callbacks_total{answer="stored"}'] == 2
    assert figures['callbacks_total{answer="refused"}'] == 0
    assert figures["callback_duration_seconds_count"] == 3
    assert figures['callback_duration_seconds_bucket{le="0.025"}'] == 0


def test_an_empty_database_has_figures_too(page: Page) -> None:
    figures = page.figures()
    assert (figures["rules_revision"], figures["files_due"], figures["oldest_due_age_seconds"]) == (0, 0, 0)


def test_a_database_that_fails_does_not_break_the_scrape(scene: Scene, page: Page) -> None:
    with scene.database.write() as tx:
        tx.execute(text("ALTER TABLE app_states RENAME TO elsewhere"))
    assert page.figures()["database_up"] == 0
    assert "files_due" not in page.text()
    with scene.database.write() as tx:
        tx.execute(text("ALTER TABLE elsewhere RENAME TO app_states"))
    page.time = 1.1
    assert page.figures()["database_up"] == 1


def test_the_depth_of_the_spool_is_shown_without_a_database_too(sqlite_url: str, tmp_path: Path) -> None:
    database = Database(sqlite_url)
    page = Page(Scene(database, variables={"SPOOL_DIR": str(tmp_path / "callbacks")}))
    assert page.figures()["spool_callbacks"] == 0
    spool = Spool(database, tmp_path / "callbacks", 10_000)
    new = NewCallback("a" * 40, APP, "content", b"{}", "application/json", "record", NOW)
    spool.append([new, new._replace(signature="b" * 40)], "a test")
    (tmp_path / "zego-retention.db").rename(tmp_path / "away")
    page.time = 11.0
    figures = page.figures()
    assert (figures["database_up"], figures["spool_callbacks"]) == (0, 2)
    spool.close()
    database.dispose()


def test_scrapes_ask_the_database_at_most_every_ten_seconds(scene: Scene, page: Page) -> None:
    for moment, due in ((0.0, 0), (9.9, 0), (10.1, 1)):
        page.time = moment
        assert page.figures()["files_due"] == due
        if moment == 0.0:
            scene.add_due()


def test_a_scrape_does_not_wait_until_a_large_inventory_is_counted(postgres_url: str) -> None:
    database = Database(postgres_url)
    scene = Scene(database)
    scene.make_well()
    page = Page(scene, max_wait_s=0.1)
    assert page.figures()["files_due"] == 0
    scene.add_due()
    page.time = 11
    with database.write() as tx:
        tx.execute(text("LOCK TABLE media_files"))  # as if counting took long
        began = time.monotonic()
        assert [page.figures()["files_due"] for _ in range(3)] == [0, 0, 0]
        assert time.monotonic() - began < 3
        assert [each.name for each in threading.enumerate()].count("metrics") == 1
    wait_until(lambda: page.figures()["files_due"] == 1)
    database.dispose()
