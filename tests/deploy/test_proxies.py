"""The service behind the reverse proxies of deploy/: Debian's nginx and Caddy, with TLS, in front of real processes."""

from __future__ import annotations

import http.client
import os
import shutil
import ssl
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from service.web.callback import MAX_BODY_BYTES
from tests.deploy.image import ROOT
from tests.processes import MAX_WAIT_S, answers, running, signed_callback, wait_until
from tests.world import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPLOY = ROOT / "deploy"
NAME = "retention.example.com"
CLAIMS = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "evil.example.com"}
ZEGO, SOMEBODY = "127.0.0.2", "127.0.0.3"
"""Clients that are not the proxy itself."""

TOKEN = "a-path-that-only-zego-knows"

pytestmark = pytest.mark.long


@dataclass
class Answer:
    status: int
    body: bytes
    headers: http.client.HTTPMessage


@dataclass
class Proxy:
    """A reverse proxy that runs, and who trusts it."""

    port: int
    authority: trustme.CA
    process: subprocess.Popen[bytes]

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        sender: str = ZEGO,
        claims: dict[str, str] | None = None,
    ) -> Answer:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=MAX_WAIT_S, context=context, source_address=(sender, 0)
        )
        connection.connect = lambda: _connect(connection, context)  # type: ignore[method-assign]
        try:
            connection.request(method, path, body=body, headers={"Host": NAME, **(claims or {})})
            response = connection.getresponse()
            return Answer(response.status, response.read(), response.headers)
        finally:
            connection.close()


def _connect(connection: http.client.HTTPSConnection, context: ssl.SSLContext) -> None:
    """To this machine, but by the name that the certificate is for."""
    http.client.HTTPConnection.connect(connection)
    connection.sock = context.wrap_socket(connection.sock, server_hostname=NAME)


def change(text: str, *changes: tuple[str, str]) -> str:
    """A file of deploy/ with addresses and paths of this test; each of them has to be there."""
    for before, after in changes:
        assert before in text, before
        text = text.replace(before, after)
    return text


def find(program: str) -> str:
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    assert found, f"there is no {program}; as root: apt-get install {program} (`make test-long` does so as root)"
    return found


