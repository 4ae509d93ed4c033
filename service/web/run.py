"""The web side as a process."""

from __future__ import annotations

import os
import sys

import structlog

from service.database import DatabaseUnavailable
from service.logs import configure_logging
from service.settings import Settings
from service.stopping import follow_lifeline
from service.web.address import CannotListen, bind
from service.web.app import create_app
from service.web.front import create_front
from service.web.server import serve
from service.wiring import open_service

log = structlog.get_logger(__name__)


def run_web(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; requests that have arrived whole are finished. Returns the exit code."""
    configure_logging(settings.log_format, settings.log_level)
    follow_lifeline(os.environ)
    try:
        sockets = bind(settings.listen)
        _look_at_database(settings)
        app = create_app(settings)
        try:
            serve(create_front(app), settings.listen, sockets)
        finally:
            app.extensions["zego-retention"].close()
    except (CannotListen, DatabaseUnavailable) as error:
        sys.stderr.write(f"zego-retention: {error}\n")
        return 1
    return 0


def _look_at_database(settings: Settings) -> None:
    """Make the database ready. A server that is away may come back, and the web side waits for it; a file does not.

    Raises:
        DatabaseUnavailable: the file cannot be used.
    """
    try:
        open_service(settings, creates_database=True).close()
    except DatabaseUnavailable as error:
        if settings.database_url.startswith("sqlite"):
            raise
        log.error("database_not_ready", detail=str(error))
