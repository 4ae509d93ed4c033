"""Measures the first reconcile of a large account, as a process of its own: its calls, its time and its peak memory.

Not a test. From the project's folder: `python -m tests.measure_reconcile [FILES] [Tencent|Ws|Huawei] [DATABASE_URL]`.
Talks to a sandbox on loopback, which takes about 1 GB for a million files, and to the database named; without one, to
an SQLite file below the temporary folder, which it gives back.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from service.core.model import Vendor
from service.db.engine import Database
from service.db.migrate import upgrade_database
from service.zego.sandbox import Sandbox, StoredFile
from tests.world import APP, SERVER_SECRET, environment

if TYPE_CHECKING:
    from collections.abc import Iterator


def now() -> datetime:
    return datetime.now(UTC)


def made(count: int) -> Iterator[StoredFile]:
    """Files spread evenly over two years."""
    step = timedelta(days=730) / count
    for number in range(count):
        yield StoredFile(f"record/app/{number:08}.mp4", now() - step * (number + 1), 1_000 + number, name=f"n{number}")


def read_peak(pid: int) -> int:
    """The most memory that a process has held so far, in kB.

    Not the figure that waiting for it gives: that one begins with the memory of the process that started it.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:  # it has just ended
        return 0
    return max((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), default=0)


def measure(count: int, vendor: Vendor, database_url: str) -> None:
    """Fill a sandbox, run the command, and say what it took."""
    database = Database(database_url)
    upgrade_database(database)
    database.dispose()
    with Sandbox({APP: SERVER_SECRET}, now) as sandbox:
        sandbox.add_files(APP, vendor, made(count))
        variables = os.environ | environment(database_url, sandbox.url, KEEP="30d")
        command = [sys.executable, "-m", "service", "reconcile", "--json", "--vendor", vendor.value]
        began = time.monotonic()
        peak_kb = 0
        with subprocess.Popen(command, env=variables) as process:
            while process.poll() is None:
                peak_kb = max(peak_kb, read_peak(process.pid))
                time.sleep(0.2)
        took = time.monotonic() - began
    print(
        f"{count:,} files of {vendor.value}: exit {process.returncode}, {took:.0f} s, peak {peak_kb / 1000:.0f} MB, "
        f"{len(sandbox.calls):,} calls"
    )


if __name__ == "__main__":
    files = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    of_vendor = Vendor(sys.argv[2]) if len(sys.argv) > 2 else Vendor.TENCENT
    if len(sys.argv) > 3:
        measure(files, of_vendor, sys.argv[3])
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure(files, of_vendor, f"sqlite:///{folder}/measured.db")
