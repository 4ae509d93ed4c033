"""Totals, forecast and dry run: how things stand, and what will be deleted when."""

from __future__ import annotations

from http import HTTPStatus

from service.sweep.dry_run import dry_run
from service.views.figures import DryRun, Totals, count_totals, describe_dry_run
from service.views.rules import Forecast, make_forecast
from service.web.api.routes import Plain, Routes

routes = Routes("figures", "How things stand, and what will be deleted when.")


@routes.get("/totals")
def show_totals(call: Plain) -> Totals:
    """Count files by state, callbacks by verdict, runs by state, and what waits for whom."""
    return count_totals(call.database, call.now())


@routes.get("/forecast", problems=[HTTPStatus.CONFLICT])
def show_forecast(call: Plain) -> Forecast:
    """Count files, hours and bytes, and what is deleted on each of the next 90 days; up to a minute old."""
    cache = call.backend.forecast
    known = cache.find()
    if known is not None:
        return known
    with call.backend.threads.for_inventory():
        return cache.find() or cache.keep(make_forecast(call.database, call.service.reader, call.now()))


@routes.get("/dry-run")
def show_dry_run(call: Plain) -> DryRun:
    """Show what a sweep would delete now, and the first 100 of these files; nothing is deleted."""
    service = call.service
    with call.backend.threads.for_inventory():
        found = dry_run(
            call.database,
            service.reader,
            service.app_ids,
            service.sweeper.limits,
            call.now(),
            confirm_all=service.sweeper.confirm_all,
            limit=100,
        )
    return describe_dry_run(call.database, found)
