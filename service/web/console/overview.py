"""The overview: is everything all right, what waits for a person, and how things stand in figures and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from flask import g, render_template

from service.callbacks.store import find_accepted, find_authentic_at
from service.health.check import Check, Status
from service.health.checks import find_living_leader, find_slots
from service.health.doctor import examine_database
from service.rules.store import find_current_number
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
        pulse=_feel(backend, now),
        forecast=forecast,
        held=next((each for each in forecast.by_state if each.name == "held"), None) if forecast else None,
        days=days,
        hours=[("due", f"{hour:%m-%d %H}:00", count) for hour, count in activity.callbacks] if activity else [],
        settings=backend.service.settings,
    )


@dataclass(frozen=True, slots=True)
class Pulse:
    """The signs of life: the last callback, the next sweep (None: sweeps are off), and who leads (empty: nobody).

    Of a new service also whether any callback was accepted, and any rules are in force. Nothing is counted for it, so
    it is true at each look.
    """

    last_callback_at: datetime | None
    next_sweep_at: datetime | None
    leader: str
    has_accepted: bool
    has_rules: bool


def _look(backend: Backend, now: datetime) -> tuple[list[Check], Totals, Activity]:
    service = backend.service
    checks = examine_database(service.settings, service.database, service.now)
    return checks, count_totals(service.database, now), count_activity(service.database, now)


def _feel(backend: Backend, now: datetime) -> Pulse:
    service = backend.service
    with service.database.read() as tx:
        found = [find_authentic_at(tx, app_id, newest=True) for app_id in service.app_ids]
        leader, slots = find_living_leader(service.settings, tx, now), find_slots(service.settings, tx)
        has_accepted = any(find_accepted(tx, app_id) for app_id in service.app_ids)
        has_rules = find_current_number(tx) > 0
    last = max((at for at in found if at is not None), default=None)
    next_sweep = slots.next_slot(now) if slots else None
    return Pulse(last, next_sweep, leader.holder if leader else "", has_accepted, has_rules)


def show_forecast(backend: Backend, now: datetime) -> Forecast | None:
    """The forecast as far as it was counted."""

    def count() -> Forecast:
        with backend.for_inventory():
            return make_forecast(backend.service.database, backend.service.reader, now)

    return backend.show_figures("forecast", count)
