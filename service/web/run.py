"""The web side as a process."""

from __future__ import annotations

import os

from service.settings import Settings
from service.stopping import follow_lifeline
from service.web.address import bind
from service.web.app import create_app
from service.web.front import create_front
from service.web.server import serve


def run_web(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; requests that have arrived whole are finished. CannotListen if it cannot."""
    follow_lifeline(os.environ)
    sockets = bind(settings.listen)
    app = create_app(settings)
    try:
        serve(create_front(app), settings.listen, sockets)
    finally:
        app.extensions["zego-retention"].close()
