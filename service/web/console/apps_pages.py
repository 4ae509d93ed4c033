"""The apps: the exact callback URL, which vendors there are, and whether ZEGO accepts the credentials."""

from __future__ import annotations

from http import HTTPStatus

from flask import abort, g, render_template, request

from service.filters import CallbackFilter, ListingFilter
from service.health.callbacks import describe_callback_url
from service.health.check import Check
from service.health.doctor import check_access
from service.model import Role
from service.views.callbacks import CALLBACKS
from service.views.runs import LISTINGS
from service.web.console.blueprint import console, get_backend, require


@console.get("/apps")
def show_apps(checked: str = "", check: Check | None = None) -> str:
    """Every app of the settings, with what arrived of it last, and what came out where one was `checked`."""
    service = get_backend().service
    database = service.database
    rows = [
        (
            app,
            CALLBACKS.page(database, CallbackFilter(app_id=app.app_id), 1).items,
            LISTINGS.page(database, ListingFilter(app_id=app.app_id), 3).items,
        )
        for app in service.settings.apps
    ]
    url = describe_callback_url(service.settings, with_token=g.session.may(Role.OPERATOR))
    more = {"checked": checked, "check": check}
    return render_template("apps.html", rows=rows, url=url, settings=service.settings, **more)


@console.post("/apps/<number:number>/test")
def test_app(number: int) -> str:
    """Ask ZEGO as this app, whether it accepts the credentials."""
    require(Role.OPERATOR)
    service = get_backend().service
    app = service.settings.app(str(number))
    if app is None:
        abort(HTTPStatus.NOT_FOUND)
    check, _ahead = check_access(app, service.clients[app.app_id], lambda: g.now)
    is_part = "HX-Request" in request.headers
    return render_template("check.html", check=check) if is_part else show_apps(app.app_id, check)
