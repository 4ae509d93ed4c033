"""Floors for the ingest, under the same server as ours: `bare` answers 1, `application` is ours and stores nothing."""

from __future__ import annotations

import os
import sys
from concurrent.futures import Future
from typing import Any

from service.callbacks.writer import Writer
from service.settings import Listen, load_settings
from service.web.address import bind
from service.web.app import create_app
from service.web.front import create_front
from service.web.server import serve

DONE: Future[None] = Future()
DONE.set_result(None)


async def answer(_scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
    await send({"type": "http.response.body", "body": b"1"})


if __name__ == "__main__":
    kind, port = sys.argv[1:]
    Writer.store = lambda *_: DONE  # type: ignore[method-assign]
    listen = Listen("127.0.0.1", int(port))
    application: Any = answer if kind == "bare" else create_front(create_app(load_settings(os.environ)))
    serve(application, listen, bind(listen))
