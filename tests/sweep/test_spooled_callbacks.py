"""No sweep starts while callbacks wait in the spool: one of them may contradict what is known of a file."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from service.callbacks.spool import Spool
from service.callbacks.store import NewCallback
from service.cli import main
from service.model import FileState
from service.sweep.gate import list_refusals
from service.sweep.records import Trigger
from tests.world import APP, environment, open_world

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_no_sweep_starts_before_what_waits_in_the_spool_is_stored(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "spool")
    with open_world(database_url, SPOOL_DIR=folder) as world:
        sweeper = world.service.sweeper
        world.keep("1d")
        world.add(1)
        other = Spool(world.database, tmp_path / "spool", 1_000_000)  # (of a process that is alive)
        new = NewCallback("a" * 40, APP, "content", b"{}", "application/json", "record", world.clock())
        other.append([new], "a test")
        assert sweeper.run(Trigger.SCHEDULE, threading.Event()) is None
        assert world.state("file-00000") is FileState.SCHEDULED
        with world.database.read() as tx:
            assert set(list_refusals(tx, world.clock())) == {"callbacks_in_spool"}
        world.service.leader.release()
        variables = environment(database_url, world.sandbox.url, SPOOL_DIR=folder)
        assert main(["sweep"], environ=variables, now=world.clock) == 3
        assert "callbacks wait in the spool" in capsys.readouterr().out
        assert len(world.stored()) == 1
        other.close()  # its process has died
        assert world.service.leader.try_to_lead()
        world.service.take_over()
        assert sweeper.run(Trigger.SCHEDULE, threading.Event()) is not None
        assert world.state("file-00000") is FileState.DELETED
        assert world.service.spool.describe_waiting() is None
