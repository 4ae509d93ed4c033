"""The whole API against its own OpenAPI, with data that fits it and data that does not, on both databases."""

from __future__ import annotations

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

from service.web.api.build import declared_routes
from tests.web.api_scene import ADMIN_TOKEN, fill

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hypothesis.strategies import SearchStrategy
    from schemathesis.generation.case import Case
    from schemathesis.schemas import APIOperation

    from service.web.api.routes import Route
    from tests.web.api_scene import Api

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


def operations(api: Api) -> Iterator[APIOperation[Any, Any, Any, Any]]:
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", api.app)
    for result in schema.get_all_operations():
        if isinstance(result, Err):
            raise result.err()
        yield result.ok()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("examples", [3, pytest.param(40, marks=pytest.mark.long)])
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
def test_every_operation_keeps_to_what_it_documents(api: Api, mode: GenerationMode, examples: int) -> None:
    fill(api)
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    orders = {route.name for route in declared_routes().values() if route.orders}
    for operation in operations(api):
        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.path_parameters):
            continue
        # Nobody carries out a run meanwhile: asking for one is answered 202 after two seconds.
        is_slow = operation.definition.raw["operationId"] in orders & {"request_run", "request_listing"}

        @settings(
            max_examples=1 if is_slow else examples,
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


def described(api: Api) -> Iterator[tuple[Route, dict[str, Any]]]:
    """Every route that OpenAPI shows, as declared and as described."""
    document = api.get("/openapi.json")
    for route in declared_routes().values():
        if not route.hidden:
            path = f"/api/v1{route.path}".replace("<number:number>", "{number}")
            yield route, document["paths"][path][route.method.lower()]


def test_it_describes_every_declared_route_and_no_other(lasting_api: Api) -> None:
    document = lasting_api.get("/openapi.json")
    assert document["openapi"] == "3.1.0"
    shown = {(path, method) for path, item in document["paths"].items() for method in item}
    declared = {
        (f"/api/v1{route.path}".replace("<number:number>", "{number}"), route.method.lower())
        for route in declared_routes().values()
        if not route.hidden
    }
    assert shown == declared


def test_every_operation_documents_its_statuses_its_role_and_its_form(lasting_api: Api) -> None:
    schemas = lasting_api.get("/openapi.json")["components"]["schemas"]
    for route, operation in described(lasting_api):
        good = {route.status.value} | ({202} if route.orders else set())
        assert operation["responses"].keys() == {str(status) for status in good | set(map(int, route.refusals))}
        for status, response in operation["responses"].items():
            [(kind, media)] = response["content"].items()
            assert kind == ("application/json" if int(status) < 400 else "application/problem+json")
            if int(status) < 400 and route.answer is not None:
                name = media["schema"]["$ref"].rpartition("/")[2]
                # Every key of an answer is always there; a page and a file have the same form wherever they are.
                assert set(schemas[name]["required"]) == schemas[name]["properties"].keys(), name
        assert operation["summary"]
        if route.role is None:
            assert "security" not in operation
        else:
            assert operation["security"] == [{"bearer": []}]
            assert operation["x-role"] == route.role.value
            assert route.role.value in operation["description"]
            assert {"401", "422", "503"} <= operation["responses"].keys()


def test_the_document_is_valid_and_every_reference_leads_to_a_schema(lasting_api: Api) -> None:
    schemathesis.openapi.from_wsgi("/api/v1/openapi.json", lasting_api.app).validate()
    document = lasting_api.get("/openapi.json")
    names = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(find_references(document)) <= names
    assert not [name for name in names if "__" in name]  # two forms with one name
    assert document["components"]["securitySchemes"]["bearer"] == {"type": "http", "scheme": "bearer"}


def find_references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from find_references(value)
    elif isinstance(node, list):
        for value in node:
            yield from find_references(value)
