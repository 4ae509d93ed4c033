"""A floor for the ingest: our web side without a database, which stores nothing."""

from __future__ import annotations

import os
import sys
from concurrent.futures import Future

from service.callbacks.writer import Writer
from service.settings import Listen, load_settings
from service.web.address import bind
from service.web.app import create_app
from service.web.front import create_front
from service.web.server import serve

DONE: Future[None] = Future()
DONE.set_result(None)


if __name__ == "__main__":
    Writer.store = lambda *_: DONE  # type: ignore[method-assign]
    listen = Listen("127.0.0.1", int(sys.argv[1]))
    serve(create_front(create_app(load_settings(os.environ))), listen, bind(listen))
