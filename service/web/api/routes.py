"""How a route is declared: what it takes, who may use it, what it answers. OpenAPI and the tests read it here."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from flask import Response, g
from flask_openapi.models import OPENAPI3_REF_PREFIX
from flask_openapi.models.schema import Schema
from flask_openapi.models.tag import Tag
from flask_openapi.utils import get_model_schema

from service.core.model import Role
from service.web.api.fields import NoQuery, NumberPath, example_of
from service.web.api.forms import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flask_openapi.blueprint import APIBlueprint
    from pydantic import BaseModel

    from service.wiring import Service

PREFIX: Final = "/api/v1"
JsonObject: TypeAlias = dict[str, Any]
View: TypeAlias = "Callable[..., JsonObject | Response]"
_V = TypeVar("_V", bound=View)


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path. `role` is the least that it takes; None: everybody may.

    `name` is what it is called in OpenAPI and, behind the blueprint's name, in Flask; OpenAPI leaves out what is
    `hidden`.
    """

    method: str
    path: str
    role: Role | None
    name: str
    view: View
    answer: type[BaseModel] | None
    status: HTTPStatus
    query: type[BaseModel]
    body: type[BaseModel] | None
    problems: frozenset[HTTPStatus] = frozenset()
    hidden: bool = False

    @property
    def statuses(self) -> frozenset[HTTPStatus]:
        """Every status that it answers with, but the one of a defect."""
        found = {self.status, HTTPStatus.UNPROCESSABLE_ENTITY, *self.problems}
        if self.role is not None:
            found |= {HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE}
        if self.role not in (None, Role.VIEWER):
            found.add(HTTPStatus.FORBIDDEN)
        if "<number:" in self.path:
            found.add(HTTPStatus.NOT_FOUND)
        if self.method == "POST":
            found.add(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if self.body is not None:
            found |= {HTTPStatus.BAD_REQUEST, HTTPStatus.UNSUPPORTED_MEDIA_TYPE}
        return frozenset(found)


class Routes:
    """The routes of one subject. A view names what it needs as its parameters: see `_bind`."""

    def __init__(self, subject: str, about: str) -> None:
        self.tag = Tag(name=subject, description=about)
        self.routes: list[Route] = []

    def get(
        self,
        path: str,
        *,
        role: Role | None,
        answer: type[BaseModel] | None,
        query: type[BaseModel] = NoQuery,
        problems: Iterable[HTTPStatus] = (),
        name: str | None = None,
        hidden: bool = False,
    ) -> Callable[[_V], _V]:
        """Declare what reads; it is called like its view, unless a name is given."""

        def declare(view: _V) -> _V:
            called = name or view.__name__
            self.routes.append(
                Route("GET", path, role, called, view, answer, HTTPStatus.OK, query, None, frozenset(problems), hidden)
            )
            return view

        return declare

    def post(
        self,
        path: str,
        *,
        role: Role,
        answer: type[BaseModel],
        body: type[BaseModel] | None = None,
        status: HTTPStatus = HTTPStatus.OK,
        problems: Iterable[HTTPStatus] = (),
    ) -> Callable[[_V], _V]:
        """Declare what changes something, or makes a preview."""

        def declare(view: _V) -> _V:
            self.routes.append(
                Route("POST", path, role, view.__name__, view, answer, status, NoQuery, body, frozenset(problems))
            )
            return view

        return declare


def add_route(blueprint: APIBlueprint, tag: Tag, route: Route, service: Service) -> None:
    """Put a declared route into the blueprint and into its OpenAPI."""
    add = blueprint.get if route.method == "GET" else blueprint.post
    options: JsonObject = {"request_body": _describe_body(route.body)} if route.body else {}
    add(
        route.path,
        tags=[tag],
        operation_id=route.name,
        description=_describe_role(route.role),
        security=[{"bearer": []}] if route.role else None,
        openapi_extensions={"x-role": route.role.value if route.role else None},
        responses={str(status.value): _describe_answer(blueprint, route, status) for status in sorted(route.statuses)},
        doc_ui=not route.hidden,
        endpoint=route.name,
        provide_automatic_options=False,
        **options,
    )(_bind(route, service))


def _bind(route: Route, service: Service) -> Callable[..., Response]:
    """The view as Flask calls it: `service`, `actor`, `number`, `query` and `body` go to those who name them."""
    wanted = inspect.signature(route.view).parameters

    def view(**given: Any) -> Response:  # noqa: ANN401  (whatever was validated)
        parts = {**given, "service": service, "actor": g.get("actor")}
        if "path" in given:
            parts["number"] = given["path"].number
        answer = route.view(**{name: parts[name] for name in wanted})
        return answer if isinstance(answer, Response) else answer_json(answer, route.status)

    view.__name__, view.__doc__ = route.name, route.view.__doc__
    view.__annotations__ = {"query": route.query}  # what flask-openapi validates by
    if route.body is not None:
        view.__annotations__["body"] = route.body
    if "<number:" in route.path:
        view.__annotations__["path"] = NumberPath
    return view


def answer_json(content: JsonObject, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """An answer in JSON."""
    return Response(json.dumps(content) + "\n", status.value, content_type="application/json")


def _describe_role(role: Role | None) -> str:
    return "Needs no token." if role is None else f"Needs the role {role.value}, or one above it."


def _describe_body(body: type[BaseModel]) -> JsonObject:
    reference = {"$ref": f"{OPENAPI3_REF_PREFIX}/{body.__name__}"}
    return {"required": True, "content": {"application/json": {"schema": reference, "example": example_of(body)}}}


def _describe_answer(blueprint: APIBlueprint, route: Route, status: HTTPStatus) -> JsonObject:
    is_good = status is route.status
    model, kind = (route.answer, "application/json") if is_good else (Problem, "application/problem+json")
    if model is None:
        return {"description": status.phrase, "content": {kind: {"schema": {"type": "object"}, "example": {}}}}
    _add_schema(blueprint, model)
    example = example_of(model) if is_good else _example_problem(route, status)
    reference = {"$ref": f"{OPENAPI3_REF_PREFIX}/{model.__name__}"}
    return {"description": status.phrase, "content": {kind: {"schema": reference, "example": example}}}


def _example_problem(route: Route, status: HTTPStatus) -> JsonObject:
    example: JsonObject = {"type": "about:blank", "title": status.phrase, "status": status.value}
    example["detail"] = _EXAMPLES.get(status, status.phrase)
    if status is HTTPStatus.UNPROCESSABLE_ENTITY:
        field = next(iter((route.body or route.query).model_fields), "nonsense")
        example["errors"] = [{"field": field, "detail": "what is wrong with it"}]
    return example


_EXAMPLES: Final = {
    HTTPStatus.BAD_REQUEST: "the body is not valid JSON",
    HTTPStatus.UNAUTHORIZED: "this token has expired",
    HTTPStatus.FORBIDDEN: "this needs the role operator; the token has the role viewer",
    HTTPStatus.NOT_FOUND: "there is no file 17",
    HTTPStatus.CONFLICT: "file 17 is kept: there is nothing to confirm",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "a body has at most 1 MiB",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "send JSON, with Content-Type: application/json",
    HTTPStatus.UNPROCESSABLE_ENTITY: "the request is not as it should be: see errors",
    HTTPStatus.SERVICE_UNAVAILABLE: "the database cannot be asked",
}


def _add_schema(blueprint: APIBlueprint, model: type[BaseModel]) -> None:
    schema = get_model_schema(model, mode="serialization")
    for name, definition in {**schema.pop("$defs", {}), model.__name__: schema}.items():
        blueprint.components_schemas[name] = Schema(**definition)
