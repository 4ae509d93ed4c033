"""The web side's server: uvicorn, with what it leaves to do."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from types import FrameType
from typing import Final

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.settings import Listen, Settings
from service.stopping import follow_lifeline
from service.web.address import bind
from service.web.app import create_app
from service.web.front import Front, create_front
from service.web.inherited import describe_sockets, open_inherited

_MAX_CONNECTIONS: Final = 4_000
_FILES_FOR_OTHERS: Final = 200  # the database's connections, logs and the like
_MAX_IDLE_S: Final = 75  # longer than load balancers keep an idle connection (60 s)
_MAX_SWITCH_S: Final = 0.0001  # a callback needs the interpreter some ten times, and only briefly, beside busy pages
_MAX_FINISH_S: Final = 15  # longer than a callback waits to be stored

log = structlog.get_logger(__name__)


class _Protocol(HttpToolsProtocol):
    """A connection that is closed when the rest of a request does not come: half-sent ones would stay for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._limit_wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete or cycle.more_body:
            self._limit_wait()

    def _limit_wait(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)


def build_server(front: Front, max_idle_s: int = _MAX_IDLE_S) -> uvicorn.Server:
    """A server; its `run(sockets)` serves until SIGTERM or SIGINT. It waits `max_idle_s` for the rest of a request."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    config = uvicorn.Config(
        front,
        http=_Protocol,
        loop="uvloop",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_raise_limit_of_files() - _FILES_FOR_OTHERS,
        timeout_keep_alive=max_idle_s,
        timeout_graceful_shutdown=_MAX_FINISH_S,
    )
    return uvicorn.Server(config)


def run_web(settings: Settings) -> None:
    """Run the web side as a process: until SIGTERM or SIGINT, or CannotListen."""
    follow_lifeline(os.environ)
    if sockets := open_inherited(os.environ):
        log.info("sockets_inherited", addresses=describe_sockets(sockets))
    else:
        sockets = bind(settings.listen)
    app = create_app(settings)
    app.extensions["zego-retention"].notifier.start()
    app.extensions["zego-retention"].writer.start()  # what waits in the spool does not wait for the next callback
    try:
        serve(create_front(app), settings.listen, sockets)
    finally:
        app.extensions["zego-retention"].close()


def serve(front: Front, listen: Listen, sockets: list[socket.socket], max_idle_s: int = _MAX_IDLE_S) -> None:
    """Serve until SIGTERM or SIGINT; requests that have arrived whole are finished. In the main thread only."""
    server = build_server(front, max_idle_s)
    sys.setswitchinterval(_MAX_SWITCH_S)
    gc.collect()
    gc.freeze()  # what is loaded stays: looking through it again would stop all callbacks for a tenth of a second
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _leave)
    log.info("web_started", listen=str(listen))
    with suppress(SystemExit):  # uvicorn raises the signal again when it has finished
        server.run(sockets)
    log.info("web_stopped")


def _raise_limit_of_files() -> int:
    """Let this process open as many files as it may; returns how many, at most as many as connections are of use."""
    wanted = _MAX_CONNECTIONS + _FILES_FOR_OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else min(soft, wanted)


def _leave(_signum: int, _frame: FrameType | None) -> None:
    raise SystemExit
