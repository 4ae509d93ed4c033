from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from service.model import Vendor
from service.sandbox import StoredFile
from service.sandbox.request import Code
from service.zego.client import ZegoClient, url_cost
from service.zego.messages import DeleteAnswer, FileError, Query, Transport
from tests.faults import (
    Fault,
    FaultySandbox,
    answer_html,
    answer_late,
    cut_answer,
    drop_after,
    drop_before,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

APP, SECRET = "1234567890", "9193cc662a4c0ec135ec71fb57194b38"
NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)


def now() -> datetime:
    return NOW


def make_client(url: str, *, secret: str = SECRET, read_timeout_s: float = 5, clear_cache: bool = False) -> ZegoClient:
    return ZegoClient(
        APP, secret, url, now=now, clear_cache=clear_cache, connect_timeout_s=0.2, read_timeout_s=read_timeout_s
    )


@pytest.fixture
def sandbox() -> Iterator[FaultySandbox]:
    with FaultySandbox({APP: SECRET}, now) as opened:
        for file_id in ("a", "b"):
            opened.add_file(APP, Vendor.TENCENT, file_id)
        yield opened


@pytest.fixture
def client(sandbox: FaultySandbox) -> Iterator[ZegoClient]:
    with make_client(sandbox.url) as opened:
        yield opened


