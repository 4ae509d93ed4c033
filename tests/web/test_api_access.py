"""What knocking at the API is answered, before any route is entered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.web.app import create_app
from tests.web.conftest import ADMIN_TOKEN, open_app

if TYPE_CHECKING:
    from tests.web.conftest import Api


@pytest.mark.parametrize("bearer", ["expired", "revoked"])
def test_a_token_that_opens_nothing_is_told_why(
    lasting_api: Api, bearer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    response = lasting_api.ask("GET", "/files", role=bearer)
    assert response.status_code == 401
    assert response.content_type == "application/problem+json"
    assert bearer in response.json["detail"]  # type: ignore[index]
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
    told = "".join(capsys.readouterr())
    assert "token_refused" in told
    assert lasting_api.tokens[bearer] not in told


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


def test_the_token_of_the_settings_is_an_admin(lasting_api: Api) -> None:
    lasting_api.tokens["setting"] = ADMIN_TOKEN
    assert lasting_api.ask("GET", "/tokens", role="setting").status_code == 200


def test_a_token_in_the_address_is_not_taken(lasting_api: Api) -> None:
    response = lasting_api.ask("GET", f"/files?access_token={ADMIN_TOKEN}", role="none")
    assert response.status_code == 401
    assert ADMIN_TOKEN not in response.text


def test_a_role_too_low_is_told_which_it_takes(lasting_api: Api) -> None:
    response = lasting_api.ask("POST", "/runs", role="viewer")
    assert response.status_code == 403
    assert "operator" in response.json["detail"]  # type: ignore[index]
    assert 'error="insufficient_scope"' in response.headers["WWW-Authenticate"]


def test_while_there_is_no_token_at_all_the_answer_says_how_to_start(sqlite_url: str) -> None:
    with open_app(sqlite_url) as app:
        response = app.test_client().get("/api/v1/files")
        assert response.status_code == 401
        assert "ZEGO_RETENTION_ADMIN_TOKEN" in response.text


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
        ("/holds", {"file": 2**63, "reason": "x"}, "file"),
        ("/holds", {"file": "1", "reason": "x"}, "file"),
        ("/holds", {"file": 1, "reason": " "}, "reason"),
        ("/holds", {"file": 1, "reason": "a\x00b"}, "reason"),
        ("/holds", {"file": 1, "reason": "x", "until": "tomorrow"}, "until"),
        ("/holds", {"stream_pattern": "x*", "reason": "x"}, "app_id"),
        ("/erasures/previews", {"files": [1, "x"], "reason": "x"}, "files.1"),
        ("/rules/previews", {"rules": "[[rules]]"}, "rules"),
        ("/rules/previews", {}, ""),
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


@pytest.mark.parametrize("number", ["0", "-1", "1.0", "x", "٣", str(2**63), "9" * 5_000, "%00"])
def test_a_path_that_holds_no_number_leads_nowhere(lasting_api: Api, number: str) -> None:
    response = lasting_api.ask("GET", f"/files/{number}")
    assert response.status_code == 404
    assert response.content_type == "application/problem+json"


def test_what_does_not_exist_is_not_found(api: Api) -> None:
    paths = ["/files/{}", "/files/{}/explanation", "/holds/{}", "/erasures/{}", "/runs/{}", "/runs/{}/files"]
    paths += ["/runs/{}/calls", "/callbacks/{}", "/rules/previews/{}", "/rules/revisions/{}"]
    for path in paths:
        for number in (77, 2**31, 2**63 - 1):
            response = api.ask("GET", path.format(number))
            assert response.status_code == 404, (path, response.text)
            assert str(number) in response.json["detail"]  # type: ignore[index]


def test_a_database_that_is_away_is_answered_503(lasting_api: Api) -> None:
    settings = lasting_api.world.service.settings.model_copy(
        update={"database_url": "postgresql+psycopg://127.0.0.1:9/x"}
    )
    app = create_app(settings)
    response = app.test_client().get("/api/v1/files", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "2"
    app.extensions["zego-retention"].close()


def test_other_methods_and_paths_are_problems_too(lasting_api: Api) -> None:
    assert lasting_api.ask("DELETE", "/files").status_code == 405
    assert lasting_api.ask("GET", "/nothing").status_code == 404
