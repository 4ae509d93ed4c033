"""Every route of the application x everybody who may knock, from the application's own route table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.core.model import Role, may
from service.web.api.build import declared_routes

if TYPE_CHECKING:
    from werkzeug.routing import Rule

    from tests.web.conftest import Api

# Not part of the API, and open on purpose (docs/http.md).
OPEN = {"/zego/callback", "/healthz", "/readyz", "/metrics"}
PUBLIC = {
    "/api/v1/openapi.json",
    "/api/v1/docs",
    "/api/v1/docs/start.js",
    "/api/v1/docs/swagger-ui.css",
    "/api/v1/docs/swagger-ui-bundle.js",
}
BEARERS: dict[str, Role | None] = {
    "none": None,
    "expired": None,
    "revoked": None,
    "viewer": Role.VIEWER,
    "operator": Role.OPERATOR,
    "admin": Role.ADMIN,
}


def api_rules(api: Api) -> list[Rule]:
    return [rule for rule in api.app.url_map.iter_rules() if rule.rule not in OPEN]


def needed(rule: Rule) -> Role | None:
    """The role declared beside the route; a route without a declaration fails here."""
    return declared_routes()[rule.endpoint].role


def test_every_route_is_declared_and_public_only_on_purpose(api: Api) -> None:
    rules = api_rules(api)
    assert len(rules) > 25
    assert all(rule.rule.startswith("/api/v1/") for rule in rules)
    assert {rule.rule for rule in rules if needed(rule) is None} == PUBLIC


def test_what_changes_something_needs_more_than_a_viewer(api: Api) -> None:
    for rule in api_rules(api):
        if not (rule.methods or set()) <= {"GET", "HEAD", "OPTIONS"}:
            assert needed(rule) in (Role.OPERATOR, Role.ADMIN), rule


def test_every_route_lets_in_whom_it_should_and_nobody_else(api: Api) -> None:
    for rule in api_rules(api):
        role = needed(rule)
        for method in sorted(rule.methods or set()):
            for bearer, has in BEARERS.items():
                path = rule.rule.replace("<number:number>", "999999").removeprefix("/api/v1")
                status = api.ask(method, path, role=bearer).status_code
                where = f"{method} {rule.rule} as {bearer}: {status}"
                if role is None or (has is not None and may(has, role)):
                    assert status not in (401, 403) and status < 500, where  # noqa: PT018
                else:
                    assert status == (401 if has is None else 403), where
