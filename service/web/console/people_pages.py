"""Who may do what: people with a password, and the tokens of programs."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from flask import abort, g, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from service.audit.checks import BadOrder
from service.model import Role
from service.people import people
from service.people.store import Person
from service.views.audit import TOKENS
from service.views.people import PEOPLE
from service.web.console.blueprint import console, get_backend, require
from service.web.console.pages import PAGE
from service.web.console.words import gettext as _

_CHANGES: Final[dict[str, Callable[..., Person]]] = {
    "remove": people.remove_person,
    "sign-out": people.end_sessions,
}


@console.get("/people")
def show_people() -> str:
    """People, tokens, and one's own password."""
    database = get_backend().service.database
    may_change = g.session.may(Role.ADMIN)
    persons = PEOPLE.page(database, None, PAGE, 0) if may_change else None
    tokens = TOKENS.page(database, None, PAGE, 0) if may_change else None
    return render_template("people.html", people=persons, tokens=tokens, roles=list(Role), listed=TOKENS)


@console.post("/people")
def add_person() -> AnyResponse:
    """Let somebody sign in."""
    database = get_backend().service.database
    require(Role.ADMIN)
    form = request.form
    role = form.get("role", "")
    if role not in list(Role):
        raise BadOrder("role", f"the role is one of {', '.join(Role)}")
    given = (form.get("name", "").strip(), Role(role), form.get("password", ""))
    people.add_person(database, *given, g.session.actor, g.now)
    return redirect("/people", HTTPStatus.SEE_OTHER)


@console.post("/people/<number:number>/<any('remove', 'sign-out'):what>")
def change_person(number: int, what: str) -> AnyResponse:
    """Sign a person out everywhere, or remove them."""
    database = get_backend().service.database
    require(Role.ADMIN)
    _CHANGES[what](database, number, g.session.actor, g.now)
    return redirect("/people", HTTPStatus.SEE_OTHER)


@console.post("/password")
def change_password() -> AnyResponse:
    """Change one's own password."""
    database = get_backend().service.database
    visitor = g.session.visitor
    if visitor.person_id is None:
        abort(HTTPStatus.CONFLICT, _("The token of the setting has no password."))
    with database.read() as tx:
        person = PEOPLE.require(tx, visitor.person_id)
    people.sign_in(database, None, person.name, request.form.get("old", ""), g.now)  # proves the old one
    people.set_password(database, person.id, request.form.get("new", ""), g.session.actor, g.now)
    return redirect("/sign-in", HTTPStatus.SEE_OTHER)
