"""The web side as a process: granian in front of the application."""

from __future__ import annotations

import multiprocessing
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels

from service.db.engine import DatabaseUnavailable
from service.lifeline import follow_lifeline, follow_parent_process
from service.logs import configure_logging, granian_log_config
from service.web.address import CannotListen, find_address
from service.web.app import create_app
from service.web.front import Front
from service.wiring import open_service

if TYPE_CHECKING:
    from service.settings import Settings

_HEADER_MS: Final = 15_000  # also how long a connection may stay open and idle
_KILL_AFTER_S: Final = 30  # longer than a slow body and SQLite's patience with another writer together

log = structlog.get_logger(__name__)


def run_web(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; requests under way are finished. Returns the exit code."""
    configure_logging(settings.log_format, settings.log_level)
    follow_lifeline(os.environ)
    try:
        address = find_address(settings.listen)
        _look_at_database(settings)
    except (CannotListen, DatabaseUnavailable) as error:
        sys.stderr.write(f"zego-retention: {error}\n")
        return 1
    log.info("web_started", listen=str(settings.listen))
    try:
        _build_server(address, settings.listen.port).serve(
            target_loader=partial(_load_app, settings), wrap_loader=False
        )
    except SystemExit as over:
        log.error("web_failed", detail="the process that serves ended; the log above may say why")
        return over.code if isinstance(over.code, int) else 1
    log.info("web_stopped")
    return 0


def _look_at_database(settings: Settings) -> None:
    """Make the database ready. One that is away may come back, and the web side waits for it; a file does not."""
    try:
        open_service(settings).close()
    except DatabaseUnavailable as error:
        if settings.database_url.startswith("sqlite"):
            raise
        log.error("database_not_ready", detail=str(error))


def _build_server(address: str, port: int) -> Any:  # noqa: ANN401  (one of two classes, by the interpreter)
    # A fresh interpreter for the serving process, the same on every release of Python: nothing is shared by accident.
    multiprocessing.set_start_method("spawn", force=True)
    return Granian(
        "service:create_app",
        address=address,
        port=port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=_HEADER_MS),
        websockets=False,
        workers=1,
        respawn_failed_workers=True,
        workers_kill_timeout=_KILL_AFTER_S,
        log_level=LogLevels.error,
        log_dictconfig=granian_log_config(),
    )


def _load_app(settings: Settings) -> Front:
    """In the serving process: build the application, and what stands before it."""
    configure_logging(settings.log_format, settings.log_level)
    follow_parent_process()
    return Front(create_app(settings))
