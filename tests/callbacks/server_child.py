"""A web side of nothing but the callback URL and a slow route, as a process of its own."""

from __future__ import annotations

import gc
import sys
import time
from typing import TYPE_CHECKING

from flask import Flask

from service.callbacks.receive import Inbox
from service.callbacks.writer import Writer
from service.database import Database
from service.settings import Listen
from service.web.address import bind
from service.web.front import Front
from service.web.server import serve
from tests.callbacks.callback_scene import APP, SECRET, START
from tests.children import be_silent

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

SLOW_S = 2.0


def serve_callbacks(report: Connection, url: str, port: int, max_idle_s: int | None = None) -> None:
    """Serve until SIGTERM; reports that it ended by itself."""
    be_silent()
    listen = Listen("127.0.0.1", port)
    database = Database(url)
    writer = Writer(database)
    app = Flask("a test", static_folder=None)
    app.add_url_rule("/slow", view_func=wait, endpoint="slow")
    app.add_url_rule("/frozen", view_func=lambda: str(gc.get_freeze_count()), endpoint="frozen")
    app.add_url_rule("/switch", view_func=lambda: str(sys.getswitchinterval()), endpoint="switch")
    app.add_url_rule("/sign-in", view_func=check, endpoint="check", methods=["POST"])
    front = Front(app, Inbox(database, writer, {APP: [SECRET]}, lambda: START), lambda *_: None)
    more = {} if max_idle_s is None else {"max_idle_s": max_idle_s}
    serve(front, listen, bind(listen), **more)
    writer.stop()
    report.send("ended")


def check() -> str:
    time.sleep(0.1)
    return "checked"


def wait() -> str:
    time.sleep(SLOW_S)
    return "done"
