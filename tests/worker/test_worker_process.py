"""The worker as a real process, beside a sandbox."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from service.files.store import list_in_range
from service.leader.store import find_leader
from service.model import FileState, Vendor
from service.sandbox import Sandbox
from service.settings import load_settings
from service.wiring import Service
from tests.processes import Running, running, signed_callback, wait_until
from tests.world import APP, SERVER_SECRET, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service.database import Database


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox({APP: SERVER_SECRET}, now) as sandbox:
        yield sandbox


@pytest.fixture
def variables(database_url: str, sandbox: Sandbox) -> dict[str, str]:
    return environment(database_url, sandbox.url, KEEP="1d", SWEEP_EVERY="1s", CLAIM_LEASE="30s")


@pytest.fixture
def service(variables: dict[str, str]) -> Iterator[Service]:
    service = Service(load_settings(variables))
    yield service
    service.close()


def states(service: Service) -> dict[str, FileState]:
    with service.database.read() as tx:
        return {file.file_id: file.state for file in list_in_range(tx, 0, 100)}


def holder(database: Database) -> str:
    with database.read() as tx:
        row = find_leader(tx)
    return "" if row is None else row.holder


def test_it_understands_within_a_second_and_deletes_what_is_due(
    service: Service, sandbox: Sandbox, variables: dict[str, str], tmp_path: Path
) -> None:
    for file_id in ("old", "young"):
        sandbox.add_file(APP, Vendor.TENCENT, file_id)
    with running("worker", variables, tmp_path) as worker:
        worker.wait_for("leading")
        service.inbox.receive(signed_callback("old", timedelta(days=2)), "application/json")
        service.inbox.receive(signed_callback("young", timedelta(hours=1)), "application/json")
        wait_until(lambda: len(states(service)) == 2, 2)
        wait_until(lambda: states(service)["old"] is FileState.DELETED)
        assert worker.end() == 0
    assert states(service)["young"] is FileState.SCHEDULED
    assert set(sandbox.files(APP, Vendor.TENCENT)) == {"young"}
    assert holder(service.database) == ""


def test_a_standby_takes_over_at_once_when_the_leader_is_killed(
    service: Service, variables: dict[str, str], tmp_path: Path
) -> None:
    with running("worker", variables, tmp_path) as first:
        first.wait_for("leading")
        with running("worker", variables, tmp_path) as second:
            second.wait_for("worker_started")
            before = holder(service.database)
            first.end(signal.SIGKILL)
            wait_until(lambda: holder(service.database) not in ("", before), 5)
            _assert_leads(second)


def _assert_leads(worker: Running) -> None:
    worker.wait_for("leading")
    assert worker.end() == 0
