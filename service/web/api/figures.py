"""Totals and forecast: how things stand, and what will be deleted when."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from service.core.model import Role
from service.usecases.figures import count_figures
from service.usecases.inventory import iso
from service.usecases.previewing import forecast
from service.web.api.routes import JsonObject, Routes
from service.web.api.rule_forms import Forecast
from service.web.api.run_forms import Totals

if TYPE_CHECKING:
    from service.wiring import Service

routes = Routes("figures", "How things stand, and what will be deleted when.")


@routes.get("/totals", role=Role.VIEWER, answer=Totals)
def show_totals(service: Service) -> JsonObject:
    """Count files by state, callbacks by verdict, passes by state, and what waits for whom."""
    found = count_figures(service.database, service.now())
    counted = asdict(found) | {"last_pass_at": iso(found.last_pass_at)}
    counted["listed_at"] = [[app_id, vendor, iso(at)] for app_id, vendor, at in found.listed_at]
    counted["oldest_due_age_s"] = counted.pop("oldest_due_age").total_seconds()
    return counted


@routes.get("/forecast", role=Role.VIEWER, answer=Forecast)
def show_forecast(service: Service) -> JsonObject:
    """Count files, hours and bytes, and what goes on each of the next 90 days; looks at the whole inventory."""
    return forecast(service.database, service.settings.cooling_off, service.now())
