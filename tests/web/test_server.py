from __future__ import annotations

import http.client
import json
import multiprocessing
import signal
import socket
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.core.model import Verdict
from service.db import inbox
from service.db.engine import Database
from service.db.migrate import upgrade_database
from service.zego.sandbox_callbacks import callback_body
from tests.gatekeeper import Gatekeeper
from tests.processes import PATIENCE_S, Running, answers, ask, running, wait_until
from tests.world import APP, CALLBACK_SECRET, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOWHERE = "http://127.0.0.1:9/"


def body_of(number: int, **options: Any) -> bytes:
    now = datetime.now(UTC)
    began = now - timedelta(hours=1)
    facts: dict[str, Any] = {"app_id": APP, "secret": CALLBACK_SECRET, "stream": "room", "began": began} | options
    return callback_body(
        "Tencent", file_id=str(10**18 + number), ended=now, now=now, nonce=str(100_000 + number), **facts
    )[0]


def settings(database_url: str, port: int, **more: str) -> dict[str, str]:
    return environment(database_url, NOWHERE, LISTEN=f"127.0.0.1:{port}", KEEP="30d", LOG_FORMAT="json", **more)


@pytest.fixture
def migrated_url(database_url: str) -> str:
    database = Database(database_url)
    upgrade_database(database)
    database.dispose()
    return database_url


@pytest.fixture
def web_process(migrated_url: str, free_port: int, tmp_path: Path) -> Iterator[tuple[Running, int, str]]:
    with running("web", settings(migrated_url, free_port), tmp_path) as web:
        wait_until(lambda: answers(free_port) or web.process.poll() is not None)
        yield web, free_port, migrated_url


@pytest.fixture
def plain_web(sqlite_url: str, free_port: int, tmp_path: Path) -> Iterator[tuple[Running, int]]:
    with running("web", settings(sqlite_url, free_port), tmp_path) as web:
        wait_until(lambda: answers(free_port) or web.process.poll() is not None)
        yield web, free_port


def count_accepted(database_url: str) -> int:
    database = Database(database_url)
    with database.read() as session:
        count = inbox.count_by_verdict(session).get(Verdict.ACCEPTED, 0)
    database.dispose()
    return count


