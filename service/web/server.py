"""The web side's server: waitress in front of an application.

waitress reads a request whole before a thread works on it, so that no slow client can hold a thread. A server whose
threads read the bodies themselves loses the callback URL to a few hundred half-sent requests.
"""

from __future__ import annotations

import logging
import resource
import signal
import time
from types import FrameType
from typing import Any, Final
from wsgiref.types import WSGIApplication

import structlog
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import create_server

from service.settings import Listen
from service.web.address import find_address
from service.web.threads import THREADS

_MAX_CONNECTIONS: Final = 4_000
_FILES_FOR_OTHERS: Final = 200  # the database's connections, logs and the like
_MAX_IDLE_S: Final = 75  # longer than load balancers keep an idle connection (60 s)
_MAX_BYTES: Final = 4 * 1024 * 1024  # of any body; the application has its own, lower limits
_MAX_FINISH_S: Final = 15.0  # longer than a callback waits to be stored

log = structlog.get_logger(__name__)


class _Channel(HTTPChannel):
    """A connection whose thread is left alone while it sends an answer.

    waitress's main thread takes what has to be sent as something that it could send itself: it looks again and again,
    and by that keeps the very thread from running that is sending. With 200 connections it did hardly anything else.
    """

    def writable(self) -> bool:
        if self.requests and self.total_outbufs_len:
            if not self.outbuf_lock.acquire(blocking=False):
                return False  # that thread wakes the main thread when it is done
            self.outbuf_lock.release()
        return bool(super().writable())


def serve(application: WSGIApplication, listen: Listen) -> None:
    """Serve until SIGTERM or SIGINT; requests that have arrived whole are finished. In the main thread only.

    Raises:
        CannotListen: the address cannot be had.
    """
    address = Listen(find_address(listen), listen.port)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # that a request waits for a thread is no news
    sockets: dict[int, Any] = {}
    server: Any = create_server(
        application,
        map=sockets,
        listen=str(address),
        threads=THREADS,
        connection_limit=_raise_limit_of_files() - _FILES_FOR_OTHERS,
        backlog=2_048,
        channel_timeout=_MAX_IDLE_S,
        max_request_body_size=_MAX_BYTES,
        asyncore_use_poll=True,
        ident=None,
    )
    server.channel_class = _Channel
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _leave)
    log.info("web_started", listen=str(listen))
    try:
        wasyncore.loop(timeout=1, use_poll=True, map=sockets)
    except SystemExit:
        _finish(server, sockets)
    log.info("web_stopped")


def _finish(server: Any, sockets: dict[int, Any]) -> None:  # noqa: ANN401  (waitress's types leave out what is needed)
    """Accept nobody any more, answer what has arrived whole, then end the threads."""
    wasyncore.dispatcher.close(server)
    deadline = time.monotonic() + _MAX_FINISH_S
    while server.active_channels and time.monotonic() < deadline:
        wasyncore.loop(timeout=0.05, use_poll=True, map=sockets, count=1)
        for channel in list(server.active_channels.values()):
            if not channel.requests and not channel.total_outbufs_len:
                channel.handle_close()
    server.task_dispatcher.shutdown()


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
