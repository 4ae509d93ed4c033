"""Floors for the ingest, under the same server as ours: `bare` answers 1, `application` is ours and stores nothing."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from service.callbacks.writer import Writer
from service.settings import Listen, load_settings
from service.web.app import create_app
from service.web.server import serve

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "1")])
    return [b"1"]


if __name__ == "__main__":
    kind, port = sys.argv[1:]
    Writer.store = lambda *_: None  # type: ignore[method-assign]
    serve(answer if kind == "bare" else create_app(load_settings(os.environ)), Listen("127.0.0.1", int(port)))
