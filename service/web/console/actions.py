"""What a person changes in the console: the very orders of the API, given in forms (`web.api.resources`)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from http import HTTPStatus
from typing import Annotated, Any, Final, get_origin

from flask import abort, g, redirect, render_template, request
from pydantic import TypeAdapter, ValidationError
from werkzeug.wrappers import Response as AnyResponse

from service.audit.order import Order
from service.files.actions import ErasurePreview
from service.model import NotPossible, Role
from service.preview.apply import PreviewNeeded
from service.rules.file import RulesError
from service.views.audit import NewToken
from service.views.form import read_number
from service.views.rules import Preview
from service.web.api.resources import RulesInForce
from service.web.api.routes import ROUTES, Call, Route
from service.web.console.blueprint import console, get_backend, require
from service.web.console.session import local_path
from service.web.console.words import gettext as _
from service.web.console.words import translate_sentence

_ACTIONS: Final = {route.name: route for route in ROUTES if route.method == "POST"}


@console.post("/do/<name>", defaults={"numbered": 0})
@console.post("/do/<name>/<number:numbered>")
def act(name: str, numbered: int) -> AnyResponse | str:
    """Order what a form asks for: `name` is the one of a route of the API, `numbered` the number in its path."""
    route, backend, session = _ACTIONS.get(name), get_backend(), g.session
    if route is None:
        abort(HTTPStatus.NOT_FOUND)
    require(route.role or Role.VIEWER)
    service, role, body = backend.service, session.visitor.role, _read_form(route)
    call = Call(backend, service, service.database, g.now, session.actor, role, numbered, {}, body)
    with backend.for_inventory() if route.reads_all else nullcontext():
        answer = route.view(call)
    return _follow(answer, call, local_path(request.form.get("back")))


def _read_form(route: Route) -> dict[str, Any]:
    if route.body is None:
        return {}
    given: dict[str, str] = {}
    numbers: dict[str, list[int]] = {}
    for name, field in route.body.model_fields.items():
        texts = [text.replace("\r\n", "\n") for text in request.form.getlist(name) if text.strip()]
        if get_origin(field.annotation) is list:
            kind: Any = Annotated[field.annotation, *field.metadata]
            numbers[name] = TypeAdapter(kind).validate_python([read_number(text) for text in texts])
        elif texts:
            given[name] = texts[0]
    return dict(route.body.model_validate_strings(given)) | numbers


def _follow(answer: Any, call: Call, back: str) -> AnyResponse | str:  # noqa: ANN401  (whatever a route answers)
    """Show what came of it."""
    order: Order | None = getattr(answer, "order", None)
    match answer:
        case NewToken():
            return render_template("new_token.html", token=answer, back=back)
        case ErasurePreview():
            return render_template("erasure_preview.html", preview=answer, form=request.form, back=back)
        case Preview():
            return redirect(f"/previews/{answer.id}", HTTPStatus.SEE_OTHER)
        case RulesInForce():
            number = None if order is None else order.number
        case int() | tuple():
            number = answer if isinstance(answer, int) else answer[1]
            call.report(number)
        case _:
            number = None
    sign = "&" if "?" in back else "?"
    return redirect(back if number is None else f"{back}{sign}order={number}", HTTPStatus.SEE_OTHER)


def explain_refusals(show: Callable[..., tuple[str, int]]) -> None:
    """Let what cannot be done be answered with a page that says why."""

    def refuse(error: NotPossible) -> tuple[str, int]:
        preview = error.preview.id if isinstance(error, PreviewNeeded) else None
        return show(str(error), HTTPStatus.CONFLICT, preview=preview)

    def refuse_form(error: ValidationError) -> tuple[str, int]:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field, text = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        name = f"{_(field.replace('_', ' '))}: " if field else ""
        return show(f"{name}{translate_sentence(text)}", HTTPStatus.UNPROCESSABLE_ENTITY)

    console.register_error_handler(NotPossible, refuse)
    console.register_error_handler(RulesError, lambda error: show(str(error), HTTPStatus.UNPROCESSABLE_ENTITY))
    console.register_error_handler(ValidationError, refuse_form)
