from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from service.db.engine import Database
from service.db.migrate import upgrade_database
from service.settings import load_settings
from service.usecases.auditing import list_entries, verify_chain
from service.web.app import create_app
from service.web.health import Readiness
from service.wiring import build_service
from tests.processes import running, wait_until
from tests.test_setting_report import SECRETS
from tests.world import APP, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOWHERE = "http://127.0.0.1:9/"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    upgrade_database(database)
    yield database
    database.dispose()


def starts(database: Database) -> list[dict[str, Any]]:
    return list(list_entries(database, action="start_service"))


def settings_of(database_url: str, **settings: str) -> dict[str, str]:
    secrets = {name: value for name, value in SECRETS.items() if name != "DATABASE_URL"}
    return environment(database_url, NOWHERE, **secrets | settings)


def start_web(database_url: str, **settings: str) -> None:
    app = create_app(load_settings(settings_of(database_url, **settings)))
    app.extensions["zego-retention"].close()


def test_the_web_sides_start_is_in_the_audit_when_its_settings_changed(database_url: str, database: Database) -> None:
    for days in ("30d", "30d", "20d", "20d"):
        start_web(database_url, COOLING_OFF=days)
    told = [(entry["subject"], entry["detail"]["cooling_off"]) for entry in starts(database)]
    assert told == [("web", "20d"), ("web", "30d")]


def test_no_secret_is_in_the_audit_of_a_start(database_url: str, database: Database) -> None:
    start_web(database_url)
    [entry] = starts(database)
    told = json.dumps(entry)
    parts = [part for value in SECRETS.values() for part in value.split(",")]
    assert [part for part in [*parts, database_url] if part in told] == []
    assert entry["detail"]["admin_token"] == "set"
    assert entry["detail"]["apps"][0]["app_id"] == APP


def test_a_start_that_cannot_be_written_down_takes_no_callback_url_away(database_url: str, database: Database) -> None:
    with database.write() as session:
        session.execute(text("ALTER TABLE audit_entries RENAME TO elsewhere"))
    service = build_service(load_settings(settings_of(database_url)))
    try:
        readiness = Readiness(service)
        readiness.ensure_prepared()
        assert readiness.find_fault() is None
    finally:
        service.close()


def test_both_sides_tell_of_their_start_once_and_the_worker_chains(
    database_url: str, database: Database, tmp_path: Path, free_port: int
) -> None:
    settings = settings_of(database_url, LISTEN=f"127.0.0.1:{free_port}", LOG_FORMAT="json")
    for chained in (True, False):
        with running("serve", settings, tmp_path) as serve:
            serve.wait_for("is running")
            wait_until(lambda: {entry["subject"] for entry in starts(database)} == {"web", "worker"})
            if chained:
                serve.wait_for("audit_chained")
            serve.wait_for("worker_started")
            assert serve.end() == 0
            assert not [part for value in SECRETS.values() for part in value.split(",") if part in serve.log()]
    assert len(starts(database)) == 2
    assert verify_chain(database).fault is None
    assert verify_chain(database).head.position > 0
