"""What the demo plays on: a ZEGO on loopback, the real web side, the real service on SQLite in a temporary folder."""

from __future__ import annotations

import secrets
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from flask import Flask

from service.demo.recordings import APP_ID, store_recordings
from service.sandbox import Sandbox
from service.settings import Listen, load_settings
from service.web.address import bind
from service.web.app import create_app
from service.web.front import create_front
from service.web.server import build_server
from service.wiring import Service, open_service

# A proxy of the surroundings has no business between two ends of one process.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Stage:
    """The parts, ready: ZEGO, the service (it leads), the address of the web side, and the callback secret."""

    sandbox: Sandbox
    service: Service
    url: str
    callback_secret: str

    def post_callback(self, body: bytes, content_type: str) -> int:
        """Send a callback as ZEGO would; the status of the answer."""
        request = urllib.request.Request(  # noqa: S310  (an address of this stage)
            f"{self.url}/zego/callback", data=body, headers={"Content-Type": content_type}, method="POST"
        )
        try:
            with _direct.open(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code


@contextmanager
def open_stage(now: Callable[[], datetime]) -> Iterator[Stage]:
    """Set everything up, and take everything away at the end of the block."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zego-retention-demo-")))
        server_secret, callback_secret = secrets.token_hex(16), secrets.token_hex(16)
        sandbox = stack.enter_context(Sandbox({APP_ID: server_secret}, now))
        store_recordings(sandbox, now())
        variables = {
            "DATABASE_URL": f"sqlite:///{folder / 'demo.db'}",
            "APP_ID": APP_ID,
            "SERVER_SECRET": server_secret,
            "CALLBACK_SECRET": callback_secret,
            "API_URL": sandbox.url,
        }
        settings = load_settings({f"ZEGO_RETENTION_{name}": value for name, value in variables.items()})
        service = open_service(settings, now=now, creates_database=True)
        stack.callback(service.close)
        service.leader.try_to_lead()
        service.take_over(makes_calls=False)  # (there was no leader before whose calls could still be under way)
        url = stack.enter_context(_serve(create_app(settings, now=now)))
        yield Stage(sandbox, service, url, callback_secret)


@contextmanager
def _serve(app: Flask) -> Iterator[str]:
    """The web side on a free port of loopback; its address."""
    listen = Listen("127.0.0.1", 0)
    sockets = bind(listen)
    port = sockets[0].getsockname()[1]
    server = build_server(create_front(app))
    thread = threading.Thread(target=server.run, args=(sockets,), name="web", daemon=True)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
        app.extensions["zego-retention"].close()
