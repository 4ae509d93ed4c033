"""The WSGI application: everything that answers over HTTP, put together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache
from http import HTTPStatus

import structlog
from flask import Blueprint, Flask, Response
from prometheus_client import CONTENT_TYPE_LATEST
from werkzeug.middleware.proxy_fix import ProxyFix

from service.database import DatabaseUnavailable, UnfitDatabase
from service.health.metrics import Metrics
from service.health.readiness import Readiness
from service.health.store import prove_durable
from service.settings import Settings, load_settings
from service.web.api.build import add_api
from service.web.api.routes import Backend
from service.web.callback import add_callback_url
from service.web.console.build import add_console
from service.web.entrance import entrance_of
from service.web.problems import harden, problem, register_problems
from service.wiring import Clock, MigrationsPending, Service, utc_now

log = structlog.get_logger(__name__)


def create_app(
    settings: Settings | None = None, *, now: Clock = utc_now, sleep: Callable[[float], None] = time.sleep
) -> Flask:
    """Build the application; without `settings`, from the environment. `sleep` waits for seconds.

    It stores callbacks and places orders, and changes nothing else. A database server that is away does not keep it
    from starting: until it is back, the spool takes callbacks, or they are answered 503 and `/readyz` says so. An
    SQLite file that cannot be used does not mend itself: DatabaseUnavailable, as SettingsError says that a setting is
    missing or wrong.
    """
    settings = settings or load_settings(os.environ)
    service = Service(settings, now=now, sleep=sleep)
    entrance = entrance_of(settings)
    database, metrics = service.database, Metrics(settings, service.database, now)
    service.writer.observe = metrics.observe_commit
    if fault := service.spool.find_fault():
        fix = "make it writable, or name another folder in ZEGO_RETENTION_SPOOL_DIR"
        log.warning("spool_unusable", detail=fault, fix=fix)

    @cache  # what raises is not remembered
    def prepare() -> None:
        service.prepare_database(creates_database=True)

    def prove() -> None:
        service.writer.start()  # (a server that forks has done so by now)
        prepare()
        prove_durable(database, now())

    app, backend = Flask(__name__, static_folder=None), Backend(service, prepare)
    app.extensions |= {
        "zego-retention": service,
        "zego-retention.backend": backend,
        "zego-retention.count": metrics.count_callback,
        "zego-retention.entrance": entrance,
    }
    if entrance.proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, entrance.proxies, x_host=0)  # type: ignore[method-assign]
    app.register_blueprint(_health(Readiness(prove, can_spool=service.spool.can_append), metrics))
    add_api(app, backend)
    add_console(app)
    app.after_request(harden)
    register_problems(app)
    add_callback_url(app, service.inbox, metrics.count_callback, entrance)
    if settings.notify:
        service.notifier.load()
        app.before_request(service.notifier.start)  # under a server that forks after this, each process has its own
    try:
        prepare()
    except DatabaseUnavailable as error:
        if database.is_sqlite or (isinstance(error, UnfitDatabase) and not isinstance(error, MigrationsPending)):
            service.close()
            raise
        log.error("database_not_ready", detail=str(error))
    database.dispose()  # a server that forks after this hands no connection down; threads start with the first request
    return app


def _health(readiness: Readiness, metrics: Metrics) -> Blueprint:
    """The paths for probes and for Prometheus."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/healthz")
    def show_alive() -> Response:
        return Response("alive\n", content_type="text/plain; charset=utf-8")

    @blueprint.get("/readyz")
    def show_ready() -> Response:
        fault = readiness.find_fault()
        if fault is not None:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, fault)
        return Response("ready\n", content_type="text/plain; charset=utf-8")

    @blueprint.get("/metrics")
    def show_metrics() -> Response:
        return Response(metrics.expose(), content_type=CONTENT_TYPE_LATEST)

    return blueprint