def raw_request(port: int, *parts: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    connection.sendall(b"".join(parts))
    return connection


def head(length: int) -> bytes:
    return b"POST /zego/callback HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    while part := connection.recv(10_000):
        answer += part
    connection.close()
    return answer


def test_the_answers_of_a_real_server(web_process: tuple[Running, int, str]) -> None:
    web, port, database_url = web_process
    body = body_of(1)
    assert ask(port, "POST", "/zego/callback", body) == (200, b"1")
    assert ask(port, "POST", "/zego/callback", body) == (200, b"1")
    for status, odd in ((401, body_of(2, secret="wrong")), (400, b"{}"), (413, b"x" * 65_537)):
        answer = ask(port, "POST", "/zego/callback", odd)
        assert (answer[0], json.loads(answer[1])["status"]) == (status, status)
    assert ask(port, "GET", "/zego/callback")[0] == 405
    assert ask(port, "GET", "/none")[0] == 404
    assert [ask(port, "GET", path)[0] for path in ("/healthz", "/readyz", "/metrics")] == [200, 200, 200]
    assert ask(port, "HEAD", "/healthz") == (200, b"")
    assert count_accepted(database_url) == 1

    assert web.end() == 0
    assert not answers(port)
    assert "Traceback" not in web.log()


def test_chunked_bodies(plain_web: tuple[Running, int]) -> None:
    _, port = plain_web
    for size, status in {0: 200, 65_536: 400, 65_537: 413, 3_000_000: 413}.items():
        body = b"x" * size or body_of(1)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        chunks = (body[start : start + 10_000] for start in range(0, len(body), 10_000))
        connection.request("POST", "/zego/callback", chunks, {"Transfer-Encoding": "chunked"}, encode_chunked=True)
        assert connection.getresponse().status == status
        connection.close()


def test_a_cut_body_is_not_stored(plain_web: tuple[Running, int], sqlite_url: str) -> None:
    _, port = plain_web
    body = body_of(1)
    connection = raw_request(port, head(len(body)), body[:-1])
    connection.shutdown(socket.SHUT_WR)
    assert b" 200 " not in read_all(connection)
    assert count_accepted(sqlite_url) == 0


def test_hundreds_of_half_sent_bodies_keep_nobody_out(plain_web: tuple[Running, int]) -> None:
    _, port = plain_web
    held = [raw_request(port, head(100), b"{") for _ in range(600)]
    assert ask(port, "POST", "/zego/callback", body_of(1)) == (200, b"1")
    for connection in held:
        connection.close()


def test_a_request_under_way_is_finished_before_the_end(plain_web: tuple[Running, int], sqlite_url: str) -> None:
    web, port = plain_web
    assert ask(port, "GET", "/readyz")[0] == 200
    body = body_of(1)
    database = Database(sqlite_url)
    with database.write():  # the request has to wait for its turn to write
        connection = raw_request(port, head(len(body)), body)
        time.sleep(0.5)
        web.process.terminate()
        time.sleep(0.5)
    database.dispose()
    assert read_all(connection).endswith(b"\r\n\r\n1")
    assert web.process.wait(PATIENCE_S) == 0
    assert count_accepted(sqlite_url) == 1


def test_a_killed_server_leaves_nobody_on_the_port(plain_web: tuple[Running, int]) -> None:
    web, port = plain_web
    web.end(signal.SIGKILL)
    wait_until(lambda: not answers(port))


def send_many(port: int, numbers: range, made: Any) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    for number in numbers:
        connection.request("POST", "/zego/callback", body_of(number))
        response = connection.getresponse()
        response.read()
        if response.status == 200:
            with made.get_lock():
                made.value += 1
    connection.close()


def test_what_several_processes_send_at_once_is_all_there(web_process: tuple[Running, int, str]) -> None:
    web, port, database_url = web_process
    spawn = multiprocessing.get_context("spawn")
    made = spawn.Value("i", 0)
    senders = [
        spawn.Process(target=send_many, args=(port, range(start, start + 100), made)) for start in (0, 1000, 2000, 3000)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(90)
    assert made.value == 400
    assert count_accepted(database_url) == 400
    assert web.process.poll() is None


def test_a_taken_port_is_said_in_one_line(sqlite_url: str, free_port: int, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", free_port))
        other.listen()
        with running("web", settings(sqlite_url, free_port), tmp_path) as web:
            assert web.process.wait(PATIENCE_S) == 1
            [line] = web.errors()
            assert f"127.0.0.1:{free_port}" in line
            assert "ZEGO_RETENTION_LISTEN" in line


def test_a_file_that_cannot_be_made_is_said_in_one_line(free_port: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with running("web", settings(f"sqlite:///{tmp_path}/file/x.db", free_port), tmp_path) as web:
        assert web.process.wait(PATIENCE_S) == 1
        [line] = web.errors()
        assert str(tmp_path / "file") in line


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
        return True


def test_it_listens_on_names_and_on_ipv6(sqlite_url: str, free_port: int, tmp_path: Path) -> None:
    hosts = {"localhost": "localhost", "[::1]": "::1"} if has_ipv6() else {"localhost": "localhost"}
    for written, host in hosts.items():
        variables = settings(sqlite_url, free_port) | {"ZEGO_RETENTION_LISTEN": f"{written}:{free_port}"}
        with running("web", variables, tmp_path) as web:
            wait_until(lambda: answers(free_port, host) or web.process.poll() is not None)  # noqa: B023  (called at once)
            assert ask(free_port, "GET", "/readyz", host=host)[0] == 200
            assert web.end() == 0


def test_an_outage_of_postgresql_is_answered_503_and_ends_by_itself(
    postgres_url: str, free_port: int, tmp_path: Path
) -> None:
    database = Database(postgres_url)
    upgrade_database(database)
    database.dispose()
    gate = Gatekeeper(postgres_url)
    variables = settings(gate.url, free_port)
    with running("web", variables, tmp_path) as web:
        wait_until(lambda: answers(free_port) or web.process.poll() is not None)
        assert_away(free_port, body_of(1))
        gate.open()
        wait_until(lambda: ask(free_port, "POST", "/zego/callback", body_of(2))[0] == 200)
        wait_until(lambda: ask(free_port, "GET", "/readyz")[0] == 200)

        gate.close()
        assert_away(free_port, body_of(3))
        gate.open()
        wait_until(lambda: ask(free_port, "POST", "/zego/callback", body_of(3))[0] == 200)
        wait_until(lambda: ask(free_port, "GET", "/readyz")[0] == 200)
        assert web.end() == 0
        assert "Traceback" not in web.log()
    gate.close()
    assert count_accepted(postgres_url) == 2


def assert_away(port: int, body: bytes) -> None:
    assert ask(port, "GET", "/healthz")[0] == 200
    assert ask(port, "POST", "/zego/callback", body)[0] == 503
    wait_until(lambda: ask(port, "GET", "/readyz")[0] == 503)
    assert ask(port, "POST", "/zego/callback", body)[0] == 503
