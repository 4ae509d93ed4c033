"""`/healthz`, `/readyz` and `/metrics`; and making the database ready as soon as that is possible."""

from __future__ import annotations

import threading
import time
from http import HTTPStatus
from typing import Final

import structlog
from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.database import DatabaseUnavailable
from service.health.metrics import Metrics
from service.health.readiness import Readiness, prove_durable
from service.web.problems import problem
from service.wiring import Service

ALIVE: Final = "alive\n"
_REMEMBERED_S: Final = 1.0
_MAX_WAIT_S: Final = 5.0

log = structlog.get_logger(__name__)


class Preparation:
    """Makes the database ready, once: SQLite is migrated, the rules of KEEP are put in force."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._is_done = False
        self._failure: tuple[float, DatabaseUnavailable] | None = None

    def ensure(self) -> None:
        """Make the database ready unless it is. A failure is remembered for a second: nobody waits for the next one.

        Raises:
            DatabaseUnavailable: it is not ready; the text says why.
        """
        if self._is_done:
            return
        if not self._lock.acquire(timeout=_MAX_WAIT_S):
            raise DatabaseUnavailable("the database is still being made ready")
        try:
            if self._failure is not None and time.monotonic() < self._failure[0]:
                raise self._failure[1]
            if not self._is_done:
                self._service.prepare_database(creates_database=True)
                self._is_done = True
        except DatabaseUnavailable as error:
            self._failure = (time.monotonic() + _REMEMBERED_S, error)
            raise
        finally:
            self._lock.release()

    def try_now(self) -> None:
        """Make the database ready if that works now; if not, it is tried again when somebody asks."""
        try:
            self.ensure()
        except DatabaseUnavailable as error:
            log.error("database_not_ready", detail=str(error))

    def prove(self) -> None:
        """Store something durably, as a callback would be.

        Raises:
            DatabaseUnavailable: that does not work at the moment.
        """
        self.ensure()
        prove_durable(self._service.database, self._service.now())


def health_blueprint(readiness: Readiness, metrics: Metrics) -> Blueprint:
    """The paths for probes and for Prometheus."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/healthz")
    def show_alive() -> Response:
        return _answer(ALIVE)

    @blueprint.get("/readyz")
    def show_ready() -> Response:
        fault = readiness.find_fault()
        if fault is None:
            return _answer("ready\n")
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, fault, retry_after_s=1)

    @blueprint.get("/metrics")
    def show_metrics() -> Response:
        return Response(metrics.expose(), content_type=CONTENT_TYPE_LATEST)

    return blueprint


def _answer(word: str) -> Response:
    return Response(word, content_type="text/plain; charset=utf-8")
