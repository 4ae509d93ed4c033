from __future__ import annotations

import json

from service.setting_report import describe_settings
from service.settings import Settings, load_settings
from tests.world import APP

SECRETS = {
    "SERVER_SECRET": "server-secret-of-the-app",
    "CALLBACK_SECRET": "first-callback-secret,second-callback-secret",
    "ADMIN_TOKEN": "token-of-the-admin",
    "DATABASE_URL": "postgresql://user:password-of-the-database@host/name?sslpassword=another-password",
}


def load(**values: str) -> Settings:
    return load_settings({f"ZEGO_RETENTION_{name}": value for name, value in values.items()})


def test_every_setting_is_told_as_people_write_it() -> None:
    told = describe_settings(load())
    assert told.keys() == Settings.model_fields.keys() - {"warnings"}
    assert told["sweep_every"] == "15m"
    assert told["listen"] == "127.0.0.1:8080"
    assert told["timezone"] == "UTC"
    assert told["breaker_files"] == 10_000
    assert told["keep"] == "unset"
    assert (told["inbox_keep"], told["history_keep"]) == ("90d", "forever")
    assert told["admin_token"] == "unset"
    assert told["apps"] == []
    assert describe_settings(load(COOLING_OFF="0s"))["cooling_off"] == "0s"
    assert json.loads(json.dumps(told)) == told


def test_of_a_secret_only_that_it_is_set() -> None:
    told = describe_settings(load(APP_ID=APP, **SECRETS))
    assert told["admin_token"] == told["database_url"] == "set"
    assert told["apps"][0]["app_id"] == APP
    assert told["apps"][0]["server_secret"] == told["apps"][0]["callback_secrets"] == "set"
    text = json.dumps(told)
    parts = [*",".join(SECRETS.values()).split(","), "password-of-the-database", "another-password"]
    assert [part for part in parts if part in text] == []
