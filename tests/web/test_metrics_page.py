from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from service.core.breaker import Trip
from service.core.file_sets import FileSet
from service.core.model import FileState, Vendor
from service.db import gates, plans, runs
from service.db.models import MediaFileRow, RunState, Trigger
from service.web.metrics import Metrics, metric_names
from tests.world import APP

if TYPE_CHECKING:
    from tests.web.conftest import Web


def test_every_metric_is_listed_and_every_listed_metric_is_there(web: Web) -> None:
    with web.database.write() as session:
        run = runs.start_run(session, Trigger.SCHEDULE, web.clock(), "worker", web.clock())
        assert run is not None
        runs.finish_run(session, run.id, RunState.DONE, web.clock())
    page = web.client.get("/metrics")
    assert page.content_type.startswith("text/plain")
    shown = dict(re.findall(r"^# HELP (\S+) (.*)$", page.text, re.MULTILINE))
    assert shown == metric_names()
    assert list(text_string_to_metric_families(page.text))


def test_names_follow_prometheus() -> None:
    for name, help_text in metric_names().items():
        assert re.fullmatch(r"zego_retention_[a-z_]+", name)
        assert help_text.endswith(".")


def test_figures_are_those_of_the_database(web: Web) -> None:
    for number in range(3):
        web.post(web.body(f"file-{number}"))
    web.post(web.body("stale", now=web.clock() - timedelta(hours=1)))
    web.post(web.body("forged", secret="wrong"))
    web.clock.move(days=31)
    with web.database.write() as session:
        gates.block(session, APP, Vendor.HUAWEI, web.clock(), "4", "")
        gates.pause(session, "42", web.clock(), web.clock() + timedelta(minutes=1), "6", "")
        gates.pause(session, "43", web.clock(), web.clock() - timedelta(minutes=1), "6", "")
    assert web.metric('zego_retention_files{state="scheduled"}') == 3
    assert web.metric('zego_retention_files{state="failed"}') == 0
    assert web.metric("zego_retention_files_due") == 3
    assert web.metric("zego_retention_files_overdue_unconfirmed") == 1
    assert web.metric("zego_retention_oldest_due_age_seconds") == timedelta(days=1).total_seconds()
    assert web.metric('zego_retention_inbox_callbacks{verdict="accepted"}') == 3
    assert web.metric('zego_retention_inbox_callbacks{verdict="forged"}') == 1
    assert web.metric("zego_retention_inbox_unfinished") == 0
    assert web.metric(f'zego_retention_gate_blocked{{app="{APP}",vendor="Huawei"}}') == 1
    assert web.metric('zego_retention_gate_paused{app="42",vendor="*"}') == 1
    assert '"43"' not in web.client.get("/metrics").text
    assert web.metric("zego_retention_rules_revision") == 1
    assert web.metric("zego_retention_callback_duration_seconds_count") == 5


def test_what_waits_is_not_due_and_what_only_observes_is_told(web: Web) -> None:
    for number in range(3):
        web.post(web.body(f"file-{number}"))
    web.clock.move(days=31)
    now = web.clock()
    cooling, observed = 1, 2
    with web.database.write() as session:
        waiting = session.get_one(MediaFileRow, cooling)
        waiting.due_at, waiting.cooling_until = now - timedelta(days=9), now + timedelta(hours=1)
        kept = session.get_one(MediaFileRow, observed)
        kept.state, kept.due_at, kept.observed_due_at = FileState.KEPT, None, now
        run = runs.start_run(session, Trigger.SCHEDULE, None, "worker", now)
        assert run is not None
        assert plans.add_plan(session, run.id, APP, FileSet([3]), Trip(1, 3, "a test"), now)
    assert web.metric("zego_retention_files_due") == 1
    assert web.metric("zego_retention_files_cooling") == 1
    assert web.metric("zego_retention_files_observed_due") == 1
    assert web.metric("zego_retention_oldest_due_age_seconds") == timedelta(days=1).total_seconds()
    assert web.metric(f'zego_retention_breaker_open{{app="{APP}"}}') == 1


def test_a_database_that_fails_does_not_break_the_scrape(web: Web) -> None:
    with web.database.write() as session:
        session.execute(text("ALTER TABLE gates RENAME TO elsewhere"))
    assert web.metric("zego_retention_database_up") == 0
    assert "zego_retention_files{" not in web.client.get("/metrics").text


def test_scrapes_ask_the_database_at_most_every_ten_seconds(web: Web) -> None:
    time = [0.0]
    metrics = Metrics(web.database, web.clock, lambda: time[0])

    def stored() -> float | None:
        return metrics.registry.get_sample_value("zego_retention_files", {"state": "scheduled"})

    assert stored() == 0
    web.post(web.body())
    time[0] = 9.9
    assert stored() == 0
    time[0] = 10.1
    assert stored() == 1
