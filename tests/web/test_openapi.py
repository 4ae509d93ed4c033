"""The whole API against its own OpenAPI, with data that fits it and data that does not, on both databases."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Err
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.core.model import Vendor
from service.web.api.build import declared_routes
from service.web.api.forms import Problem
from tests.web.conftest import ADMIN_TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hypothesis.strategies import SearchStrategy
    from schemathesis.generation.case import Case
    from schemathesis.schemas import APIOperation

    from service.web.api.routes import Route
    from tests.web.conftest import Api

EXAMPLES = 20
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


def fill(api: Api) -> None:
    """Some of everything, with the small numbers that examples try."""
    world = api.world
    world.keep("30d")
    world.add(30, age=timedelta(days=29))
    world.send("announced", stream="lesson-1")
    world.send("late", now=world.clock() - timedelta(hours=2))
    world.send("forged", secret="another")
    world.send("huawei", vendor=Vendor.HUAWEI)
    world.clock.move(days=2)
    world.sweep()
    api.post("/holds", {"file": 1, "reason": "looked at"}, status=201)
    api.post("/holds", {"app_id": "1234567890", "stream_pattern": "lesson-*", "reason": "kept"}, status=201)
    api.post("/rules/previews", {"rules": '[[rules]]\nname = "all"\nkeep = "1d"\n'}, status=201)
    number = api.get("/files", text="announced")["items"][0]["id"]
    api.post("/erasures", {"files": [number], "reason": "asked", "expect": 0}, status=201)


def operations(api: Api) -> Iterator[APIOperation[Any, Any, Any, Any]]:
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", api.app)
    for result in schema.get_all_operations():
        if isinstance(result, Err):
            raise result.err()
        yield result.ok()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
def test_every_operation_keeps_to_what_it_documents(api: Api, mode: GenerationMode) -> None:
    fill(api)
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    for operation in operations(api):
        if mode is GenerationMode.NEGATIVE and not has_wrong_data(operation):
            continue

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=cases(operation, mode))
        def ask(case: Case[Any]) -> None:
            case.call_and_validate(headers=headers, checks=CHECKS)

        ask()


def cases(operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode) -> SearchStrategy[Case[Any]]:
    """Where a path holds a number, every other one is that of something that exists."""
    made = operation.as_strategy(generation_mode=mode)
    if not operation.path_parameters:
        return made
    return made | operation.as_strategy(generation_mode=mode, path_parameters={"number": 1})


def has_wrong_data(operation: APIOperation[Any, Any, Any, Any]) -> bool:
    return bool(operation.body or operation.query or operation.path_parameters)


def test_it_describes_every_declared_route_and_no_other(api: Api) -> None:
    document = api.get("/openapi.json")
    assert document["openapi"] == "3.1.0"
    described = {(path, method) for path, item in document["paths"].items() for method in item}
    declared = {
        (f"/api/v1{route.path}".replace("<number:number>", "{number}"), route.method.lower())
        for route in declared_routes().values()
        if not route.hidden
    }
    assert described == declared


def test_every_body_has_an_example_that_fits_it(api: Api) -> None:
    for route, operation in described(api):
        if route.body is not None:
            route.body.model_validate(example(operation["requestBody"], "application/json"))
        assert operation["responses"].keys() == {str(status.value) for status in route.statuses}
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                shown = Problem.model_validate(example(response, "application/problem+json"))
                assert shown.status == int(status)
            elif route.answer is not None:
                route.answer.model_validate(example(response, "application/json"))


def example(body: dict[str, Any], kind: str) -> Any:
    [media] = body["content"].items()
    assert media[0] == kind
    return media[1]["example"]


def described(api: Api) -> Iterator[tuple[Route, dict[str, Any]]]:
    """Every route that OpenAPI shows, as declared and as described."""
    document = api.get("/openapi.json")
    for route in declared_routes().values():
        if not route.hidden:
            path = f"/api/v1{route.path}".replace("<number:number>", "{number}")
            yield route, document["paths"][path][route.method.lower()]


def test_every_operation_tells_its_role_and_how_to_pass(api: Api) -> None:
    assert api.get("/openapi.json")["components"]["securitySchemes"]["bearer"] == {"type": "http", "scheme": "bearer"}
    for route, operation in described(api):
        assert operation["summary"]
        if route.role is None:
            assert "security" not in operation
        else:
            assert operation["security"] == [{"bearer": []}]
            assert operation["x-role"] == route.role.value
            assert route.role.value in operation["description"]
            assert {"401", "422", "503"} <= operation["responses"].keys()