@contextmanager
def raw_server(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """A server that takes one connection and does with it what the test says."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        thread.join()


def ask(url: str, *, read_timeout_s: float = 5) -> DeleteAnswer:
    with make_client(url, read_timeout_s=read_timeout_s) as client:
        answer = client.delete_media(Vendor.TENCENT, ["a"])
    for secret in (SECRET, "Signature=", url.removeprefix("http://").rstrip("/")):
        assert secret not in repr(answer)
    return answer


def say(text: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        with suppress(OSError):  # the client may not wait for the end
            connection.sendall(text)

    return answer


@pytest.mark.parametrize("as_text", [False, True])
def test_deleting(sandbox: FaultySandbox, client: ZegoClient, *, as_text: bool) -> None:
    sandbox.data_as_text = sandbox.code_as_text = as_text
    answer = client.delete_media(Vendor.TENCENT, ["a", "c"])
    assert (answer.transport, answer.http_status, answer.code) == (Transport.ANSWERED, 200, 0)
    assert (answer.message, answer.request_id, answer.unreadable) == ("success", "sandbox-1", False)
    assert answer.deleted == {"a"}
    assert answer.errors == (FileError("c", "ResourceNotFound", "the media does not exist", "Tencent-1"),)
    assert json.loads(answer.raw)["RequestId"] == "sandbox-1"
    assert set(sandbox.files(APP, Vendor.TENCENT)) == {"b"}


def test_ids_of_any_characters_arrive_unchanged(sandbox: FaultySandbox, client: ZegoClient) -> None:
    ids = ["record/a b+c&d=e%41?#[]'.mp4", "录制/😀", "~._-", "%2B", "a\nb"]
    for file_id in ids:
        sandbox.add_file(APP, Vendor.HUAWEI, file_id)
    assert client.delete_media(Vendor.HUAWEI, ids).deleted == set(ids)
    expected = len(sandbox.url) + sandbox.calls[0].target_bytes - 1
    assert client.url_overhead(Vendor.HUAWEI) + sum(map(url_cost, ids)) == expected


def test_only_1_to_100_files_are_asked_for(sandbox: FaultySandbox, client: ZegoClient) -> None:
    for ids in ([], ["x"] * 101):
        with pytest.raises(ValueError, match="1 to 100 files"):
            client.delete_media(Vendor.TENCENT, ids)
    assert sandbox.calls == ()


def test_the_cache_of_wangsu_is_cleared_where_wanted(sandbox: FaultySandbox) -> None:
    with make_client(sandbox.url, clear_cache=True) as client:
        assert client.delete_media(Vendor.WANGSU, ["a"]).cache_code == "1"
        assert client.delete_media(Vendor.HUAWEI, ["a"]).cache_code is None


def test_a_listing_of_one_file_shows_that_the_credentials_work_and_what_time_it_is_there(client: ZegoClient) -> None:
    answer = client.search_media(Vendor.HUAWEI, Query(size=1))
    assert (answer.transport, answer.code, answer.unreadable, answer.date) == (Transport.ANSWERED, 0, False, NOW)


def test_the_largest_page_of_files_with_long_urls_is_read(sandbox: FaultySandbox, client: ZegoClient) -> None:
    long = [StoredFile(f"{number:0500}", NOW, media_url="https://media.invalid/" + "x" * 500) for number in range(5000)]
    sandbox.add_files(APP, Vendor.TENCENT, long)
    sandbox.data_as_text = True
    answer = client.search_media(Vendor.TENCENT, Query(size=5000))
    assert (answer.unreadable, len(answer.files)) == (False, 5000)


def test_a_wrong_secret_is_an_answer(sandbox: FaultySandbox) -> None:
    with make_client(sandbox.url, secret="wrong") as client:
        assert client.search_media(Vendor.TENCENT, Query(size=1)).code == Code.SIGNATURE_WRONG
        assert client.delete_media(Vendor.TENCENT, ["a"]).code == Code.SIGNATURE_WRONG
    assert "wrong" not in repr(client)


@pytest.mark.parametrize(
    ("fault", "status", "retry_after_s"),
    [
        (answer_html(502), 502, None),
        (answer_html(503, acts=True), 503, None),
        (answer_html(429, retry_after="7"), 429, 7.0),
        (answer_html(429, retry_after="Sat, 01 Aug 2026 12:01:00 GMT"), 429, 60.0),
        (cut_answer(), 200, None),
    ],
    ids=str,
)
def test_error_pages_and_cut_json_are_unreadable_and_their_status_known(
    sandbox: FaultySandbox, client: ZegoClient, fault: Fault, status: int, retry_after_s: float | None
) -> None:
    sandbox.next(fault)
    answer = client.delete_media(Vendor.TENCENT, ["a"])
    assert (answer.transport, answer.http_status) == (Transport.ANSWERED, status)
    assert (answer.code, answer.unreadable, answer.retry_after_s) == (None, True, retry_after_s)
    assert answer.raw
    assert len(sandbox.calls) == 1


def test_a_url_that_is_too_long_is_refused_by_the_front_end(client: ZegoClient) -> None:
    answer = client.delete_media(Vendor.HUAWEI, [f"{number:03}" + "x" * 90 for number in range(100)])
    assert (answer.transport, answer.http_status, answer.unreadable) == (Transport.ANSWERED, 414, True)


@pytest.mark.parametrize(
    ("fault", "left"), [(drop_before(), {"a", "b"}), (drop_after(), {"b"})], ids=["before", "after"]
)
def test_a_dropped_connection_is_lost_and_never_asked_again(
    sandbox: FaultySandbox, client: ZegoClient, fault: Fault, left: set[str]
) -> None:
    sandbox.next(fault)
    answer = client.delete_media(Vendor.TENCENT, ["a"])
    assert (answer.transport, answer.http_status, answer.unreadable) == (Transport.LOST, None, False)
    assert answer.message.startswith("no whole answer came back: ")
    assert set(sandbox.files(APP, Vendor.TENCENT)) == left
    assert len(sandbox.calls) == 1


def test_after_a_drop_on_a_kept_connection_nothing_is_asked_again(sandbox: FaultySandbox, client: ZegoClient) -> None:
    assert client.delete_media(Vendor.TENCENT, ["x"]).code == 0
    sandbox.next(drop_after())
    assert client.delete_media(Vendor.TENCENT, ["a"]).transport is Transport.LOST
    assert client.delete_media(Vendor.TENCENT, ["b"]).deleted == {"b"}
    assert [call.file_ids for call in sandbox.calls] == [("x",), ("a",), ("b",)]


def test_an_answer_that_takes_too_long_is_lost(sandbox: FaultySandbox) -> None:
    sandbox.next(answer_late(30))
    with make_client(sandbox.url, read_timeout_s=0.2) as client:
        answer = client.delete_media(Vendor.TENCENT, ["a"])
    assert (answer.transport, answer.message) == (Transport.LOST, "no whole answer came back: timed out")


def test_nobody_listening_means_not_sent(sandbox: FaultySandbox, client: ZegoClient) -> None:
    assert client.delete_media(Vendor.TENCENT, ["a"]).code == 0
    sandbox.__exit__()
    answer = client.delete_media(Vendor.TENCENT, ["b"])
    assert (answer.transport, answer.message) == (Transport.NOT_SENT, "nothing was sent to ZEGO: Connection refused")
    assert client.search_media(Vendor.TENCENT, Query(size=1)).transport is Transport.NOT_SENT


def test_a_tls_handshake_that_hangs_means_not_sent() -> None:
    enough = threading.Event()
    with raw_server(lambda connection: (connection.recv(65536), enough.wait(10))) as url:
        answer = ask(url.replace("http", "https"))
        enough.set()
    assert (answer.transport, answer.message) == (Transport.NOT_SENT, "nothing was sent to ZEGO: timed out")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"garbage\r\n\r\n",
        b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"Code": 0}',
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\noops",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n{}",
    ],
    ids=lambda text: ascii(text[-25:]),
)
def test_an_answer_that_is_not_whole_http_is_lost(text: bytes) -> None:
    with raw_server(say(text)) as url:
        answer = ask(url)
    assert answer.transport is Transport.LOST
    assert answer.code is None


def test_an_answer_that_drips_ends_after_the_read_timeout() -> None:
    def drip(connection: socket.socket) -> None:
        say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")(connection)
        with suppress(OSError):
            for _ in range(100):
                connection.sendall(b" ")
                time.sleep(0.1)

    started = time.monotonic()
    with raw_server(drip) as url:
        answer = ask(url, read_timeout_s=0.5)
    assert (answer.transport, answer.http_status) == (Transport.LOST, 200)
    assert time.monotonic() - started < 5


def test_a_compressed_bomb_is_capped() -> None:
    bomb = gzip.compress(b'{"Code": 0}' + b" " * 30_000_000, 6)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    with raw_server(say(head + bomb)) as url:
        answer = ask(url)
    assert (answer.transport, answer.unreadable) == (Transport.ANSWERED, True)


@pytest.mark.parametrize(
    "head", [b"Transfer-Encoding: chunked\r\n\r\nb\r\n%s\r\n0\r\n\r\n", b"Content-Length: 11\r\n\r\n%s", b"\r\n%s"]
)
def test_every_framing_of_a_whole_answer_is_read(head: bytes) -> None:
    with raw_server(say(b"HTTP/1.1 200 OK\r\n" + head % b'{"Code": 0}')) as url:
        answer = ask(url)
    assert (answer.transport, answer.code) == (Transport.ANSWERED, 0)


def test_redirects_and_cookies_are_not_followed() -> None:
    seen: list[bytes] = []

    def answer_twice(connection: socket.socket) -> None:
        for _ in range(2):
            seen.append(connection.recv(65536))
            connection.sendall(
                b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n"
            )

    with raw_server(answer_twice) as url, make_client(url) as client:
        statuses = [client.delete_media(Vendor.TENCENT, ["a"]).http_status for _ in range(2)]
    assert statuses == [302, 302]
    assert len(seen) == 2
    for request in seen:
        assert request.startswith(b"GET /?Action=DeleteMedia&")
        assert b"cookie" not in request.lower()


def test_an_error_page_that_repeats_the_url_gives_no_secret_away() -> None:
    def echo(connection: socket.socket) -> None:
        line = connection.recv(65536).splitlines()[0]
        said = f"{line.decode()} {SECRET}"
        errors = [{"Key": "a", "Code": SECRET, "Message": said, "RequestId": said}]
        body = json.dumps({"Code": 0, "Message": said, "RequestId": said, "Data": {"Errors": errors}}).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with raw_server(echo) as url, make_client(url) as client:
        answer = client.delete_media(Vendor.TENCENT, ["a"])
    assert "Signature=***&" in answer.message
    assert "Signature=***&" in answer.errors[0].message
    assert SECRET not in repr(answer)


def test_the_environment_changes_nothing(
    sandbox: FaultySandbox, client: ZegoClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert client.delete_media(Vendor.TENCENT, ["a"]).deleted == {"a"}
    assert len(sandbox.calls) == 1


def test_many_threads_share_one_client_and_no_nonce_is_used_twice(sandbox: FaultySandbox, client: ZegoClient) -> None:
    sandbox.calls_per_second = 1000
    ids = [f"file-{number}" for number in range(200)]
    for file_id in ids:
        sandbox.add_file(APP, Vendor.TENCENT, file_id)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda file_id: client.delete_media(Vendor.TENCENT, [file_id]), ids))
    assert [answer.deleted for answer in answers] == [frozenset([file_id]) for file_id in ids]


@pytest.mark.parametrize("used", [False, True], ids=["new connection", "kept connection"])
def test_a_request_that_may_not_be_sent_any_more_never_reaches_zego(
    sandbox: FaultySandbox, client: ZegoClient, *, used: bool
) -> None:
    asked: list[int] = []

    def may_send() -> bool:
        asked.append(len(sandbox.calls))
        return False

    if used:
        client.delete_media(Vendor.TENCENT, ["x"])
    answer = client.delete_media(Vendor.TENCENT, ["a"], may_send=may_send)
    assert answer == DeleteAnswer(
        Transport.NOT_SENT, message="nothing was sent to ZEGO: the request was held back before it was sent"
    )
    assert asked == [used] == [len(sandbox.calls)]
    assert client.delete_media(Vendor.TENCENT, ["a"], may_send=lambda: True).deleted == {"a"}


def test_the_clock_that_signs_is_the_one_that_was_given(sandbox: FaultySandbox, client: ZegoClient) -> None:
    sandbox.now = lambda: NOW + timedelta(seconds=601)
    assert client.delete_media(Vendor.TENCENT, ["a"]).code == Code.SIGNATURE_EXPIRED
    sandbox.now = lambda: NOW - timedelta(seconds=600)
    assert client.delete_media(Vendor.TENCENT, ["a"]).code == 0
