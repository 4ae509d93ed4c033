"""The blueprint that every page is declared on, and what pages work with."""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint, abort, current_app, g, request

from service.model import Role
from service.web.api.build import MAX_BODY_BYTES
from service.web.api.routes import Backend
from service.web.console.words import gettext as _
from service.web.console.words import set_up_language

console = Blueprint("console", __name__, template_folder="templates", static_folder="static", static_url_path="/static")


def get_backend() -> Backend:
    """What the routes of this application work with."""
    backend: Backend = current_app.extensions["zego-retention.backend"]
    return backend


def require(role: Role) -> None:
    """End the request here if the person's role is too low."""
    if not g.session.may(role):
        own = g.session.visitor.role
        abort(HTTPStatus.FORBIDDEN, _("This needs the role %(role)s; you have %(own)s.", role=role, own=own))


@console.before_request
def set_up() -> None:
    """Let this request be answered at one moment, in its language."""
    request.max_content_length = MAX_BODY_BYTES  # as our own server has it (`web.front`)
    g.now = get_backend().service.now()
    set_up_language()
