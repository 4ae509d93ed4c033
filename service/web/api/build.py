"""The API put together: every subject's routes, the guard before them, and how errors are answered."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import structlog
from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.info import Info
from flask_openapi.models.security_scheme import SecurityScheme
from flask_openapi.openapi import OpenAPI
from pydantic import ValidationError
from werkzeug.routing import IntegerConverter

from service import __version__
from service.audit.checks import BadOrder
from service.database import DatabaseUnavailable
from service.files.actions import NotAsExpected
from service.model import NoSuchThing, NotPossible
from service.preview.apply import PreviewNeeded
from service.rules.file import RulesError
from service.views.form import to_json
from service.views.holds import ErasurePreview
from service.views.listed import MAX_NUMBER
from service.views.rules import describe_preview
from service.web.api import audit, callbacks, document, figures, files, holds, rules, runs
from service.web.api.fields import Problem
from service.web.api.guard import Guard, refuse_fields
from service.web.api.routes import PREFIX, Backend, Route, add_route
from service.web.problems import RETRY_AFTER_S, problem
from service.web.threads import Busy, answer_busy

OPENAPI_VERSION: Final = "3.1.0"
_MAX_ERRORS: Final = 20
_SUBJECTS: Final = (
    *(files.routes, rules.routes, holds.routes, holds.erasure_routes, runs.routes, runs.listing_routes),
    *(callbacks.routes, figures.routes, audit.routes, audit.token_routes, document.routes),
)

log = structlog.get_logger(__name__)


class NumberConverter(IntegerConverter):
    """The number of a thing, as the databases count; whatever else stands in a path leads nowhere."""

    regex = r"[1-9][0-9]{0,18}"

    def __init__(self, map: Any) -> None:  # noqa: A002, ANN401  (werkzeug's signature)
        super().__init__(map, max=MAX_NUMBER)


def declared_routes() -> dict[str, Route]:
    """Every route of the API by its endpoint."""
    return {f"api.{route.name}": route for subject in _SUBJECTS for route in subject.routes}


def describe_api() -> dict[str, Any]:
    """What the application has to know of the API when it is made."""
    return {
        "info": Info(title="zego-retention", version=__version__, description="Retention of ZEGO CDN recordings."),
        "security_schemes": {"bearer": SecurityScheme(type="http", scheme="bearer")},
        "validation_error_status": HTTPStatus.UNPROCESSABLE_ENTITY.value,
        "validation_error_model": Problem,
        "validation_error_callback": _answer_invalid,
    }


def add_api(app: OpenAPI, backend: Backend, prepare: Callable[[], None]) -> None:
    """Let `app` answer under `/api/v1`; `prepare` makes the database ready, or raises DatabaseUnavailable."""
    app.url_map.converters["number"] = NumberConverter
    blueprint = APIBlueprint("api", __name__, url_prefix=PREFIX)
    blueprint.before_request(Guard(backend.service, prepare, declared_routes()))
    for subject in _SUBJECTS:
        for route in subject.routes:
            add_route(blueprint, subject.tag, route, backend)
    blueprint.register_error_handler(DatabaseUnavailable, _answer_unavailable)
    blueprint.register_error_handler(Busy, answer_busy)
    blueprint.register_error_handler(NotPossible, _answer_not_possible)
    blueprint.register_error_handler(RulesError, lambda error: refuse_fields({"rules": str(error)}))
    app.register_api(blueprint)


def _answer_invalid(error: ValidationError) -> Response:
    found = error.errors(include_url=False, include_context=False, include_input=False)[:_MAX_ERRORS]
    return refuse_fields({".".join(map(str, each["loc"])): each["msg"].removeprefix("Value error, ") for each in found})


def _answer_unavailable(error: DatabaseUnavailable) -> Response:
    log.error("database_unavailable", detail=str(error))
    text = "the database cannot be asked at the moment; the log of this process says why"
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, text, retry_after_s=RETRY_AFTER_S)


def _answer_not_possible(error: NotPossible) -> Response:
    if isinstance(error, BadOrder):
        return refuse_fields({error.field: str(error)})
    status = HTTPStatus.NOT_FOUND if isinstance(error, NoSuchThing) else HTTPStatus.CONFLICT
    members: dict[str, Any] = {}
    if isinstance(error, PreviewNeeded):
        members["preview"] = to_json(describe_preview(error.preview))
    elif isinstance(error, NotAsExpected):
        members["preview"] = to_json(ErasurePreview.model_validate(error.preview))
    return problem(status, str(error), **members)
