from __future__ import annotations

import base64
import json
import select
import socket
import socketserver
import ssl
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import trustme

from service.cli import main
from service.model import Vendor
from service.zego.client import ZegoClient
from service.zego.messages import DeleteAnswer, Transport
from tests.world import environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "9193cc662a4c0ec135ec71fb57194b38"
A = frozenset({"a"})
ALLOWED = "Basic " + base64.b64encode(b"ann:hu:sh").decode()


class Zego(BaseHTTPRequestHandler):
    """Answers every call as if the file "a" had been deleted."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps({"Code": 0, "Data": {"Deleted": ["a"]}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Proxy(Zego):
    """A proxy for CONNECT, and for plain requests; it notes them, and takes those with the right password."""

    def __init__(self, seen: list[str], *args: object, refuses: bool) -> None:
        self.seen, self.refuses = seen, refuses
        super().__init__(*args)  # type: ignore[arg-type]

    def do_CONNECT(self) -> None:
        self.seen.append(self.requestline)
        if self.refuses or self.headers.get("Proxy-Authorization") != ALLOWED:
            self.send_error(407 if not self.refuses else 403)
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as upstream:
            self.send_response(200)
            self.end_headers()
            ends = [self.connection, upstream]
            while True:
                for ready in select.select(ends, [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        self.close_connection = True
                        return
                    ends[ready is self.connection].sendall(data)

    def do_GET(self) -> None:
        self.seen.append(self.requestline)
        if self.refuses:
            self.send_error(407)
            return
        super().do_GET()


@contextmanager
def serving(handler: object, context: ssl.SSLContext | None = None) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:  # type: ignore[arg-type]
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@contextmanager
def proxying(seen: list[str], context: ssl.SSLContext | None = None, *, refuses: bool = False) -> Iterator[int]:
    with serving(partial(Proxy, seen, refuses=refuses), context) as port:
        yield port


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def zego(tls: ssl.SSLContext) -> Iterator[str]:
    with serving(Zego, tls) as port:
        yield f"https://127.0.0.1:{port}/"


def delete(url: str, proxy: str | None, ca_file: str | None, *, may_send: bool = True) -> DeleteAnswer:
    now = datetime(2026, 8, 1, tzinfo=UTC)
    with ZegoClient("1", SECRET, url, now=lambda: now, proxy=proxy, ca_file=ca_file) as client:
        assert "hu:sh" not in repr(client)
        answer = client.delete_media(Vendor.TENCENT, ["a"], may_send=lambda: may_send)
    assert not {"hu:sh", "hu%3Ash", SECRET, "Signature"} & {*answer.message.split()}
    assert "hu%3Ash" not in answer.message
    return answer


def test_a_call_goes_through_the_proxy_in_a_tunnel_that_it_cannot_look_into(zego: str, ca_file: str) -> None:
    seen: list[str] = []
    with proxying(seen) as port:
        answer = delete(zego, f"http://ann:hu%3Ash@127.0.0.1:{port}", ca_file)
    assert (answer.transport, answer.deleted) == (Transport.ANSWERED, A)
    assert [line.rpartition(" ")[0] for line in seen] == [f"CONNECT {urlsplit(zego).netloc}"]


def test_a_proxy_may_speak_tls_itself(zego: str, ca_file: str, tls: ssl.SSLContext) -> None:
    seen: list[str] = []
    with proxying(seen, tls) as port:
        answer = delete(zego, f"https://ann:hu%3Ash@127.0.0.1:{port}", ca_file)
    assert (answer.transport, answer.deleted, len(seen)) == (Transport.ANSWERED, A, 1)


def test_a_plain_call_goes_through_the_proxy_as_well() -> None:
    seen: list[str] = []
    with proxying(seen) as port:
        answer = delete("http://zego.invalid/", f"http://127.0.0.1:{port}", None)
    assert (answer.transport, answer.deleted) == (Transport.ANSWERED, A)
    assert seen[0].startswith("GET http://zego.invalid/?Action=DeleteMedia&")


@pytest.mark.parametrize(
    ("refuses", "password", "says"),
    [(True, "hu%3Ash", "403 Forbidden"), (False, "wrong", "407 Proxy Authentication Required")],
)
def test_a_proxy_that_refuses_is_named_and_nothing_was_sent(
    zego: str, ca_file: str, *, refuses: bool, password: str, says: str
) -> None:
    with proxying([], refuses=refuses) as port:
        answer = delete(zego, f"http://ann:{password}@127.0.0.1:{port}", ca_file)
    through = f"(through the proxy 127.0.0.1:{port})"
    assert answer.transport is Transport.NOT_SENT
    assert answer.message == f"nothing was sent to ZEGO: Tunnel connection failed: {says} {through}"


def test_a_proxy_that_is_not_there_is_named_and_nothing_was_sent(zego: str, ca_file: str, free_port: int) -> None:
    answer = delete(zego, f"http://ann:hu%3Ash@127.0.0.1:{free_port}", ca_file)
    assert answer.transport is Transport.NOT_SENT
    assert answer.message.endswith(f"Connection refused (through the proxy 127.0.0.1:{free_port})")


def test_a_call_that_may_not_be_sent_any_more_does_not_pass_the_tunnel(zego: str, ca_file: str) -> None:
    seen: list[str] = []
    with proxying(seen) as port:
        answer = delete(zego, f"http://ann:hu%3Ash@127.0.0.1:{port}", ca_file, may_send=False)
    assert (answer.transport, len(seen)) == (Transport.NOT_SENT, 1)
    assert "the request was held back before it was sent" in answer.message


def test_a_tunnel_that_breaks_after_the_call_was_sent_leaves_it_unknown(ca_file: str, tls: ssl.SSLContext) -> None:
    class Silent(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)

    with serving(Silent, tls) as zego, proxying([]) as port:
        answer = delete(f"https://127.0.0.1:{zego}/", f"http://ann:hu%3Ash@127.0.0.1:{port}", ca_file)
    assert answer.transport is Transport.LOST


def test_what_asks_for_a_password_behind_the_tunnel_is_no_proxy_so_the_call_may_have_arrived(
    ca_file: str, tls: ssl.SSLContext
) -> None:
    class Asking(Zego):
        def do_GET(self) -> None:
            self.send_error(407)

    with serving(Asking, tls) as zego, proxying([]) as port:
        answer = delete(f"https://127.0.0.1:{zego}/", f"http://ann:hu%3Ash@127.0.0.1:{port}", ca_file)
    assert (answer.transport, answer.http_status) == (Transport.ANSWERED, 407)


def test_a_certificate_is_checked_against_the_file_and_else_against_the_systems(zego: str, ca_file: str) -> None:
    assert delete(zego, None, ca_file).deleted == A
    unknown = delete(zego, None, None)
    assert unknown.transport is Transport.NOT_SENT
    assert "certificate verify failed" in unknown.message
    with proxying([]) as port:
        unknown = delete(zego, f"http://ann:hu%3Ash@127.0.0.1:{port}", None)
    assert unknown.transport is Transport.NOT_SENT
    assert "certificate verify failed" in unknown.message
    assert "(through the proxy 127.0.0.1:" in unknown.message


def test_variables_of_other_programs_are_ignored(
    zego: str, ca_file: str, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port}")
    assert delete(zego, None, ca_file).deleted == A
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, ca_file)
    assert delete(zego, None, None).transport is Transport.NOT_SENT


def test_a_certificate_that_the_system_trusts_is_trusted(
    zego: str, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = ssl.get_default_verify_paths()._replace(openssl_cafile=ca_file)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    assert delete(zego, None, None).deleted == A


def test_the_doctor_says_what_stands_in_the_way(
    zego: str, ca_file: str, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def examine(url: str = zego, **settings: str) -> str:
        main(["doctor", "--json"], environ=environment(sqlite_url, url, **settings))
        checks = map(json.loads, capsys.readouterr().out.splitlines())
        return next(f"{check['text']} → {check['fix']}" for check in checks if check["check"].startswith("app"))

    with proxying([], refuses=True) as port:
        refused = examine(API_PROXY=f"http://ann:hu%3Ash@127.0.0.1:{port}", API_CA_FILE=ca_file)
    assert "403 Forbidden" in refused
    assert refused.endswith(" or ZEGO_RETENTION_API_PROXY")
    assert "hu%3Ash" not in refused
    assert examine().endswith("or name it as ZEGO_RETENTION_API_CA_FILE")
    plain = "http://zego.invalid/"
    with proxying([], refuses=True) as port:
        proxy = f"http://ann:hu%3Ash@127.0.0.1:{port}"
        answer = delete(plain, proxy, None)
        assert (answer.transport, answer.deleted) == (Transport.NOT_SENT, frozenset())
        refused = examine(plain, API_PROXY=proxy, ALLOW_PLAIN_HTTP="true")
    assert "nothing was sent to ZEGO: 407 Proxy Authentication Required (through the proxy 127.0.0.1:" in refused
    assert refused.endswith(" or ZEGO_RETENTION_API_PROXY")
    assert "hu%3Ash" not in refused


def test_a_file_of_certificates_that_has_gone_is_named(zego: str, ca_file: str) -> None:
    gone = f"{ca_file}.gone"
    assert gone in delete(zego, None, gone).message
