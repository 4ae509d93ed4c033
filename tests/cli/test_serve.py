from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.database import Database
from service.health.check import Status
from service.health.checks import check_worker
from service.model import Vendor
from service.sandbox import Sandbox
from service.serve import describe_start
from service.settings import load_settings
from tests.processes import MAX_WAIT_S, Running, answers, ask, running, signed_callback, wait_until
from tests.world import APP, SERVER_SECRET, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def variables(sqlite_url: str, free_port: int) -> dict[str, str]:
    address = f"127.0.0.1:{free_port}"
    return environment(sqlite_url, "http://127.0.0.1:9/", LISTEN=address, KEEP="30d", LOG_FORMAT="json")


@pytest.fixture
def serve(variables: dict[str, str], tmp_path: Path) -> Iterator[Running]:
    with running("serve", variables, tmp_path) as serve:
        serve.wait_for("serve_running")
        yield serve


def is_worker_well(variables: dict[str, str]) -> bool:
    database = Database(variables["ZEGO_RETENTION_DATABASE_URL"])
    try:
        with database.read() as tx:
            [(status, *_)] = check_worker(load_settings(variables), tx, datetime.now(UTC))
            return status is Status.OK
    finally:
        database.dispose()


def events(serve: Running, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in serve.log().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


def worker_pid(serve: Running) -> int:
    return int(events(serve, "worker_started")[-1]["worker"].rpartition("/")[2])


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_both_sides_run_and_end_together(serve: Running, variables: dict[str, str], free_port: int) -> None:
    body = signed_callback("a")
    assert ask(free_port, "POST", "/zego/callback", body) == (200, b"1")
    assert ask(free_port, "GET", "/readyz")[0] == 200
    wait_until(lambda: is_worker_well(variables))
    worker = worker_pid(serve)
    assert serve.end() == 0
    assert not answers(free_port)
    assert not is_alive(worker)
    assert not is_worker_well(variables)
    assert events(serve, "web_stopped")
    assert events(serve, "worker_stopped")
    assert "Traceback" not in serve.log()
    assert serve.errors() == [], "nothing but JSON"
    [running] = events(serve, "serve_running")
    assert (running["listen"], running["apps"]) == (f"127.0.0.1:{free_port}", [APP])
    assert (running["sweeps"], running["cooling_off"]) == ("every 15m", "1d")
    assert running["database"] == variables["ZEGO_RETENTION_DATABASE_URL"]


def test_a_shell_with_other_settings_goes_by_those_of_the_worker(
    serve: Running, variables: dict[str, str], free_port: int, tmp_path: Path
) -> None:
    assert ask(free_port, "POST", "/zego/callback", signed_callback("a")) == (200, b"1")
    wait_until(lambda: is_worker_well(variables))
    other = variables | {"ZEGO_RETENTION_SWEEP_EVERY": "off", "ZEGO_RETENTION_COOLING_OFF": "0s"}
    with running("files", other, tmp_path, "explain", "1") as explain:
        assert explain.process.wait(MAX_WAIT_S) == 0
    assert "none runs by itself" not in explain.log()
    with running("doctor", other, tmp_path, "--json") as doctor:
        doctor.process.wait(MAX_WAIT_S)
    checks = [json.loads(line) for line in doctor.log().splitlines()]
    worker, warning = (check for check in checks if check["check"] == "worker")
    assert "sweeps are off" not in worker["text"]
    assert warning["status"] == "warning"
    assert "COOLING_OFF 1d / 0s, SWEEP_EVERY 15m / off" in warning["text"]
    (tmp_path / "rules.toml").write_text('[[rules]]\nname = "short"\nkeep = "1s"\n')
    with running("rules", other, tmp_path, "preview", str(tmp_path / "rules.toml"), "--json") as preview:
        preview.process.wait(MAX_WAIT_S)
    assert '"cooling_off": "1d"' in preview.log()
    assert "ZEGO_RETENTION_COOLING_OFF=1d of the worker counts" in preview.log()
    assert serve.process.poll() is None


def test_for_people_the_text_comes_before_the_log(variables: dict[str, str], tmp_path: Path) -> None:
    with running("serve", variables | {"ZEGO_RETENTION_LOG_FORMAT": "console"}, tmp_path) as serve:
        serve.wait_for("serve_running")
        assert serve.end() == 0
        lines = serve.log().splitlines()
    text = [number for number, line in enumerate(lines) if "[info" not in line]
    assert "Ctrl-C stops it" in lines[text[0]]
    assert text == list(range(text[0], text[0] + len(text))), "in one piece"
    assert not any("_started" in line for line in lines[: text[0]])


def test_a_dead_worker_takes_nothing_away_and_is_started_again(serve: Running, free_port: int) -> None:
    serve.wait_for("worker_started")
    time.sleep(3)  # what ends earlier stops everything: something is wrong that waiting does not cure
    first = worker_pid(serve)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: len(events(serve, "worker_started")) == 2)
    assert ask(free_port, "GET", "/readyz")[0] == 200
    assert worker_pid(serve) != first
    [ended] = events(serve, "side_ended")
    assert (ended["side"], ended["code"]) == ("worker", -signal.SIGKILL)
    assert serve.end(signal.SIGINT) == 0


