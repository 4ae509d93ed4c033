"""Logs on standard error: one line per event, for people or as JSON, the libraries' records among them."""

from __future__ import annotations

import logging
import sys
from typing import Final, Literal, TypeAlias

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LogFormat: TypeAlias = Literal["console", "json"]

_QUIETED: Final = {
    "alembic.runtime": logging.WARNING,
    "apscheduler": logging.WARNING,
    "urllib3": logging.INFO,  # its DEBUG records hold the signed URLs of calls to ZEGO
}


def configure_logging(log_format: LogFormat | None, log_level: str) -> None:
    """Send every record of this process to standard error; calling it again replaces the earlier configuration.

    Args:
        log_format: `console` or `json`; None means console if standard error is a terminal, else json.
        log_level: the least severe level to be logged, by the name that `logging` gives it.
    """
    every_record: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    console = log_format == "console" or (log_format is None and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*every_record, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_console_chain() if console else _json_chain()),
            ],
        )
    )
    logging.basicConfig(level=log_level, handlers=[handler], force=True)
    for name, level in _QUIETED.items():
        logging.getLogger(name).setLevel(max(level, logging.getLogger().level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *every_record,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _json_chain() -> list[Processor]:
    # Without local variables: they may hold secrets.
    transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [structlog.processors.ExceptionRenderer(transformer), structlog.processors.JSONRenderer()]


def _console_chain() -> list[Processor]:
    # The plain traceback, because the rich one shows local variables.
    renderer = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    return [_escape_unprintable, renderer]


def _escape_unprintable(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape control characters: what strangers send may neither forge a line nor steer a terminal."""
    return {key: _escape(value) if isinstance(value, str) else value for key, value in event.items()}


def _escape(text: str) -> str:
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
