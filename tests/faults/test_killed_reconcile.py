"""A reconcile that is killed again and again: in the end the inventory equals the listing; nothing counts twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import select

from service.core.model import Vendor
from service.db import listings
from service.db.engine import Database
from service.db.migrate import upgrade_database
from service.db.models import MediaFileRow
from service.usecases.listing_reports import listing_as_json
from service.zego.sandbox import Sandbox, StoredFile
from tests.processes import PATIENCE_S
from tests.world import APP, SERVER_SECRET, environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from service.zego.sandbox import Call

KILLS = 20
EACH = 7_000


class Tripwire:
    """Notices when so many more calls have arrived."""

    def __init__(self) -> None:
        self._left = 0
        self.tripped = threading.Event()

    def arm(self, calls: int) -> None:
        self._left, self.tripped = calls, threading.Event()

    def __call__(self, call: Call) -> None:
        if call.stage == "done":
            self._left -= 1
            if self._left <= 0:
                self.tripped.set()


def now() -> datetime:
    return datetime.now(UTC)


def made(vendor: Vendor) -> Iterator[StoredFile]:
    """Files of one year, half of them in one hour."""
    for number in range(EACH):
        age = timedelta(hours=number + 1) if number % 2 else timedelta(days=100, seconds=number // 2)
        yield StoredFile(f"record/{vendor}/{number:06}", now() - age, 1_000 + number, name=f"room-{number}")


def start(variables: Mapping[str, str], folder: Path) -> subprocess.Popen[bytes]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ZEGO_RETENTION_")}
    command = [sys.executable, "-m", "service", "reconcile", "--json"]
    return subprocess.Popen(
        command, env=inherited | dict(variables), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def test_killed_at_random_it_goes_on_and_counts_once(database_url: str, tmp_path: Path) -> None:
    chance, wire = random.Random(5), Tripwire()
    database = Database(database_url)
    upgrade_database(database)
    with Sandbox({APP: SERVER_SECRET}, now, on_request=wire) as sandbox:
        for vendor in Vendor:
            sandbox.add_files(APP, vendor, made(vendor))
        variables = environment(database_url, sandbox.url, CLAIM_LEASE="1s")
        kills = 0
        while kills < KILLS:
            wire.arm(chance.randint(1, 3))
            process = start(variables, tmp_path)
            assert wire.tripped.wait(PATIENCE_S)
            time.sleep(chance.random() * 0.5)
            process.send_signal(signal.SIGKILL)
            kills += process.wait(PATIENCE_S) == -signal.SIGKILL
        last = start(variables, tmp_path)
        assert last.wait(5 * PATIENCE_S) == 0
        stored = {(vendor, file_id) for vendor in Vendor for file_id in sandbox.files(APP, vendor)}
    try:
        with database.read() as session:
            records = [listing_as_json(row) for row in listings.list_listings(session)]
            known = {tuple(row) for row in session.execute(select(MediaFileRow.vendor, MediaFileRow.file_id))}
    finally:
        database.dispose()
    assert known == stored
    for vendor in Vendor:
        of_vendor = [record for record in records if record["vendor"] == vendor]
        assert {record["state"] for record in of_vendor} == {"complete"}
        assert [record["listed"] for record in of_vendor] == [EACH] * len(of_vendor)
        assert sum(record["adopted"] for record in of_vendor) == EACH
        assert {record["gone"] for record in of_vendor} == {0}
