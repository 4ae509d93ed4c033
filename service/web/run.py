"""The web side as a process."""

from __future__ import annotations

import os
import sys

from service.database import DatabaseUnavailable
from service.logs import configure_logging
from service.settings import Settings
from service.stopping import follow_lifeline
from service.web.address import CannotListen, bind
from service.web.app import create_app
from service.web.front import create_front
from service.web.server import serve


def run_web(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; requests that have arrived whole are finished. Returns the exit code."""
    configure_logging(settings.log_format, settings.log_level)
    follow_lifeline(os.environ)
    try:
        sockets = bind(settings.listen)
        app = create_app(settings)
        try:
            serve(create_front(app), settings.listen, sockets)
        finally:
            app.extensions["zego-retention"].close()
    except (CannotListen, DatabaseUnavailable) as error:
        sys.stderr.write(f"zego-retention: {error}\n")
        return 1
    return 0
