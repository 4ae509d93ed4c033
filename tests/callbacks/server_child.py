"""A web side of nothing but the callback URL, as a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask

from service.callbacks.receive import Inbox
from service.callbacks.writer import Writer
from service.database import Database
from service.settings import Listen
from service.web.callback import answer_callbacks
from service.web.server import serve
from service.web.threads import Threads
from tests.callbacks.callback_scene import APP, SECRET, START
from tests.children import be_silent

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def serve_callbacks(report: Connection, url: str, port: int) -> None:
    """Serve until SIGTERM; reports that it ended by itself."""
    be_silent()
    database = Database(url)
    writer = Writer(database)
    app = Flask("a test", static_folder=None)
    threads = Threads(lambda: writer.oldest_wait_s)
    inbox = Inbox(database, writer, {APP: [SECRET]}, lambda: START)
    app.add_url_rule("/healthz", view_func=lambda: "alive", endpoint="healthz")
    app.wsgi_app = answer_callbacks(  # type: ignore[assignment, method-assign]
        threads.limit(app.wsgi_app), inbox, threads, lambda *_: None
    )
    serve(app, Listen("127.0.0.1", port))
    writer.stop()
    report.send("ended")
