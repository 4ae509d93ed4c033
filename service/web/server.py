"""The web side as a process: waitress in front of the application.

waitress takes a request in whole before a thread works on it, so that no slow client can hold a thread. A server whose
threads read the bodies themselves loses the callback URL to a few hundred half-sent requests.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

import structlog
from waitress import wasyncore
from waitress.server import create_server

from service.db.engine import DatabaseUnavailable
from service.lifeline import follow_lifeline
from service.logs import configure_logging
from service.settings import Listen
from service.web.address import CannotListen, find_address
from service.web.app import create_app
from service.wiring import open_service

if TYPE_CHECKING:
    from types import FrameType

    from service.settings import Settings

_THREADS: Final = 16
_CONNECTIONS: Final = 900  # below the 1,024 files that a process may commonly have open
_IDLE_S: Final = 75  # longer than load balancers keep an idle connection (60 s)
_MOST_BYTES: Final = 4 * 1024 * 1024  # taken in at all; the application has its own, lower limits
_LAST_LOOKS: Final = 20

log = structlog.get_logger(__name__)


def run_web(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; requests that a thread works on are finished. Returns the exit code."""
    configure_logging(settings.log_format, settings.log_level)
    follow_lifeline(os.environ)
    try:
        listen = Listen(find_address(settings.listen), settings.listen.port)
        _look_at_database(settings)
    except (CannotListen, DatabaseUnavailable) as error:
        sys.stderr.write(f"zego-retention: {error}\n")
        return 1
    _serve(settings, listen)
    return 0


def _serve(settings: Settings, listen: Listen) -> None:
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # that a request waits for a thread is no news
    sockets: dict[int, Any] = {}
    server = create_server(
        create_app(settings),
        map=sockets,
        listen=str(listen),
        threads=_THREADS,
        connection_limit=_CONNECTIONS,
        channel_timeout=_IDLE_S,
        max_request_body_size=_MOST_BYTES,
        asyncore_use_poll=True,
        ident=None,
    )
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _leave)
    log.info("web_started", listen=str(settings.listen))
    server.run()  # returns after SystemExit, when its threads are done
    server.close()
    wasyncore.loop(timeout=0.05, use_poll=True, map=sockets, count=_LAST_LOOKS)  # sends the last answers
    log.info("web_stopped")


def _leave(_signum: int, _frame: FrameType | None) -> None:
    raise SystemExit


def _look_at_database(settings: Settings) -> None:
    """Make the database ready. One that is away may come back, and the web side waits for it; a file does not."""
    try:
        open_service(settings).close()
    except DatabaseUnavailable as error:
        if settings.database_url.startswith("sqlite"):
            raise
        log.error("database_not_ready", detail=str(error))
