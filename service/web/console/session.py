"""Who looks at the console: signing in and out, the cookie, and the token that every change has to bring along."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from flask import Response, abort, g, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from service.model import Actor, Role, may
from service.people.people import SESSION_LASTS, SignInRefused, Visitor, find_visitor, sign_in, sign_out
from service.people.store import list_people
from service.web.console.blueprint import console, get_backend
from service.web.console.words import gettext as _
from service.web.guesses import TooManyGuesses

COOKIE: Final = "zego_retention_session"
_OPEN: Final = frozenset({"console.static", "console.show_sign_in", "console.do_sign_in", "console.set_language"})


@dataclass(frozen=True, slots=True)
class Session:
    """The session of a request: whose it is, and the token that its forms carry."""

    visitor: Visitor
    csrf: str

    @property
    def actor(self) -> Actor:
        """Who changes something."""
        return Actor(self.visitor.name, "console")

    def may(self, needed: str) -> bool:
        """Whether the person may do what needs a role."""
        return may(self.visitor.role, Role(needed))


@console.before_request
def find_session() -> AnyResponse | None:
    """Let nobody see a page without a session, nor change anything without its token."""
    g.session, key, backend = None, request.cookies.get(COOKIE, ""), get_backend()
    if request.endpoint in _OPEN:
        return None
    backend.prepare()
    visitor = None
    if key:
        visitor = find_visitor(backend.service.database, key, g.now, _admin_token())
    if visitor is None:
        if request.headers.get("HX-Request"):  # a part of a page: let the whole page go to where one signs in
            return Response(status=HTTPStatus.NO_CONTENT, headers={"HX-Redirect": "/sign-in"})
        if request.method == "POST":  # never sent again by itself
            back = quote(local_path(request.form.get("back")))
            return redirect(f"/sign-in?undone=1&next={back}", HTTPStatus.SEE_OTHER)
        return redirect(f"/sign-in?next={quote(request.full_path.rstrip('?'))}")
    g.session = Session(visitor, hashlib.sha256(f"csrf {key}".encode()).hexdigest())
    if request.method == "POST":
        given = request.form.get("csrf") or request.headers.get("X-CSRFToken", "")
        if not hmac.compare_digest(given.encode(), g.session.csrf.encode()):
            abort(HTTPStatus.FORBIDDEN, _("This form is out of date: go back, load the page again, and repeat it."))
    return None


@console.get("/sign-in")
def show_sign_in() -> str:
    """Ask for name and password."""
    return _show_form("")


@console.post("/sign-in")
def do_sign_in() -> AnyResponse | tuple[str, int]:
    """Begin a session."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        abort(HTTPStatus.FORBIDDEN, _("Sign in on this page, not from another site."))
    backend = get_backend()
    backend.prepare()
    name, password = request.form.get("name", "").strip(), request.form.get("password", "")
    given = (backend.service.database, _admin_token(), name, password, g.now)
    secret = f"{name}\n{password}" if name else password
    try:
        key = backend.guesses.attempt(request.remote_addr, secret, lambda: sign_in(*given), SignInRefused)
    except SignInRefused as error:
        return _show_form(str(error)), HTTPStatus.UNAUTHORIZED
    except TooManyGuesses as error:
        headers = {"Retry-After": str(error.wait_s)}
        return Response(_show_form(str(error)), HTTPStatus.TOO_MANY_REQUESTS, headers)
    answer = redirect(local_path(request.form.get("next")), HTTPStatus.SEE_OTHER)
    is_secure = request.is_secure or _find_https_url() is not None
    lasts = int(SESSION_LASTS.total_seconds())
    answer.set_cookie(COOKIE, key, max_age=lasts, secure=is_secure, httponly=True, samesite="Lax")
    return answer


@console.post("/sign-out")
def do_sign_out() -> AnyResponse:
    """End the session."""
    sign_out(get_backend().service.database, request.cookies.get(COOKIE, ""), _admin_token())
    answer = redirect("/sign-in", HTTPStatus.SEE_OTHER)
    answer.delete_cookie(COOKIE)
    return answer


def _admin_token() -> str | None:
    token = get_backend().service.settings.admin_token
    return None if token is None else token.get_secret_value()


def _find_https_url() -> str | None:
    """Where the console is to be opened, if only there: a browser drops the cookie that was set over plain http."""
    public_url = get_backend().service.settings.public_url
    return public_url if public_url is not None and public_url.startswith("https:") else None


def _is_surely_https() -> bool:
    # A proxy that ends TLS may not say so, but browsers send Sec-Fetch-… only where they trust the connection.
    return (
        request.is_secure or request.headers.get("X-Forwarded-Proto") == "https" or "Sec-Fetch-Mode" in request.headers
    )


def _show_form(refusal: str) -> str:
    service = get_backend().service
    with service.database.read() as tx:
        is_empty = not list_people(tx, 1)
    given, has_token = local_path(request.values.get("next")), service.settings.admin_token is not None
    more = {"https_url": None if _is_surely_https() else _find_https_url()}
    return render_template("sign_in.html", refusal=refusal, next=given, is_empty=is_empty, has_token=has_token, **more)


def local_path(text: str | None) -> str:
    """A path of this service to go on to; whatever else is given leads to the overview."""
    is_local = text is not None and text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if is_local and text is not None else "/"
