"""Who may ask the API, and what is refused before any route is entered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.filters import AUDIT_ACTIONS
from service.model import Role, may
from service.web.api.build import declared_routes
from service.web.app import create_app
from tests.web.api_scene import ADMIN_TOKEN, open_api

if TYPE_CHECKING:
    from werkzeug.routing import Rule

    from tests.web.api_scene import Api

# Not part of the API, and open on purpose (docs/http.md).
OPEN = {"/zego/callback", "/zego/callback/", "/healthz", "/readyz", "/metrics"}
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
    rules = api.app.url_map.iter_rules()
    return [rule for rule in rules if rule.rule not in OPEN and not rule.endpoint.startswith("console.")]


def needed(rule: Rule) -> Role | None:
    """The role declared beside the route; a route without a declaration fails here."""
    return declared_routes()[rule.endpoint].role


def test_every_route_is_declared_and_public_only_on_purpose(lasting_api: Api) -> None:
    rules = api_rules(lasting_api)
    assert len(rules) > 40
    assert all(rule.rule.startswith("/api/v1/") for rule in rules)
    assert {rule.rule for rule in rules if needed(rule) is None} == PUBLIC


def test_what_changes_something_needs_more_than_a_viewer(lasting_api: Api) -> None:
    for rule in api_rules(lasting_api):
        if not (rule.methods or set()) <= {"GET", "HEAD", "OPTIONS"}:
            assert needed(rule) in (Role.OPERATOR, Role.ADMIN), rule


def test_every_route_accepts_whom_it_should_and_nobody_else(api: Api) -> None:
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


@pytest.mark.parametrize("bearer", ["expired", "revoked"])
def test_a_token_that_opens_nothing_is_refused_with_the_reason(
    lasting_api: Api, bearer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    response = lasting_api.ask("GET", "/files", role=bearer)
    assert response.status_code == 401
    assert response.content_type == "application/problem+json"
    assert bearer in response.json["detail"]  # type: ignore[index]
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
    logged = "".join(capsys.readouterr())
    assert "token_refused" in logged
    assert lasting_api.tokens[bearer] not in logged


@pytest.mark.parametrize("header", ["", "Basic YTpi", "Bearer", "Bearer  ", "token"])
def test_without_a_bearer_token_the_challenge_names_no_error(lasting_api: Api, header: str) -> None:
    response = lasting_api.app.test_client().get("/api/v1/files", headers={"Authorization": header})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="zego-retention"'


@pytest.mark.parametrize("token", ["x", "é", "\x7f", "a b", "x" * 5_000, ADMIN_TOKEN[:-1]])
def test_an_unknown_token_is_refused(lasting_api: Api, token: str) -> None:
    lasting_api.tokens["made up"] = token
    response = lasting_api.ask("GET", "/files", role="made up")
    assert response.status_code == 401
    assert "unknown" in response.json["detail"]  # type: ignore[index]


def test_the_token_of_the_settings_is_an_admin_and_none_in_an_address_counts(lasting_api: Api) -> None:
    lasting_api.tokens["setting"] = ADMIN_TOKEN
    assert lasting_api.ask("GET", "/tokens", role="setting").status_code == 200
    response = lasting_api.ask("GET", f"/files?access_token={ADMIN_TOKEN}", role="none")
    assert response.status_code == 401
    assert ADMIN_TOKEN not in response.text


def test_a_role_too_low_is_refused_with_the_one_that_it_takes(lasting_api: Api) -> None:
    response = lasting_api.ask("POST", "/runs", role="viewer")
    assert response.status_code == 403
    assert "operator" in response.json["detail"]  # type: ignore[index]
    assert 'error="insufficient_scope"' in response.headers["WWW-Authenticate"]


def test_while_there_is_no_token_at_all_the_answer_says_how_to_start(sqlite_url: str) -> None:
    with open_api(sqlite_url) as api:
        settings = api.world.service.settings.model_copy(update={"admin_token": None})
        app = create_app(settings, now=api.world.clock)
        assert "ZEGO_RETENTION_ADMIN_TOKEN" not in app.test_client().get("/api/v1/files").text
        with api.world.database.write() as tx:
            tx.exec_driver_sql("DELETE FROM tokens")
        response = app.test_client().get("/api/v1/files")
        assert response.status_code == 401
        assert "ZEGO_RETENTION_ADMIN_TOKEN" in response.text
        app.extensions["zego-retention"].close()


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 200_000, "application/json", 400),
        (b'{"role":' + b"9" * 10_000 + b"}", "application/json", 400),
        (b"[]", "application/json", 422),
        (b'"{}"', "application/json", 422),
        (b"null", "application/json", 422),
        (b"{}", "text/plain", 415),
        (b"name=a", "application/x-www-form-urlencoded", 415),
        (b" " * (1024 * 1024 + 1), "application/json", 413),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_body_that_cannot_be_read(lasting_api: Api, body: bytes, kind: str, status: int) -> None:
    response = lasting_api.ask("POST", "/tokens", data=body, content_type=kind)
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/tokens", {"name": "a", "role": "king"}, "role"),
        ("/tokens", {"name": "\ud800", "role": "viewer"}, "name"),
        ("/tokens", {"name": "a", "role": "viewer", "extra": 1}, "extra"),
        ("/tokens", {"name": "a", "role": "viewer", "expires_at": "2000-01-01"}, "expires_at"),
        ("/holds", {"file": 2**63, "reason": "x"}, "file"),
        ("/holds", {"file": "1", "reason": "x"}, "file"),
        ("/holds", {"file": 99, "reason": "x"}, "file"),
        ("/holds", {"file": 1, "reason": " "}, "reason"),
        ("/holds", {"file": 1, "reason": "a\x00b"}, "reason"),
        ("/holds", {"file": 1, "reason": "x", "until": "tomorrow"}, "until"),
        ("/holds", {"file": 1, "reason": "x", "until": "30d"}, "until"),
        ("/holds", {"stream_pattern": "x*", "reason": "x"}, "app_id"),
        ("/erasures/previews", {"files": [1, "x"], "reason": "x"}, "files.1"),
        ("/rules/previews", {"rules": "[[rules]]"}, "rules"),
        ("/rules/previews", {}, ""),
        ("/listings", {"app_id": "42"}, "app_id"),
        ("/runs", {"now": True}, ""),
    ],
    ids=repr,
)
def test_a_wrong_body_is_refused_with_its_field(lasting_api: Api, path: str, body: object, field: str) -> None:
    response = lasting_api.ask("POST", path, body)
    assert response.status_code == 422, response.text
    assert field in [error["field"] for error in response.json["errors"]]  # type: ignore[index]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "limit=",
        "limit=1&limit=2",
        "cursor=x",
        "cursor=LTE",
        "cursor=" + "OTk5" * 20,
        "state=lost",
        "nonsense=1",
        "due_before=0",
        "due_before=0001-01-01T00:00:00%2B23:00",
        "due_after=soon",
        "text=%00",
        "text=",
        "stream=" + "x" * 256,
        "app=x",
    ],
)
def test_a_wrong_parameter_is_refused_by_name(lasting_api: Api, query: str) -> None:
    response = lasting_api.ask("GET", f"/files?{query}")
    assert response.status_code == 422, response.text
    assert response.json["errors"][0]["field"] == query.partition("=")[0]  # type: ignore[index]


def test_a_request_is_refused_in_plain_words(lasting_api: Api) -> None:
    unknown = lasting_api.ask("GET", "/files?stat=kept")
    assert unknown.json["detail"] == "stat: is unknown"  # type: ignore[index]
    for refused in (
        lasting_api.ask("GET", "/files?vendor=Wangsu"),
        lasting_api.ask("POST", "/listings", {"vendor": "Wangsu"}),
    ):
        assert refused.status_code == 422
        assert refused.json["detail"] == """vendor: 'Wangsu' is none of Tencent, Ws, Huawei: write "Ws\""""  # type: ignore[index]
    action = lasting_api.ask("GET", "/audit?action=rules.aply")
    assert action.status_code == 422
    assert action.json["detail"] == f"action: 'rules.aply' is none of {', '.join(AUDIT_ACTIONS)}"  # type: ignore[index]
    missing = lasting_api.ask("POST", "/holds", {"file": 1})
    assert missing.json["errors"] == [{"field": "reason", "detail": "is missing"}]  # type: ignore[index]


