"""The API put together: every subject's routes, the guard before them, and how errors are answered."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.info import Info
from flask_openapi.models.security_scheme import SecurityScheme
from werkzeug.routing import IntegerConverter

from service import __version__
from service.core.rules_file import RulesError
from service.db.engine import DatabaseUnavailable
from service.usecases.inventory import NoSuchThing, NotPossible
from service.usecases.orders import BadOrder
from service.web.api import audit, callbacks, document, erasures, figures, files, holds, listings, rules, runs, tokens
from service.web.api.fields import HIGHEST
from service.web.api.forms import Problem
from service.web.api.guard import Guard, refuse_fields
from service.web.api.routes import PREFIX, Route, add_route
from service.web.problems import problem

if TYPE_CHECKING:
    from flask import Response
    from flask_openapi.openapi import OpenAPI
    from pydantic import ValidationError

    from service.web.health import Readiness
    from service.wiring import Service

OPENAPI_VERSION: Final = "3.1.0"
_RETRY_AFTER_S: Final = 2
_MOST_ERRORS: Final = 20

SUBJECTS: Final = (
    files.routes,
    rules.routes,
    holds.routes,
    erasures.routes,
    runs.routes,
    listings.routes,
    callbacks.routes,
    figures.routes,
    tokens.routes,
    audit.routes,
    document.routes,
)


class NumberConverter(IntegerConverter):
    """The number of a thing, as the databases count; whatever else stands in a path leads nowhere."""

    regex = r"[1-9][0-9]{0,18}"

    def __init__(self, map: Any) -> None:  # noqa: A002, ANN401  (werkzeug's signature)
        super().__init__(map, max=HIGHEST)


def declared_routes() -> dict[str, Route]:
    """Every route of the API by its endpoint."""
    return {f"api.{route.name}": route for subject in SUBJECTS for route in subject.routes}


def describe_api() -> dict[str, Any]:
    """What the application has to know of the API when it is made."""
    return {
        "info": Info(title="zego-retention", version=__version__, description="Retention of ZEGO CDN recordings."),
        "security_schemes": {"bearer": SecurityScheme(type="http", scheme="bearer")},
        "validation_error_status": HTTPStatus.UNPROCESSABLE_ENTITY.value,
        "validation_error_model": Problem,
        "validation_error_callback": _answer_invalid,
    }


def add_api(app: OpenAPI, service: Service, readiness: Readiness) -> None:
    """Let `app` answer under `/api/v1`."""
    app.url_map.converters["number"] = NumberConverter
    blueprint = APIBlueprint("api", __name__, url_prefix=PREFIX)
    blueprint.before_request(Guard(service, readiness, declared_routes()))
    for subject in SUBJECTS:
        for route in subject.routes:
            add_route(blueprint, subject.tag, route, service)
    blueprint.register_error_handler(DatabaseUnavailable, _answer_unavailable)
    blueprint.register_error_handler(NotPossible, _answer_not_possible)
    blueprint.register_error_handler(RulesError, _answer_bad_rules)
    app.register_api(blueprint)


def _answer_invalid(error: ValidationError) -> Response:
    found = error.errors(include_url=False, include_context=False, include_input=False)[:_MOST_ERRORS]
    return refuse_fields({".".join(map(str, each["loc"])): each["msg"].removeprefix("Value error, ") for each in found})


def _answer_unavailable(error: DatabaseUnavailable) -> Response:
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), retry_after_s=_RETRY_AFTER_S)


def _answer_not_possible(error: NotPossible) -> Response:
    if isinstance(error, BadOrder):
        return refuse_fields({error.field: str(error)})
    status = HTTPStatus.NOT_FOUND if isinstance(error, NoSuchThing) else HTTPStatus.CONFLICT
    preview = getattr(error, "preview", None)
    return problem(status, str(error), **({} if preview is None else {"preview": preview}))


def _answer_bad_rules(error: RulesError) -> Response:
    return refuse_fields({"rules": str(error)})
