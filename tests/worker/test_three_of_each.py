"""Three web and three worker processes on one PostgreSQL behave as one, also when the leader is killed."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.database import Database
from service.files.store import list_in_range
from service.leader.store import find_leader
from service.model import FileState, Outcome, Vendor
from service.sweep import store
from tests.faults import FaultySandbox
from tests.processes import answers, ask, running, signed_callback, wait_until
from tests.world import APP, SERVER_SECRET, environment

if TYPE_CHECKING:
    from pathlib import Path

OF_EACH = 3
FILES = 300


@pytest.mark.long
def test_they_behave_as_one(postgres_url: str, tmp_path: Path) -> None:
    ages = {f"old-{number}": timedelta(days=2) for number in range(FILES)}
    ages |= {f"young-{number}": timedelta(hours=1) for number in range(FILES)}
    database = Database(postgres_url)
    killed: list[int] = []
    lock = threading.Lock()

    def kill_leader(call: Any) -> None:
        """While its second call for files is under way, which ZEGO carries out all the same."""
        if call.action != "DeleteMedia" or call.stage != "done":
            return
        with lock, database.read() as tx:
            leader = find_leader(tx)
            if not killed and leader is not None and len(sandbox.calls) > 2:
                killed.append(leader.pid)
                os.kill(leader.pid, signal.SIGKILL)

    with socket.socket() as one, socket.socket() as two, socket.socket() as three:
        for each in (one, two, three):
            each.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in (one, two, three)]
    with FaultySandbox({APP: SERVER_SECRET}, lambda: datetime.now(UTC)) as sandbox, ExitStack() as stack:
        sandbox.on_request = kill_leader
        for file_id in ages:
            sandbox.add_file(APP, Vendor.TENCENT, file_id)
        variables = environment(postgres_url, sandbox.url, KEEP="1d", SWEEP_EVERY="1s", RETRY_FIRST="1s")
        for port in ports:
            listen = {"ZEGO_RETENTION_LISTEN": f"127.0.0.1:{port}"}
            stack.enter_context(running("web", variables | listen, tmp_path))
        workers = [stack.enter_context(running("worker", variables, tmp_path)) for _ in range(OF_EACH)]
        wait_until(lambda: all(map(answers, ports)), 60)
        wait_until(lambda: sum("leading" in worker.log() for worker in workers) == 1, 60)

        def send(place: int, file_id: str) -> list[int]:
            """Through two of the three, as if the answer of the first had been lost."""
            raw = signed_callback(file_id, ages[file_id])
            return [ask(ports[(place + more) % OF_EACH], "POST", "/zego/callback", raw)[0] for more in (0, 1)]

        with ThreadPoolExecutor(12) as pool:
            statuses = list(pool.map(send, range(len(ages)), ages))
        assert {status for pair in statuses for status in pair} == {200}

        def states() -> Counter[tuple[str, FileState]]:
            with database.read() as tx:
                return Counter((file.file_id.partition("-")[0], file.state) for file in list_in_range(tx, 0, 10_000))

        whole = {("old", FileState.DELETED): FILES, ("young", FileState.SCHEDULED): FILES}
        wait_until(lambda: states() == whole, 90)
        assert killed
        wait_until(lambda: sum(worker.process.poll() is None for worker in workers) == OF_EACH - 1)
        assert sum("leading" in worker.log() for worker in workers) >= 2
        assert set(sandbox.files(APP, Vendor.TENCENT)) == {name for name in ages if name.startswith("young")}
    with database.read() as tx:
        attempts = store.list_attempts(tx)
    database.dispose()
    ended = Counter(each.media_file_id for each in attempts if each.outcome in (Outcome.DELETED, Outcome.GONE))
    assert (len(ended), set(ended.values())) == (FILES, {1})
    again = {each.media_file_id for each in attempts if each.outcome is Outcome.UNKNOWN}
    asked = Counter(file_id for call in sandbox.calls for file_id in call.file_ids)
    assert sum(count > 1 for count in asked.values()) <= len(again), "only what the killed leader left open"
