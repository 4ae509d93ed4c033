"""The Grafana dashboard and the alerting rules: they parse, name only metrics that exist, and each alert fires."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import pytest
import yaml

from service.cli.commands import cli
from service.leader.store import set_progress
from tests.health.scene import APP, NOW, Page, Scene
from tests.test_docs import list_commands

if TYPE_CHECKING:
    from service.database import Database

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboard.json"
HOW_TO_GET_PROMTOOL = "promtool is missing: `make test-long` brings it, or install Debian's package prometheus"


def rules() -> dict[str, Any]:
    [group] = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return found


def test_they_name_only_metrics_of_a_running_service(database: Database) -> None:
    scene = Scene(database)
    scene.make_well()
    scene.add_plan()
    scene.add_app_state()
    scene.add_app_state(app_id="42", blocked=False, until=NOW.replace(year=2999))
    scene.add_listing(lost=1)
    scene.queue_message()
    refused = {"refusals": {"clock_off_zego": "a test"}, "zego_ahead_s": 700}
    database.transact(lambda tx: set_progress(tx, **refused))
    page = Page(scene)
    page.text()  # (calls are counted from here on)
    scene.add_ended_call()
    page.time += 100
    exposed = {re.split("[{ ]", line)[0] for line in page.text().splitlines()}
    queries = [rule["expr"] for rule in rules().values()]
    queries += [target["expr"] for panel in panels() for target in panel.get("targets", ())]
    named = {name for query in queries for name in re.findall(r"zego_retention_\w+", query)}
    assert len(named) > 20
    assert named <= exposed


def test_each_alert_says_what_happened_and_what_to_do_with_commands_that_exist() -> None:
    commands = list_commands(cli)
    for name, rule in rules().items():
        assert re.fullmatch(r"ZegoRetention[A-Z]\w+", name)
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "action"}
        for command in re.findall(r"`(?:zego-retention )?([^`]+)`", rule["annotations"]["action"]):
            words = command.partition(" --")[0]
            assert isinstance(commands.get(words), click.Command), f"{name}: {command}"


def test_the_documentation_lists_the_alerts() -> None:
    text = (DEPLOY.parent / "docs" / "operations.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(ZegoRetention\w+)` \|", text, re.MULTILINE)) == set(rules())


def test_the_dashboard_is_whole_and_asks_the_data_source_that_is_chosen() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert [each["name"] for each in dashboard["templating"]["list"]] == ["datasource", "job"]
    taken = set[tuple[int, int]]()
    assert len({panel["id"] for panel in panels()}) == len(panels())
    for panel in panels():
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"].endswith(".")
            assert panel["datasource"]["uid"] == "${datasource}"
            assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


class Course(NamedTuple):
    """How a series goes (as promtool writes it, a value a minute): well, then not, then well; when to look."""

    series: str
    values: str
    fires_at: str = "40m"
    well_at: str = "100m"


_BAD = "0x9 1x39 0x60"
_STORM = "0x9 0+60x39 2340x60"
COURSES = {
    "ZegoRetentionNoMetrics": Course("database_up", "1x9 _x39 1x60"),
    "ZegoRetentionCallbacksNotStored": Course('callbacks_total{answer="unavailable"}', _STORM),
    "ZegoRetentionDatabaseAway": Course("database_up", "1x9 0x39 1x60"),
    "ZegoRetentionSpoolInUse": Course("spool_callbacks", "0x9 5x39 0x60"),
    "ZegoRetentionNoLeader": Course("worker_leads", "1x9 0x39 1x60"),
    "ZegoRetentionSweepMissed": Course("sweep_missed", _BAD),
    "ZegoRetentionDeletionRefused": Course('deletion_refused{because="clock"}', "_x9 1x39 _x60"),
    "ZegoRetentionBacklog": Course("oldest_due_age_seconds", "0x9 90000x39 0x60"),
    "ZegoRetentionCallbacksNotUnderstood": Course("inbox_unfinished", _BAD),
    "ZegoRetentionAppBlocked": Course(f'gate_blocked{{app="{APP}",vendor="*"}}', "_x9 1x39 _x60"),
    "ZegoRetentionBreakerOpen": Course(f'breaker_open{{app="{APP}"}}', "_x9 1x39 _x60"),
    "ZegoRetentionFilesFailed": Course('files{state="failed"}', _BAD),
    "ZegoRetentionFilesUnconfirmed": Course("files_overdue_unconfirmed", _BAD),
    "ZegoRetentionCallbacksRefused": Course('callbacks_total{answer="refused"}', _STORM),
    "ZegoRetentionCallbacksAtWrongPath": Course('callbacks_total{answer="wrong_path"}', _STORM),
    "ZegoRetentionCallbacksNotAllowed": Course('callbacks_total{answer="not_allowed"}', _STORM),
    "ZegoRetentionCallbacksLost": Course(f'lost_callbacks{{app="{APP}"}}', "0x120 3x2000", "150m", "30h"),
    "ZegoRetentionListingOverdue": Course(
        f'last_listing_finished_timestamp_seconds{{app="{APP}",vendor="Ws"}}', "0x3000 180000x200", "49h", "51h"
    ),
    "ZegoRetentionOrderFailed": Course("orders_failed", _BAD),
    "ZegoRetentionNotificationsFail": Course('notify_failing{channel="slack"}', _BAD),
}


def test_each_alert_has_a_course_that_lets_it_fire() -> None:
    assert set(COURSES) == set(rules())


@pytest.mark.long
def test_each_alert_fires_and_recovers(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    assert promtool, HOW_TO_GET_PROMTOOL
    tests = []
    for name, course in COURSES.items():
        firing = f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)'
        looks = (("8m", 0), (course.fires_at, 1), (course.well_at, 0))
        tests.append(
            {
                "name": name,
                "interval": "1m",
                "input_series": [{"series": f"zego_retention_{course.series}", "values": course.values}],
                "promql_expr_test": [
                    {"expr": firing, "eval_time": at, "exp_samples": [{"labels": "{}", "value": value}]}
                    for at, value in looks
                ],
            }
        )
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
