"""The overview: is everything all right, what waits for a person, and how things stand in figures and pictures."""

from __future__ import annotations

from datetime import timedelta

from flask import g, render_template

from service.health.checks import Status
from service.health.doctor import examine_database
from service.views.figures import count_activity, count_totals
from service.views.rules import make_forecast
from service.web.console.blueprint import console, get_backend


@console.get("/")
def show_overview() -> str:
    """Everything at one glance."""
    backend, service, now = get_backend(), get_backend().service, g.now
    checks = examine_database(service.settings, service.database, service.now)
    forecast = backend.find_figures("forecast", lambda: make_forecast(service.database, service.reader, now))
    activity = backend.find_figures("activity", lambda: count_activity(service.database, now))
    days = [("deleted", f"{day}", count) for day, count in activity.deleted]
    days += [
        ("now" if ahead == 0 else "due", f"{now + timedelta(days=ahead):%Y-%m-%d}", count)
        for ahead, count in enumerate(forecast.days)
    ]
    return render_template(
        "overview.html",
        checks=checks,
        wrong=[check for check in checks if check.status is not Status.OK],
        totals=count_totals(service.database, now),
        forecast=forecast,
        days=days,
        hours=[("due", f"{hour:%m-%d %H}:00", count) for hour, count in activity.callbacks],
        settings=service.settings,
    )
