"""`/healthz` and `/readyz`: this process is alive; this process can take callbacks durably now."""

from __future__ import annotations

import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import structlog
from flask import Blueprint, Response

from service.db.engine import DatabaseUnavailable
from service.setting_report import describe_settings
from service.usecases.auditing import record_start
from service.usecases.health import prove_durable
from service.web.problems import problem
from service.web.remembered import Remembered
from service.wiring import prepare_database

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.wiring import Service

_REMEMBERED_S: Final = 1.0
_PATIENCE_S: Final = 5.0

log = structlog.get_logger(__name__)


class Readiness:
    """Whether callbacks can be taken; makes the database ready as soon as that is possible, once."""

    def __init__(self, service: Service, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._service = service
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._prepared = False
        self._failure: tuple[float, str] | None = None
        self._proof = Remembered(self._prove, lambda _answer, _took: _REMEMBERED_S, monotonic)

    def ensure_prepared(self) -> None:
        """Make the database ready unless it is. A failure is remembered for a second: nobody queues for the next.

        Raises:
            DatabaseUnavailable: it is not ready; the text says why.
        """
        if self._prepared:
            return
        if not self._lock.acquire(timeout=_PATIENCE_S):
            raise DatabaseUnavailable("the database is still being made ready")
        try:
            self._prepare()
        finally:
            self._lock.release()

    def try_to_prepare(self) -> None:
        """Make the database ready if that works now; if not, it is tried again when somebody asks."""
        try:
            self.ensure_prepared()
        except DatabaseUnavailable as error:
            log.error("database_not_ready", detail=str(error))

    def find_fault(self) -> str | None:
        """What keeps callbacks from being stored now; None if nothing does. The answer is up to a second old."""
        return self._proof.get()

    def _prepare(self) -> None:
        if self._prepared:
            return
        if self._failure is not None and self._monotonic() < self._failure[0]:
            raise DatabaseUnavailable(self._failure[1])
        try:
            prepare_database(self._service)
        except DatabaseUnavailable as error:
            self._failure = (self._monotonic() + _REMEMBERED_S, str(error))
            raise
        self._prepared = True
        self._record_start()

    def _record_start(self) -> None:
        service = self._service
        try:
            record_start(service.database, "web", describe_settings(service.settings), service.now())
        except DatabaseUnavailable as error:  # it must not take the callback URL away
            log.warning("start_not_recorded", detail=str(error))

    def _prove(self) -> str | None:
        try:
            self.ensure_prepared()
            prove_durable(self._service.database, self._service.sweeper.name, self._service.now())
        except DatabaseUnavailable as error:
            return str(error)
        except Exception as error:
            log.exception("readiness_unknown")
            return f"an error on our side ({type(error).__name__}); the log says more"
        return None


def health_blueprint(readiness: Readiness) -> Blueprint:
    """The two paths for probes."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/healthz")
    def tell_alive() -> Response:
        return _say("alive")

    @blueprint.get("/readyz")
    def tell_ready() -> Response:
        fault = readiness.find_fault()
        if fault is None:
            return _say("ready")
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, fault, retry_after_s=1)

    return blueprint


def _say(word: str) -> Response:
    return Response(f"{word}\n", content_type="text/plain; charset=utf-8")