def test_a_kill_of_the_parent_leaves_no_orphans(serve: Running, free_port: int) -> None:
    serve.wait_for("worker_started")
    worker = worker_pid(serve)
    serve.end(signal.SIGKILL)
    wait_until(lambda: not answers(free_port) and not is_alive(worker))


def test_a_taken_port_is_said_at_once(variables: dict[str, str], free_port: int, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", free_port)), running("serve", variables, tmp_path) as serve:
        assert serve.process.wait(MAX_WAIT_S) == 1
        [line] = serve.errors()
        assert f"127.0.0.1:{free_port}" in line


def test_pending_migrations_are_said_at_once(
    empty_postgres_url: str, variables: dict[str, str], tmp_path: Path
) -> None:
    with running("serve", variables | {"ZEGO_RETENTION_DATABASE_URL": empty_postgres_url}, tmp_path) as serve:
        assert serve.process.wait(MAX_WAIT_S) == 1
        assert "zego-retention migrate" in serve.log().splitlines()[-1]


def test_a_new_database_is_created_and_named(variables: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.db"
    with running("serve", variables | {"ZEGO_RETENTION_DATABASE_URL": f"sqlite:///{path}"}, tmp_path) as serve:
        serve.wait_for("serve_running")
        assert str(path) in serve.log()
        assert "if you expected data there, stop and correct ZEGO_RETENTION_DATABASE_URL" in serve.log()
        assert path.exists()
        assert serve.end() == 0


def test_after_a_lost_database_what_was_there_before_waits_and_is_reported(
    variables: dict[str, str], tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    with Sandbox({APP: SERVER_SECRET}, lambda: now) as sandbox:
        for file_id in ("a", "b"):
            sandbox.add_file(APP, Vendor.TENCENT, file_id, created_at=now - timedelta(days=90))
        path = tmp_path / "lost" / "x.db"
        new = {"DATABASE_URL": f"sqlite:///{path}", "API_URL": sandbox.url, "COOLING_OFF": "1s", "SWEEP_EVERY": "1s"}
        new["RECONCILE_EVERY"] = "1h"
        variables |= {f"ZEGO_RETENTION_{name}": value for name, value in new.items()}
        with running("serve", variables, tmp_path) as serve:
            wait_until(lambda: bool(events(serve, "adopted_files_wait")))
            assert "2 files that only a listing shows, kept until" in events(serve, "adopted_files_wait")[-1]["detail"]
            wait_until(lambda: bool(events(serve, "sweep_finished")))
            assert serve.end() == 0
        with running("serve", variables, tmp_path) as serve:
            serve.wait_for("serve_running")
            assert "2 files that only a listing shows, kept until a person has applied rules" in serve.log()
            assert "rules apply --keep" in serve.log()
            assert serve.end() == 0
        assert not [call for call in sandbox.calls if call.action == "DeleteMedia"]


def test_what_it_says_at_the_start(sqlite_url: str) -> None:
    plain = environment(sqlite_url, "http://127.0.0.1:9/", LISTEN="[::1]:8080")
    said = describe_start(load_settings(plain), "none")
    assert "http://[::1]:8080" in said
    assert "ZEGO_RETENTION_PUBLIC_URL" in said
    assert APP in said
    assert "SWEEP_EVERY" not in said
    assert "listening" not in said, "nobody does yet"
    assert re.search(r"^  sweeps +every 15m\n  cooling-off +1d\n  database +sqlite:///", said, re.MULTILINE)
    cron = {"SWEEP_CRON": "30 3 * * *", "TIMEZONE": "Asia/Shanghai", "COOLING_OFF": "0s"}
    cron["DATABASE_URL"] = "postgresql://ann:hush@db.example.com/retention"
    other = describe_start(load_settings(plain | {f"ZEGO_RETENTION_{name}": cron[name] for name in cron}), "none")
    assert "sweeps        30 3 * * * Asia/Shanghai\n  cooling-off   0s\n" in other
    assert "database      postgresql://db.example.com/retention" in other
    assert "hush" not in other
    public = load_settings(plain | {"ZEGO_RETENTION_PUBLIC_URL": "https://example.com/"})
    assert re.search(r"^  callback URL +https://example\.com/zego/callback$", describe_start(public, ""), re.MULTILINE)
    nobody = load_settings({"ZEGO_RETENTION_DATABASE_URL": sqlite_url, "ZEGO_RETENTION_SWEEP_EVERY": "off"})
    assert "refused: set ZEGO_RETENTION_APP_ID, ZEGO_RETENTION_SERVER_SECRET and" in describe_start(nobody, "")
    assert "nothing is deleted by itself" in describe_start(nobody, "")
