"""The WSGI application: everything that answers over HTTP, put together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

from flask import Flask

from service.callbacks.receive import Answer
from service.health.metrics import Metrics
from service.health.readiness import Readiness
from service.settings import Settings, load_settings
from service.web.api.build import add_api
from service.web.api.routes import Backend
from service.web.callback import add_callback_url
from service.web.health import Preparation, health_blueprint
from service.web.problems import harden, register_problems
from service.web.threads import Threads
from service.wiring import Clock, Service, utc_now

_METRIC_ANSWERS: Final = {Answer.NOT_STORED: "unavailable"}


def create_app(
    settings: Settings | None = None, *, now: Clock = utc_now, sleep: Callable[[float], None] = time.sleep
) -> Flask:
    """Build the application; without `settings`, from the environment. `sleep` waits for seconds.

    It stores callbacks and places orders, and changes nothing else. A database that is away does not keep it from
    starting: until it is back, callbacks are answered 503 and `/readyz` says so.

    Raises:
        SettingsError: a setting is missing or wrong.
    """
    service = Service(settings or load_settings(os.environ), now=now, sleep=sleep)
    preparation = Preparation(service)
    metrics = Metrics(service.database, now)
    app = Flask(__name__, static_folder=None)
    threads = Threads()

    def count(answer: Answer, seconds: float) -> None:
        metrics.count_callback(_METRIC_ANSWERS.get(answer, answer.value), seconds)

    app.extensions |= {
        "zego-retention": service,
        "zego-retention.threads": threads,
        "zego-retention.count": count,
    }
    app.register_blueprint(health_blueprint(Readiness(preparation.prove), metrics))
    add_api(app, Backend(service, threads, preparation.ensure))
    app.after_request(harden)
    register_problems(app)
    add_callback_url(app, service.inbox, count)
    preparation.try_now()
    service.writer.start()
    return app
