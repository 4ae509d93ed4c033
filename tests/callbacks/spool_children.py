"""What the child processes of the spool's tests do."""

from __future__ import annotations

import resource
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from service.callbacks.spool import NotSpooled, Spool
from service.callbacks.store import NewCallback
from service.database import Database
from tests.callbacks.callback_scene import APP, START
from tests.children import be_silent

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

DISK_S = 30


def callback(number: int) -> NewCallback:
    moment = START + timedelta(seconds=number)
    return NewCallback(f"{number:040d}", APP, "content", b"x" * 100, "application/json", "record", moment)


def append_and_wait(report: Connection, url: str, folder: Path, count: int) -> None:
    """Append callbacks, and live on until somebody ends that."""
    be_silent()
    spool = Spool(Database(url), folder, 10**9)
    spool.append([callback(number) for number in range(count)], "a test")
    report.send("appended")
    time.sleep(DISK_S)


def fill_disk(report: Connection, url: str, folder: Path) -> None:
    """Append callbacks where no file may grow beyond a few; reports how each ended."""
    be_silent()
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, 3_000))
    spool, answers = Spool(Database(url), folder, 10**9), []
    for number in range(20):
        try:
            spool.append([callback(number)], "a test")
        except NotSpooled as error:
            answers.append(str(error).rpartition(": ")[2])
        else:
            answers.append("")
    report.send(answers)
