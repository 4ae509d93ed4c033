from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask import Flask, Response, request

from service.web.front import MOST_BYTES, Front, build_environ

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Headers:
    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def items(self) -> list[tuple[str, str]]:
        return self._pairs

    def get(self, name: str, default: str) -> str:
        return next((value for key, value in self._pairs if key == name), default)


@dataclass
class Scope:
    method: str = "POST"
    path: str = "/echo"
    query_string: str = "a=b&c=%20"
    http_version: str = "1.1"
    scheme: str = "http"
    server: str = "127.0.0.1:8080"
    client: str = "192.0.2.7:5555"
    headers: Headers = field(default_factory=lambda: Headers([("host", "example.com")]))


@dataclass
class Exchange:
    """A body in chunks, the last of which may never come, and the answer."""

    chunks: list[bytes] = field(default_factory=list)
    hangs: bool = False
    read: int = 0
    answer: tuple[int, dict[str, str], bytes] | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            self.read += 1
            yield chunk
        if self.hangs:
            await asyncio.Event().wait()

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.answer = status, dict(headers), body


def echo_app() -> Flask:
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 100

    @app.post("/echo")
    def echo() -> Response:
        return Response(request.get_data() + request.query_string, headers={"X-Length": str(request.content_length)})

    @app.post("/échoué")
    def stream() -> Response:
        return Response(iter([b"a", b"b"]), status=201)

    return app


def serve(scope: Scope, exchange: Exchange, body_seconds: float = 5) -> tuple[int, dict[str, str], bytes]:
    asyncio.run(Front(echo_app(), body_seconds=body_seconds).__rsgi__(scope, exchange))
    assert exchange.answer is not None
    return exchange.answer


def test_a_request_goes_through_whole() -> None:
    status, headers, body = serve(Scope(), Exchange([b"one ", b"two ", b""]))
    assert (status, body) == (200, b"one two a=b&c=%20")
    assert headers["X-Length"] == "8"


def test_an_answer_in_parts_and_a_path_beyond_ascii() -> None:
    status, _, body = serve(Scope(path="/échoué"), Exchange())
    assert (status, body) == (201, b"ab")


def test_a_body_that_stops_coming_is_answered_408() -> None:
    status, headers, body = serve(Scope(), Exchange([b"half"], hangs=True), body_seconds=0.05)
    assert status == 408
    assert headers["Connection"] == "close"
    assert json.loads(body)["status"] == 408


def test_no_more_of_a_body_is_read_than_can_be_taken() -> None:
    endless = Exchange([b"x" * 100_000] * 1000)
    assert serve(Scope(), endless)[0] == 413
    assert endless.read == MOST_BYTES // 100_000 + 1


def test_a_body_that_says_it_is_too_long_is_not_read_at_all() -> None:
    exchange = Exchange([b"x"])
    scope = Scope(headers=Headers([("content-length", str(MOST_BYTES + 1))]))
    assert serve(scope, exchange)[0] == 413
    assert exchange.read == 0


def test_environment() -> None:
    headers = Headers(
        [
            ("host", "example.com"),
            ("content-type", "application/json"),
            ("transfer-encoding", "chunked"),
            ("accept", "a"),
            ("accept", "b"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
        ]
    )
    environ = build_environ(Scope(headers=headers, client="[::1]:99"), b"four")
    assert environ["CONTENT_LENGTH"] == "4"
    assert environ["CONTENT_TYPE"] == "application/json"
    assert environ["HTTP_ACCEPT"] == "a,b"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["REMOTE_ADDR"] == "::1"
    assert environ["SERVER_PORT"] == "8080"
    assert "HTTP_TRANSFER_ENCODING" not in environ
