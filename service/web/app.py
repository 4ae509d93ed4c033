"""The WSGI application: everything that answers over HTTP, put together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from flask_openapi.openapi import OpenAPI

from service.settings import Settings, load_settings
from service.web.api.build import OPENAPI_VERSION, add_api, describe_api
from service.web.callback import callback_blueprint
from service.web.health import Readiness, health_blueprint
from service.web.metrics import Metrics, metrics_blueprint
from service.web.problems import register_problems
from service.wiring import Clock, build_service, utc_now

if TYPE_CHECKING:
    from flask import Flask, Response


def create_app(settings: Settings | None = None, *, now: Clock = utc_now) -> Flask:
    """Build the application; without `settings`, from the environment.

    A database that is away does not keep it from starting: until it is back, callbacks are answered 503 and `/readyz`
    says why.

    Raises:
        SettingsError: a setting is missing or wrong.
    """
    service = build_service(settings or load_settings(os.environ), now=now)
    readiness = Readiness(service)
    metrics = Metrics(service.database, now)
    app = OpenAPI(__name__, static_folder=None, doc_ui=False, **describe_api())
    app.openapi_version = OPENAPI_VERSION
    app.extensions["zego-retention"] = service
    app.register_blueprint(callback_blueprint(service.ingest, readiness, metrics))
    app.register_blueprint(health_blueprint(readiness))
    app.register_blueprint(metrics_blueprint(metrics))
    add_api(app, service, readiness)
    app.after_request(_harden)
    register_problems(app)
    readiness.try_to_prepare()
    return app


def _harden(response: Response) -> Response:
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Cache-Control", "no-store")
    return response
