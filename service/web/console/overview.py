"""The overview: is everything all right, what waits for a person, and how things stand in figures and pictures."""

from __future__ import annotations

from datetime import datetime, timedelta

from flask import g, render_template

from service.health.checks import Check, Status
from service.health.doctor import examine_database
from service.views.figures import Activity, Totals, count_activity, count_totals
from service.views.rules import Forecast, make_forecast
from service.web.api.routes import Backend
from service.web.console.blueprint import console, get_backend

_URGENT = (Status.PROBLEM, Status.ATTENTION)
_WRONG = (*_URGENT, Status.WARNING, Status.SKIPPED)


@console.get("/")
def show_overview() -> str:
    """Everything at one glance; without the figures as long as they are being counted for the first time."""
    backend, now = get_backend(), g.now
    state = backend.show_figures("state", lambda: _look(backend, now))
    forecast = show_forecast(backend, now)
    checks, totals, activity = state or ((), None, None)
    days = [("deleted", f"{day}", count) for day, count in activity.deleted] if activity else []
    if activity and forecast:
        days += [
            ("now" if ahead == 0 else "due", f"{forecast.as_of + timedelta(days=ahead):%Y-%m-%d}", count)
            for ahead, count in enumerate(forecast.days)
        ]
    return render_template(
        "overview.html",
        urgent=[each for each in checks if each.status in _URGENT],
        wrong=sorted((each for each in checks if each.status in _WRONG), key=lambda c: _WRONG.index(c.status)),
        more=sorted((each for each in checks if each.status not in _WRONG), key=lambda c: c.status is Status.OK),
        totals=totals,
        activity=activity,
        forecast=forecast,
        held=next((each for each in forecast.by_state if each.name == "held"), None) if forecast else None,
        days=days,
        hours=[("due", f"{hour:%m-%d %H}:00", count) for hour, count in activity.callbacks] if activity else [],
        settings=backend.service.settings,
    )


def _look(backend: Backend, now: datetime) -> tuple[list[Check], Totals, Activity]:
    service = backend.service
    checks = examine_database(service.settings, service.database, service.now)
    return checks, count_totals(service.database, now), count_activity(service.database, now)


def show_forecast(backend: Backend, now: datetime) -> Forecast | None:
    """The forecast as far as it was counted."""

    def count() -> Forecast:
        with backend.for_inventory():
            return make_forecast(backend.service.database, backend.service.reader, now)

    return backend.show_figures("forecast", count)
