"""The database server goes away under `serve` and comes back: nothing is lost, nothing has to be started again."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from service.database import Database
from service.files.store import list_in_range
from service.leader.store import find_leader
from tests.gatekeeper import Gatekeeper
from tests.processes import ask, running, send_callback, wait_until
from tests.world import environment

if TYPE_CHECKING:
    from pathlib import Path


def test_a_restart_is_one_line_in_the_log_of_each_side(postgres_url: str, free_port: int, tmp_path: Path) -> None:
    database, door = Database(postgres_url), Gatekeeper(postgres_url)

    def files() -> set[str]:
        with database.read() as tx:
            return {file.file_id for file in list_in_range(tx, 0, 100)}

    def token() -> int:
        with database.read() as tx:
            leader = find_leader(tx)
            return 0 if leader is None else leader.token

    door.open()
    variables = environment(
        door.url,
        "http://127.0.0.1:9/",
        KEEP="30d",
        SWEEP_EVERY="off",  # a sweep that comes meanwhile has a line of its own: callbacks wait in the spool
        LISTEN=f"127.0.0.1:{free_port}",
        LOG_FORMAT="json",
        SPOOL_DIR=str(tmp_path / "spool"),
    )
    with running("serve", variables, tmp_path) as serve:
        serve.wait_for("serve_running")
        serve.wait_for("leading")
        assert send_callback(free_port, "file-1") == 200
        wait_until(lambda: files() == {"file-1"})
        before = token()
        door.close()
        assert [send_callback(free_port, f"file-{number}") for number in (2, 3)] == [200, 200]
        assert ask(free_port, "GET", "/readyz")[0] == 200
        assert ask(free_port, "GET", "/healthz")[0] == 200
        wait_until(lambda: "database_unavailable" in serve.log())
        door.open()
        wait_until(lambda: send_callback(free_port, "file-4") == 200)
        wait_until(lambda: files() == {"file-1", "file-2", "file-3", "file-4"})
        serve.wait_for("database_back")
        assert token() == before, "it leads on"
        assert serve.end() == 0
    door.close()
    database.dispose()
    lines = [json.loads(line) for line in serve.log().splitlines() if line.startswith("{")]
    troubles = Counter(line["event"] for line in lines if line["level"] in ("warning", "error"))
    assert troubles == {"database_unavailable": 1, "spool_used": 1}
    assert [line["callbacks"] for line in lines if line["event"] == "spool_emptied"] in ([2], [3])
    assert [line["event"] for line in lines].count("database_back") == 1
    assert "Traceback" not in serve.log()