@pytest.mark.parametrize("number", ["0", "-1", "1.0", "x", "٣", str(2**63), "9" * 5_000, "%00"])
def test_a_path_that_holds_no_number_leads_nowhere(lasting_api: Api, number: str) -> None:
    response = lasting_api.ask("GET", f"/files/{number}")
    assert response.status_code == 404
    assert response.content_type == "application/problem+json"


def test_what_does_not_exist_is_not_found(api: Api) -> None:
    paths = [route.path for route in declared_routes().values() if "<number:" in route.path and route.method == "GET"]
    assert len(paths) > 10
    for path in paths:
        for number in (77, 2**31, 2**63 - 1):
            answer = api.get(path.replace("<number:number>", str(number)), status=404)
            assert str(number) in answer["detail"], path


def test_a_database_that_is_away_is_answered_503_without_its_address(lasting_api: Api) -> None:
    settings = lasting_api.world.service.settings.model_copy(
        update={"database_url": "postgresql+psycopg://somebody@127.0.0.1:9/x", "spool_dir": None}
    )
    app = create_app(settings)
    client = app.test_client()
    response = client.get("/api/v1/files", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "2"
    assert "127.0.0.1" not in response.text
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
    assert "zego_retention_database_up 0" in client.get("/metrics").text
    app.extensions["zego-retention"].close()


def test_other_methods_and_paths_are_problems_too(lasting_api: Api) -> None:
    assert lasting_api.ask("DELETE", "/files").status_code == 405
    assert lasting_api.ask("GET", "/nothing").status_code == 404
