"""The console put together: its pages, what every template can use, and how errors look to a person."""

from __future__ import annotations

import gzip
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from flask import Flask, Response, g, redirect, render_template, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from service import __version__
from service.audit.order import Order
from service.audit.store import find_order
from service.database import DatabaseUnavailable
from service.model import NoSuchThing
from service.views.form import find_cell, read_number
from service.web.console import apps_pages, export, looks, overview, people_pages, report, rules_pages  # noqa: F401
from service.web.console.actions import explain_refusals
from service.web.console.blueprint import console, get_backend
from service.web.console.links import link_sentence
from service.web.console.pages import BadFilter, list_facts
from service.web.console.session import local_path
from service.web.console.words import LANGUAGE_COOKIE, LANGUAGES, gettext, translate_sentence

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_compress: Final = lru_cache(32)(gzip.compress)
_YEAR_S: Final = 31_536_000
NAVIGATION: Final = (
    ("", "Overview"),
    ("files", "Files"),
    ("rules", "Rules"),
    ("holds", "Holds"),
    ("runs", "Sweeps"),
    ("callbacks", "Callbacks"),
    ("listings", "Listings"),
    ("audit", "Audit"),
    ("apps", "Apps"),
    ("people", "People"),
)
"""What stands in the head of every page: path and name."""

_UNDER: Final = {"erasures": "files", "previews": "rules", "revisions": "rules", "report": "runs", "tokens": "people"}
"""The sections whose pages lead to those that are not in the head."""


def add_console(app: Flask) -> None:
    """Let `app` show the console at `/`."""
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.register_blueprint(console)


@console.post("/language")
def set_language() -> AnyResponse:
    """Choose a language."""
    answer = redirect(local_path(request.form.get("back")), HTTPStatus.SEE_OTHER)
    chosen = request.form.get("language", "")
    if chosen in LANGUAGES:
        answer.set_cookie(LANGUAGE_COOKIE, chosen, max_age=_YEAR_S, samesite="Lax")
    return answer


@console.context_processor
def list_globals() -> dict[str, object]:
    """What every template can use."""
    service = get_backend().service
    return {
        "_": gettext,
        "say": translate_sentence,
        "linked": link_sentence,
        "looks": looks,
        "value": looks.value,
        "cell_at": lambda row, attribute: find_cell(row, attribute, g.now),
        "badge": looks.badge,
        "moment": looks.moment,
        "facts": list_facts,
        "filter_of": lambda given, *but: {name: text for name, text in given.items() if text and name not in but},
        "navigation": NAVIGATION,
        "part": _UNDER.get(part := request.path.strip("/").split("/")[0], part),
        "languages": LANGUAGES,
        "version": __version__,
        "session": g.get("session"),
        "apps": service.settings.apps,
        "order": _find_order(),
    }


def _find_order() -> Order | None:
    """The order that the page before this one placed, if there is one."""
    number = read_number("".join(request.args.getlist("order")[-1:]))  # an earlier one may stand before it
    if not g.get("session") or not number:
        return None
    with get_backend().service.database.read() as tx:
        return find_order(tx, number)


def _show_refusal(text: str, status: HTTPStatus, *, preview: int | None = None) -> tuple[str, int]:
    is_readable = status is not HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    back = local_path(request.form.get("back") if is_readable else None)
    return render_template("refusal.html", text=text, status=status, preview=preview, back=back), status


def _show_http_error(error: HTTPException) -> tuple[str, int] | HTTPException:
    if error.response is not None:
        return error
    status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    text = gettext("There is nothing at this address.") if status is HTTPStatus.NOT_FOUND else error.description or ""
    return _show_refusal(text, status)


def _show_unavailable(_error: DatabaseUnavailable) -> tuple[str, int]:
    text = gettext("The database cannot be asked at the moment; the log of this process says why.")
    return _show_refusal(text, HTTPStatus.SERVICE_UNAVAILABLE)


def _protect(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Referrer-Policy"] = "same-origin"
    if request.endpoint == "console.static" and response.status_code < HTTPStatus.BAD_REQUEST:
        response.headers["Cache-Control"] = f"public, max-age={_YEAR_S}, immutable"
        response.headers["Vary"] = "Accept-Encoding"
        if response.status_code == HTTPStatus.OK and request.accept_encodings.quality("gzip"):
            response.direct_passthrough = False
            response.set_data(_compress(response.get_data()))
            response.content_encoding = "gzip"
    else:
        response.headers["Vary"] = "Cookie, HX-Request"
    return response


console.register_error_handler(HTTPException, _show_http_error)
console.register_error_handler(BadFilter, lambda error: _show_refusal(str(error), HTTPStatus.UNPROCESSABLE_ENTITY))
console.register_error_handler(NoSuchThing, lambda error: _show_refusal(str(error), HTTPStatus.NOT_FOUND))
console.register_error_handler(DatabaseUnavailable, _show_unavailable)
console.after_request(_protect)
explain_refusals(_show_refusal)
