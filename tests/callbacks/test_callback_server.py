"""The server under slow clients, a database that is held, and an end while requests are under way."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from service.settings import Listen
from service.web.address import CannotListen, bind, is_answering
from service.web.front import THREADS
from tests.bench import load
from tests.bench.house import cpu_seconds
from tests.callbacks.callback_scene import Scene, recording
from tests.callbacks.server_child import SLOW_S, serve_callbacks
from tests.children import start_child
from tests.processes import answers, ask, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.database import Database
    from tests.children import Child

HALF_SENT = b"POST /zego/callback HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"


@pytest.fixture
def server(database_url: str, free_port: int) -> Iterator[tuple[Child, int]]:
    child = start_child(serve_callbacks, database_url, free_port)
    try:
        wait_until(lambda: answers(free_port) or not child.process.is_alive())
        yield child, free_port
    finally:
        child.end()


@contextmanager
def held(database: Database) -> Iterator[None]:
    """Let nobody store callbacks during the block."""
    with database.write() as tx:
        if not database.is_sqlite:
            tx.execute(text("LOCK TABLE callbacks IN EXCLUSIVE MODE"))
        yield


def send(port: int, scene: Scene, number: int) -> int:
    return ask(port, "POST", "/zego/callback", scene.body(recording(f"f{number}"), nonce=str(number))[0])[0]


def test_hundreds_of_half_sent_requests_do_not_shut_the_callback_url(server: tuple[Child, int], scene: Scene) -> None:
    _, port = server
    half_sent = [socket.create_connection(("127.0.0.1", port)) for _ in range(500)]
    for connection in half_sent:
        connection.sendall(HALF_SENT)
    assert [send(port, scene, number) for number in range(5)] == [200] * 5
    for connection in half_sent:
        connection.close()


def test_a_request_whose_rest_does_not_come_is_closed_and_one_that_waits_for_us_is_not(
    database_url: str, free_port: int, scene: Scene
) -> None:
    child = start_child(serve_callbacks, database_url, free_port, 1)
    try:
        wait_until(lambda: answers(free_port) or not child.process.is_alive())
        started = (b"", b"POST /zego/callback HT", HALF_SENT)
        connections = [socket.create_connection(("127.0.0.1", free_port), 10) for _ in started]
        for connection, part in zip(connections, started, strict=True):
            connection.sendall(part)
        with ThreadPoolExecutor(1) as pool:
            with held(scene.database):
                sending = pool.submit(send, free_port, scene, 1)
                for connection in connections:
                    with connection:
                        received = connection.recv(1_000)
                        assert not received.startswith(b"HTTP/1.1 200")
                time.sleep(2)
            assert sending.result() == 200
    finally:
        child.end()


def test_it_is_alive_within_a_second_whatever_the_database_does(server: tuple[Child, int], scene: Scene) -> None:
    """Defect 2 of the first house: it did not answer for over 15 s."""
    _, port = server
    slowest = 0.0
    with ThreadPoolExecutor(100) as pool:
        with held(scene.database):
            sending = [pool.submit(send, port, scene, number) for number in range(100)]
            until = time.monotonic() + 3
            while time.monotonic() < until:
                began = time.monotonic()
                assert ask(port, "GET", "/healthz")[0] == 200
                slowest = max(slowest, time.monotonic() - began)
                time.sleep(0.02)
        statuses = [each.result() for each in sending]
    print(f"/healthz took {slowest:.3f} s at most")
    assert slowest < 1.5  # the aim is 1 s, on a machine with nothing else to do
    assert set(statuses) == {200}, "they wait for the database, and hold no thread"
    assert len(scene.callbacks()) == 100
    assert [send(port, scene, number) for number in range(100)] == [200] * 100


def test_requests_that_have_arrived_are_finished_before_the_end(server: tuple[Child, int], scene: Scene) -> None:
    child, port = server
    idle = socket.create_connection(("127.0.0.1", port))
    with ThreadPoolExecutor(20) as pool:
        with held(scene.database):
            sending = [pool.submit(send, port, scene, number) for number in range(20)]
            time.sleep(0.5)
            os.kill(child.pid, signal.SIGTERM)
            wait_until(lambda: not answers(port))
            assert child.process.is_alive()
        assert [each.result() for each in sending] == [200] * 20
    assert child.receive(10) == "ended"
    assert child.wait() == 0
    assert len(scene.callbacks()) == 20
    idle.close()


def test_a_burst_is_stored_whole_and_nobody_is_refused(server: tuple[Child, int], scene: Scene) -> None:
    _, port = server
    refused: list[int] = []
    bodies = iter([scene.body(recording(f"f{number}"), nonce=str(number))[0] for number in range(1_000)])
    lock = threading.Lock()

    def work(_: int) -> None:
        while True:
            with lock:
                body = next(bodies, None)
            if body is None:
                return
            if (status := ask(port, "POST", "/zego/callback", body)[0]) != 200:
                refused.append(status)

    with ThreadPoolExecutor(100) as pool:
        list(pool.map(work, range(100)))
    assert refused == []
    assert len(scene.callbacks()) == 1_000


def test_a_callback_costs_the_same_over_two_hundred_connections(server: tuple[Child, int]) -> None:
    """The main thread once spun around connections that other threads were sending on: many times the CPU."""
    child, port = server

    def measure(connections: int, first: int) -> float:
        before = cpu_seconds(child.pid)
        result = load.send(load.Load(port, 1_500, connections=connections, first=first))
        assert result.statuses == {"200": 1_500}
        return cpu_seconds(child.pid) - before

    few = measure(16, 0)
    many = measure(200, 10_000)
    print(f"CPU of 1,500 callbacks: {few:.2f} s over 16 connections, {many:.2f} s over 200")
    assert many < 3 * few


def test_what_is_loaded_is_not_looked_through_while_callbacks_wait(server: tuple[Child, int]) -> None:
    assert int(ask(server[1], "GET", "/frozen")[1]) > 10_000, "objects that no collection of garbage visits"


def test_a_busy_page_gives_the_interpreter_away_soon(server: tuple[Child, int]) -> None:
    assert float(ask(server[1], "GET", "/switch")[1]) <= 0.0002


def test_other_routes_hold_no_more_than_their_threads(server: tuple[Child, int], scene: Scene) -> None:
    _, port = server
    with ThreadPoolExecutor(THREADS + 1) as pool:
        slow = [pool.submit(ask, port, "GET", "/slow") for _ in range(THREADS)]
        time.sleep(0.5)
        began = time.monotonic()
        status, body = ask(port, "GET", "/slow")
        assert status == 503
        assert b"too many requests" in body
        assert ask(port, "GET", "/healthz")[0] == 200
        assert send(port, scene, 1) == 200
        assert time.monotonic() - began < SLOW_S - 0.5
        assert {each.result()[0] for each in slow} == {200}
    assert ask(port, "GET", "/slow")[0] == 200, "the threads are given back"


def test_a_crowd_that_signs_in_gets_in_and_holds_no_threads_of_others(server: tuple[Child, int], scene: Scene) -> None:
    _, port = server
    with ThreadPoolExecutor(3 * THREADS) as pool:
        crowd = [pool.submit(ask, port, "POST", "/sign-in", b"") for _ in range(2 * THREADS)]
        others = [pool.submit(ask, port, "GET", "/slow") for _ in range(THREADS)]
        assert send(port, scene, 1) == 200
        assert {each.result()[0] for each in others} == {200}
        assert {each.result()[0] for each in crowd} == {200}


def test_an_address_that_cannot_be_had_is_said_in_one_line(free_port: int) -> None:
    listen = Listen("127.0.0.1", free_port)
    sockets = bind(Listen("localhost", free_port))
    families = [each.family for each in sockets]
    for each in sockets:
        each.close()
    assert socket.AF_INET in families
    assert len(families) == len(set(families))
    assert not is_answering(listen)
    with socket.socket() as other:
        other.bind(listen)
        other.listen()
        assert is_answering(listen)
        with pytest.raises(CannotListen, match=f"{free_port}.*ZEGO_RETENTION_LISTEN to a free port"):
            bind(listen)
    with pytest.raises(CannotListen, match="an address of this machine"):
        bind(Listen("192.0.2.1", free_port))
