"""Logs on standard error: one line per event, for people or as JSON, the libraries' records among them."""

from __future__ import annotations

import logging
import sys
from typing import Final, Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_QUIETED: Final = {
    "alembic.runtime": logging.WARNING,
    "apscheduler": logging.WARNING,
    "urllib3": logging.INFO,  # its DEBUG records hold the signed URLs of calls to ZEGO
}


def is_for_people(log_format: Literal["console", "json"] | None) -> bool:
    """Whether the log is lines of text, and not JSON."""
    return log_format == "console" or (log_format is None and sys.stderr.isatty())


def configure_logging(log_format: Literal["console", "json"] | None, log_level: str) -> None:
    """Send every record of this process from `log_level` on to standard error; each call replaces the earlier ones.

    Without a format it is `console` if standard error is a terminal, else `json`.
    """
    every_record: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderers: list[Processor]  # neither shows the local variables of a traceback: they may hold secrets
    if is_for_people(log_format):
        plain = structlog.dev.plain_traceback
        renderers = [_escape, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    else:
        transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        renderers = [structlog.processors.ExceptionRenderer(transformer), structlog.processors.JSONRenderer()]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*every_record, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
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


def _escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape control characters: what strangers send may neither forge a line nor steer a terminal."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[name] = "".join(each if each.isprintable() else repr(each)[1:-1] for each in value)
    return event
