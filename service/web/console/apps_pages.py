"""The apps: the exact callback URL, which vendors there are, and whether ZEGO accepts the credentials."""

from __future__ import annotations

from http import HTTPStatus

from flask import abort, g, render_template

from service.filters import CallbackFilter, ListingFilter
from service.health.checks import describe_callback_url
from service.health.doctor import check_access
from service.model import Role
from service.views.callbacks import CALLBACKS
from service.views.runs import LISTINGS
from service.web.console.blueprint import console, get_backend, require


@console.get("/apps")
def show_apps() -> str:
    """Every app of the settings, with what arrived of it last."""
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
    return render_template("apps.html", rows=rows, url=url, settings=service.settings)


@console.post("/apps/<number:number>/test")
def test_app(number: int) -> str:
    """Ask ZEGO as this app, whether it accepts the credentials."""
    require(Role.OPERATOR)
    service = get_backend().service
    app = service.settings.app(str(number))
    if app is None:
        abort(HTTPStatus.NOT_FOUND)
    check, _ahead = check_access(app, service.clients[app.app_id], lambda: g.now)
    return render_template("check.html", check=check)
