from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from sqlalchemy import event, text

from service.db import gates, leases
from service.db.engine import Database
from service.db.migrate import upgrade_database
from service.db.revisions import current_number
from service.settings import load_settings
from service.usecases.health import READINESS_MARK
from service.web.health import Readiness
from service.wiring import build_service
from tests.web.conftest import open_app
from tests.world import APP, environment

if TYPE_CHECKING:
    from tests.web.conftest import Web


def test_alive_needs_no_database() -> None:
    with open_app("postgresql://nobody@127.0.0.1:1/none") as app:
        client = app.test_client()
        assert client.get("/healthz").status_code == 200
        response = client.get("/readyz")
        assert response.status_code == 503
        assert "127.0.0.1" in response.get_json()["detail"]
        assert client.post("/zego/callback", data=b"{}").status_code == 503
        assert "zego_retention_database_up 0" in client.get("/metrics").text


def test_ready_means_written_and_committed(web: Web) -> None:
    assert web.client.get("/readyz").status_code == 200
    with web.database.read() as session:
        mark = leases.find_lease(session, READINESS_MARK)
    assert mark is not None
    assert mark.renewed_at == web.clock()


def test_trouble_with_anything_but_callbacks_leaves_it_ready(web: Web) -> None:
    with web.database.write() as session:
        gates.block(session, APP, None, web.clock(), "7", "authentication failed")
        session.execute(text("DROP TABLE calls" if web.database.is_sqlite else "DROP TABLE calls CASCADE"))
    assert web.client.get("/readyz").status_code == 200


def test_a_database_that_takes_no_write_is_told_and_its_return_too(web: Web) -> None:
    with web.database.write() as session:
        session.execute(text("ALTER TABLE leases RENAME TO elsewhere"))
    response = web.client.get("/readyz")
    assert response.status_code == 503
    assert "leases" in response.get_json()["detail"]
    with web.database.write() as session:
        session.execute(text("ALTER TABLE elsewhere RENAME TO leases"))
    assert wait_until_ready(web) == 200


def wait_until_ready(web: Web) -> int:
    pause = threading.Event()
    for _ in range(30):
        status = web.client.get("/readyz").status_code
        if status == 200:
            return status
        pause.wait(0.1)
    return 503


def test_probes_cannot_flood_the_database(sqlite_url: str) -> None:
    service = build_service(load_settings(environment(sqlite_url, "http://127.0.0.1:9/")))
    time = [0.0]
    readiness = Readiness(service, lambda: time[0])
    readiness.try_to_prepare()
    commits: list[object] = []
    event.listen(service.database.engine, "commit", commits.append)
    threads = [threading.Thread(target=readiness.find_fault) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(commits) == 1
    time[0] = 1.1
    assert readiness.find_fault() is None
    assert len(commits) == 2
    service.close()


def test_pending_migrations_are_named_with_their_cure_and_waited_for(postgres_url: str) -> None:
    database = Database(postgres_url)
    with open_app(postgres_url) as app:
        client = app.test_client()
        response = client.get("/readyz")
        assert response.status_code == 503
        assert "zego-retention migrate" in response.get_json()["detail"]
        assert client.post("/zego/callback", data=b"{}").status_code == 503

        upgrade_database(database)
        threading.Event().wait(1.1)
        assert client.get("/readyz").status_code == 200
        with database.read() as session:
            assert current_number(session) == 1
    database.dispose()
