"""The API's own description: OpenAPI, and a page that shows it. Both hold no data, and need no token."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from flask import Response, send_file
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service import __version__
from service.web.api.routes import PREFIX, ROUTES, Call, Route
from service.web.problems import answer_json

STATIC: Final = Path(__file__).parents[1] / "static"
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FILES: Final = {
    "/docs": "api-docs.html",
    "/docs/start.js": "api-docs.js",
    "/docs/swagger-ui.css": "vendor/swagger-ui/swagger-ui.css",
    "/docs/swagger-ui-bundle.js": "vendor/swagger-ui/swagger-ui-bundle.js",
}
_NUMBER: Final = {"name": "number", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1}}


class Problem(BaseModel):
    """What went wrong (RFC 9457); `errors` names each field that is wrong, `preview` is what would happen now."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] = []
    preview: dict[str, Any] | None = None


def _make_show_file(name: str) -> Callable[[Call], Response]:
    def show_file(_call: Call) -> Response:
        response = send_file(STATIC / name, max_age=0)
        response.headers |= {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Referrer-Policy": "no-referrer"}
        return response

    return show_file


@cache
def describe_api() -> dict[str, Any]:
    """The OpenAPI document, from the routes as they are declared."""
    routes = [route for route in ROUTES if not route.hidden]
    taken = {model for route in routes for model in (route.query, route.body) if model}
    given = {Problem, *(route.answer for route in routes if route.answer)}
    models: Any = [(model, "validation") for model in taken] + [(model, "serialization") for model in given]
    references, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")
    schemas = definitions["$defs"]
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = f"{PREFIX}{route.path}".replace("<number:number>", "{number}")
        paths.setdefault(path, {})[route.method.lower()] = _describe(route, schemas, references)
    for route in routes:
        schemas.pop(route.query.__name__, None)  # its fields are described as parameters
    return {
        "openapi": "3.1.0",
        "info": {"title": "zego-retention", "version": __version__, "description": "Retention of ZEGO CDN recordings."},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
    }


def _describe(route: Route, schemas: dict[str, Any], references: dict[Any, Any]) -> dict[str, Any]:
    parameters = [_NUMBER] if "<number:" in route.path else []
    for name, schema in schemas[route.query.__name__].get("properties", {}).items():
        about = schema.pop("description", "")
        parameters.append({"name": name, "in": "query", "description": about, "schema": schema})
    answer = {"application/json": {"schema": {"type": "object"}}}
    if route.answer is not None:
        answer = {"application/json": {"schema": references[route.answer, "serialization"]}}
    problem = {"application/problem+json": {"schema": references[Problem, "serialization"]}}
    contents = {route.status: answer} | dict.fromkeys(sorted(route.refusals), problem)
    contents |= {HTTPStatus.ACCEPTED: answer} if route.orders else {}
    operation: dict[str, Any] = {
        "operationId": route.name,
        "tags": [route.path.split("/")[1].removesuffix(".json")],
        "summary": route.about,
        "description": f"Needs the role {route.role}, or one above it." if route.role else "Needs no token.",
        "parameters": parameters,
        "responses": {
            str(status.value): {"description": status.phrase, "content": contents[status]}
            for status in sorted(contents)
        },
    }
    if route.role:
        operation |= {"security": [{"bearer": []}], "x-role": route.role.value}
    if route.body:
        content = {"application/json": {"schema": references[route.body, "validation"]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


ROUTES.append(
    Route(
        "GET",
        "/openapi.json",
        None,
        "show_openapi",
        "Describe this API in OpenAPI.",
        lambda _call: answer_json(describe_api()),
        None,
    )
)
for _path, _name in _FILES.items():
    ROUTES.append(
        Route("GET", _path, None, f"show_{_name}".replace(".", "_"), "", _make_show_file(_name), None, hidden=True)
    )