def nginx(folder: Path, port: int, plain_port: int, upstream: int) -> list[str]:
    site = change(
        (DEPLOY / "nginx.conf").read_text(encoding="utf-8"),
        ("127.0.0.1:8080", f"127.0.0.1:{upstream}"),
        ("listen 80;", f"listen 127.0.0.1:{plain_port};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("/etc/ssl/retention", str(folder)),
    )
    scratch = [f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
    main = ["daemon off;", f"pid {folder}/pid;", f"error_log {folder}/error.log;"]
    main += ["user root;"] if os.geteuid() == 0 else []
    http_block = ["http {", f"access_log {folder}/access.log;", *scratch, site, "}"]
    (folder / "nginx.conf").write_text("\n".join([*main, "events {}", *http_block]), encoding="utf-8")
    return [find("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]


def caddy(folder: Path, port: int, plain_port: int, upstream: int) -> list[str]:
    site = change(
        (DEPLOY / "Caddyfile").read_text(encoding="utf-8"),
        ("127.0.0.1:8080", f"127.0.0.1:{upstream}"),
        (f"{NAME} {{", f"{NAME} {{\n\ttls {folder}/fullchain.pem {folder}/key.pem\n\tbind 127.0.0.1"),
    )
    ports = f"{{\n\tadmin off\n\thttps_port {port}\n\thttp_port {plain_port}\n}}\n"
    (folder / "Caddyfile").write_text(ports + site, encoding="utf-8")
    return [find("caddy"), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


COMMANDS = {"nginx": nginx, "caddy": caddy}


@contextmanager
def proxy(kind: str, folder: Path, port: int, plain_port: int, upstream: int) -> Iterator[Proxy]:
    authority = trustme.CA()
    certificate = authority.issue_cert(NAME)
    folder.mkdir()
    (folder / "fullchain.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    home = os.environ | {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            COMMANDS[kind](folder, port, plain_port, upstream), env=home, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: answers(port) or process.poll() is not None)
        assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
        yield Proxy(port, authority, process)
    finally:
        process.terminate()
        process.wait(MAX_WAIT_S)


@pytest.mark.parametrize("kind", COMMANDS)
def test_callbacks_pages_and_limits_through_it(
    kind: str, sqlite_url: str, tmp_path: Path, free_ports: list[int]
) -> None:
    port, plain_port, upstream = free_ports
    settings = {"LISTEN": f"127.0.0.1:{upstream}", "PUBLIC_URL": f"https://{NAME}", "LOG_FORMAT": "json"}
    variables = environment(sqlite_url, "http://127.0.0.1:9/", **settings)
    with (
        running("web", variables, tmp_path) as web,
        proxy(kind, tmp_path / "proxy", port, plain_port, upstream) as front,
    ):
        web.wait_for("web_started")
        wait_until(lambda: answers(upstream))
        taken = front.ask("POST", "/zego/callback", signed_callback("a"))
        assert (taken.status, taken.body) == (200, b"1")
        assert front.ask("GET", "/readyz").status == 200
        assert front.ask("GET", "/metrics").status == 404
        assert front.ask("POST", "/zego/callback", b"{" + b" " * (MAX_BODY_BYTES - 1)).status == 400, "just fits"
        assert front.ask("POST", "/zego/callback", b"{" + b" " * (MAX_BODY_BYTES + 100)).status == 413
        assert front.ask("POST", "/api/v1/rules/previews", b"x" * 200_000).status == 401, (
            "rules may be longer than callbacks"
        )
        assert front.ask("POST", "/api/v1/rules/previews", b"x" * 1_100_000).status == 413
        page = front.ask("GET", "/sign-in", claims=CLAIMS)
        assert page.status == 200
        assert b"plain http" not in page.body.lower(), "it is https, whatever the client claims"
        plain = http.client.HTTPConnection("127.0.0.1", plain_port, timeout=MAX_WAIT_S)
        plain.request("GET", "/sign-in", headers={"Host": NAME})
        moved = plain.getresponse()
        assert (moved.status // 100, moved.headers["Location"].rstrip("/")) == (3, f"https://{NAME}/sign-in")
        plain.close()


@pytest.mark.parametrize("kind", COMMANDS)
def test_what_a_client_claims_about_itself_is_dropped(kind: str, tmp_path: Path, free_ports: list[int]) -> None:
    port, plain_port, upstream = free_ports
    seen: list[dict[str, str]] = []

    class Upstream(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", upstream), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with proxy(kind, tmp_path / "proxy", port, plain_port, upstream) as front:
            assert front.ask("GET", "/", claims=CLAIMS).status == 204
    finally:
        server.shutdown()
        server.server_close()
    [headers] = seen
    assert headers["x-forwarded-for"] == ZEGO
    assert headers["x-forwarded-proto"] == "https"
    assert headers["host"] == NAME


@pytest.mark.parametrize("kind", COMMANDS)
def test_only_zego_comes_in_where_the_entrance_is_closed_and_its_path_is_not_logged(
    kind: str, sqlite_url: str, tmp_path: Path, free_ports: list[int]
) -> None:
    port, plain_port, upstream = free_ports
    settings = {
        "LISTEN": f"127.0.0.1:{upstream}",
        "CALLBACK_TOKEN": TOKEN,
        "CALLBACK_ALLOW": ZEGO,
        "TRUSTED_PROXIES": "1",
    }
    variables = environment(sqlite_url, "http://127.0.0.1:9/", **settings)
    with (
        running("web", variables, tmp_path),
        proxy(kind, tmp_path / "proxy", port, plain_port, upstream) as front,
    ):
        wait_until(lambda: answers(upstream))
        path, body = f"/zego/callback/{TOKEN}", signed_callback("a")
        assert front.ask("POST", path, body).status == 200
        assert front.ask("POST", path, body, claims=CLAIMS).status == 200, "what it claims does not count"
        assert front.ask("POST", path, body, SOMEBODY, {"X-Forwarded-For": ZEGO}).status == 403
        assert front.ask("POST", "/zego/callback", body).status == 404
    logs = [file for file in (tmp_path / "proxy").iterdir() if file.name in ("log", "access.log", "error.log")]
    assert not [file for file in logs if TOKEN in file.read_text(encoding="utf-8")]


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_service_that_is_away_is_answered_for_and_found_again(
    kind: str, sqlite_url: str, tmp_path: Path, free_ports: list[int]
) -> None:
    port, plain_port, upstream = free_ports
    variables = environment(sqlite_url, "http://127.0.0.1:9/", LISTEN=f"127.0.0.1:{upstream}")
    with proxy(kind, tmp_path / "proxy", port, plain_port, upstream) as front:
        assert front.ask("POST", "/zego/callback", signed_callback("a")).status == 502, "ZEGO sends it again"
        with running("web", variables, tmp_path):
            wait_until(lambda: answers(upstream))
            assert front.ask("POST", "/zego/callback", signed_callback("a")).status == 200
