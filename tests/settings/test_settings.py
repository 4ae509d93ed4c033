from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import trustme
from pydantic import SecretStr, ValidationError

from service.schedule import Cron, Every
from service.settings import (
    AppSettings,
    Listen,
    Settings,
    SettingsError,
    load_settings,
    setting_names,
)
from service.settings.load import WorkerSettings
from service.settings.values import default_database_url, default_spool_dir

ONE_APP = {"APP_ID": "1234567890", "SERVER_SECRET": "server-hush", "CALLBACK_SECRET": "callback-hush"}


def load(**variables: str) -> Settings:
    return load_settings({f"ZEGO_RETENTION_{name}": value for name, value in variables.items()})


def refuse(**variables: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(**variables)
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.__cause__ is None
    return text


def write(folder: Path, text: str) -> str:
    path = folder / "zego-retention.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_without_any_setting_the_documented_defaults_hold() -> None:
    settings = load_settings({"HOME": "/root", "APP_ID": "not ours"})
    assert settings.listen == Listen("127.0.0.1", 8080)
    assert settings.apps == ()
    assert settings.api_url == "https://rtc-api.zego.im/"
    assert (settings.keep, settings.public_url, settings.admin_token) == (None, None, None)
    assert settings.sweep_slots == Every(timedelta(minutes=15))
    assert (settings.retry_first, settings.retry_last) == (timedelta(minutes=1), timedelta(hours=6))
    assert settings.give_up_after == timedelta(days=7)
    assert settings.claim_lease == timedelta(minutes=2)
    assert settings.callback_freshness == timedelta(minutes=15)
    assert (settings.inbox_keep, settings.history_keep) == (timedelta(days=90), None)
    assert (settings.log_format, settings.log_level, settings.warnings) == (None, "INFO", ())


def test_every_documented_name_is_listed() -> None:
    documented = (
        "ADMIN_TOKEN ALLOW_PLAIN_HTTP API_CA_FILE API_PROXY API_URL APP_ID BREAKER_FILES BREAKER_SHARE"
        " CALLBACK_ALLOW CALLBACK_FRESHNESS CALLBACK_SECRET CALLBACK_TOKEN CLAIM_LEASE CONFIRM COOLING_OFF"
        " DATABASE_CONNECTIONS DATABASE_URL GIVE_UP_AFTER HISTORY_KEEP INBOX_KEEP KEEP LISTEN LOG_FORMAT"
        " LOG_LEVEL NOTIFY PING_URL PUBLIC_URL RECONCILE_EVERY RETRY_FIRST RETRY_LAST SERVER_SECRET SPOOL_DIR"
        " SPOOL_MAX SWEEP_CRON SWEEP_EVERY TIMEZONE TRUSTED_PROXIES"
    )
    assert setting_names() == tuple(documented.split())


def test_an_empty_variable_counts_as_unset() -> None:
    assert load(**dict.fromkeys((*setting_names(), "CONFIG", "ADMIN_TOKEN_FILE"), "")) == load()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DATABASE_URL", "sqlite:////var/lib/z.db", "sqlite:////var/lib/z.db"),
        ("DATABASE_URL", "postgresql://u:p@h/n?sslmode=require", "postgresql+psycopg://u:p@h/n?sslmode=require"),
        ("DATABASE_URL", "postgres://u@h:5432/n", "postgresql+psycopg://u@h:5432/n"),
        ("DATABASE_URL", "postgresql+psycopg:///n?host=/run/pg", "postgresql+psycopg:///n?host=/run/pg"),
        *(
            ("DATABASE_URL", f"postgresql://u@h/n?{options}", f"postgresql+psycopg://u@h/n?{options}")
            for options in (
                "options=-csearch_path=retention&application_name=zego&connect_timeout=3",
                "options=-c%20search_path%3Da%20--statement-timeout=5s",
                "host=a:5432&host=b:5433&target_session_attrs=read-write",
                "sslmode=verify-full&sslrootcert=/etc/ca.pem&channel_binding=require",
            )
        ),
        ("DATABASE_CONNECTIONS", "2", 2),
        ("LISTEN", "0.0.0.0:80", Listen("0.0.0.0", 80)),  # noqa: S104  (listens nowhere here)
        ("LISTEN", "[::1]:8080", Listen("::1", 8080)),
        ("LISTEN", "web.internal:65535", Listen("web.internal", 65535)),
        ("API_URL", "https://rtc-api-sha.zego.im", "https://rtc-api-sha.zego.im/"),
        ("API_URL", "http://127.0.0.1:9000/zego", "http://127.0.0.1:9000/zego"),
        ("API_URL", "http://[::1]:9000/", "http://[::1]:9000/"),
        ("API_URL", "http://localhost/", "http://localhost/"),
        ("PUBLIC_URL", "https://example.com/retention/", "https://example.com/retention"),
        ("PUBLIC_URL", "http://10.0.0.1:8080", "http://10.0.0.1:8080"),
        ("KEEP", "30d", "30d"),
        ("KEEP", "forever", "forever"),
        ("SWEEP_EVERY", "1h", timedelta(hours=1)),
        ("SWEEP_EVERY", "off", None),
        ("SWEEP_EVERY", "Off", None),
        ("COOLING_OFF", "0s", timedelta(0)),
        ("BREAKER_FILES", "500", 500),
        ("BREAKER_SHARE", "1", 1.0),
        ("BREAKER_SHARE", "0.05", 0.05),
        ("INBOX_KEEP", "30d", timedelta(days=30)),
        ("INBOX_KEEP", "forever", None),
        ("HISTORY_KEEP", "forever", None),
        ("HISTORY_KEEP", "1s", timedelta(seconds=1)),
        ("TIMEZONE", "Asia/Shanghai", ZoneInfo("Asia/Shanghai")),
        ("SWEEP_CRON", "30 3 * * *", "30 3 * * *"),
        ("LOG_LEVEL", "debug", "DEBUG"),
        ("LOG_FORMAT", "json", "json"),
        ("CONFIRM", "ALL", "all"),
        ("CONFIRM", "Off", "off"),
        ("RECONCILE_EVERY", "OFF", None),
        ("RECONCILE_EVERY", "12h", timedelta(hours=12)),
    ],
)
def test_a_right_value_is_read(name: str, value: str, expected: object) -> None:
    assert getattr(load(**{name: value}), name.lower()) == expected


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("DATABASE_URL", "mysql://u:hush@h/n", "postgresql://user:password@host/name"),
        ("DATABASE_URL", "postgresql+psycopg2://u:hush@h/n", "postgresql://user:password@host/name"),
        ("DATABASE_URL", "postgresql://u:p@h:hush/n", "postgresql://user:password@host/name"),
        ("DATABASE_URL", "postgresql://u:hu:s@hush@h/n", "write it as %40"),
        ("DATABASE_URL", "sqlite:////data/z.db ", "it begins or ends with a space"),
        ("DATABASE_URL", "sqlite://", "sqlite:////var/lib"),
        ("DATABASE_URL", "sqlite:///:memory:", "sqlite:////var/lib"),
        ("DATABASE_URL", "sqlite://data/z.db", "sqlite:////var/lib"),
        (
            "DATABASE_URL",
            "sqlite:///data/z.db",
            "'data/z.db' is relative; write the whole path, for example sqlite:////",
        ),
        ("DATABASE_URL", "sqlite:////data/z.db?timeout=3", "nothing after a question mark"),
        *(
            ("DATABASE_URL", f"postgresql://u:hush@h/n?{options}", hint)
            for options, hint in (
                ("nonsense", "not an option of PostgreSQL"),
                ("hush=1", "not an option of PostgreSQL"),
                ("prepare_threshold=1", "not an option of PostgreSQL"),
                ("sslmode=requir", 'sslmode: invalid sslmode value: "requir"'),
                ("target_session_attrs=best", "target_session_attrs: invalid"),
                ("connect_timeout=soon", "bad value for connect_timeout: 'soon'"),
                ("client_encoding=latin1", "client_encoding is set by this service"),
                ("sslmode=prefer&sslmode=require", "sslmode is given twice"),
                ("options=search_path", "options=-csearch_path=retention"),
                ("options=", "options=-csearch_path=retention"),
                ("options=-csearch_path=a%20-clock_timeout=0", "sets lock_timeout"),
                ("options=--TimeZone=Asia/Shanghai", "sets timezone"),
            )
        ),
        ("DATABASE_URL", "postgresql://u:12?hush@h/n", "is written %3F"),
        ("DATABASE_CONNECTIONS", "1", "from 2 to 1000"),
        ("LISTEN", "8080", "127.0.0.1:8080"),
        ("LISTEN", ":8080", "127.0.0.1:8080"),
        ("LISTEN", "::1:8080", "[::1]:8080"),
        ("LISTEN", "[nonsense]:8080", "[::1]:8080"),
        ("LISTEN", "localhost:0", "127.0.0.1:8080"),
        ("LISTEN", "localhost:65536", "127.0.0.1:8080"),
        ("LISTEN", "localhost:٨٠", "127.0.0.1:8080"),
        ("API_URL", "http://rtc-api.zego.im/", "ALLOW_PLAIN_HTTP=true"),
        ("API_URL", "http://127.0.0.1.example.com/", "ALLOW_PLAIN_HTTP=true"),
        ("API_URL", "ftp://127.0.0.1/", "https://rtc-api.zego.im/"),
        ("API_URL", "https://u:hush@rtc-api.zego.im/", "https://rtc-api.zego.im/"),
        ("API_URL", "https://rtc-api.zego.im/?a=1", "https://rtc-api.zego.im/"),
        ("API_URL", "https://rtc-api.zego.im\\@evil/", "https://rtc-api.zego.im/"),
        ("API_URL", "https:///", "https://rtc-api.zego.im/"),
        ("PUBLIC_URL", "retention.example.com", "https://retention.example.com"),
        ("PUBLIC_URL", "https://example.com/a/zego/callback/", "give only the base, https://example.com/a:"),
        ("KEEP", "30", "30d"),
        ("KEEP", "0d", "30d"),
        ("SWEEP_EVERY", "forever", "for example 1h, or off"),
        ("SWEEP_EVERY", "-5m", "5m"),
        ("SWEEP_CRON", "* * * *", "30 3 * * *"),
        ("SWEEP_CRON", "0 0 30 2 *", "30 3 * * *"),
        ("TIMEZONE", "Mars/Olympus", "Asia/Shanghai"),
        ("TIMEZONE", "Asia", "Asia/Shanghai"),
        ("ALLOW_PLAIN_HTTP", "perhaps", "write true or false"),
        ("BREAKER_FILES", "abc", "write a whole number from 1 on, for example 10000"),
        ("BREAKER_FILES", "0", "write a whole number from 1 on, for example 10000"),
        ("BREAKER_FILES", "1.5", "write a whole number from 1 on, for example 10000"),
        ("BREAKER_SHARE", "0", "write a share above 0 and at most 1, for example 0.2"),
        ("BREAKER_SHARE", "-1", "write a share above 0 and at most 1, for example 0.2"),
        ("BREAKER_SHARE", "1.5", "write a share above 0 and at most 1, for example 0.2"),
        ("BREAKER_SHARE", "abc", "write a share above 0 and at most 1, for example 0.2"),
        ("BREAKER_SHARE", "nan", "write a share above 0 and at most 1, for example 0.2"),
        ("COOLING_OFF", "0", "for example 30d, or 0s for none at all"),
        ("COOLING_OFF", "0d", "for example 30d, or 0s for none at all"),
        ("INBOX_KEEP", "90", "or forever"),
        ("INBOX_KEEP", "0s", "or forever"),
        ("HISTORY_KEEP", "-1d", "or forever"),
        ("HISTORY_KEEP", "never", "or forever"),
        ("ADMIN_TOKEN", "hush hush", "no spaces"),
        (
            "ADMIN_TOKEN",
            "hush" * 4 + "hus",
            "it has 19 characters, and needs at least 20; `openssl rand",
        ),
        ("CALLBACK_TOKEN", "hush", "has 16 to 128 letters, digits, - and _; `openssl rand -hex 16` makes one"),
        ("CALLBACK_TOKEN", "hush" * 4 + "/", "has 16 to 128 letters"),
        ("CALLBACK_TOKEN", "hush" * 4 + ",", "secret 2 of 2 is empty"),
        ("CALLBACK_ALLOW", "192.0.2.7/24", "'192.0.2.7/24' is not a network; write addresses or networks, for example"),
        ("CALLBACK_ALLOW", "192.0.2.7,", "'' is not a network"),
        ("CALLBACK_ALLOW", "zego.im", "'zego.im' is not a network"),
        ("TRUSTED_PROXIES", "-1", "from 0 to 10, for example 1"),
        ("TRUSTED_PROXIES", "true", "from 0 to 10, for example 1"),
        ("LOG_LEVEL", "LOUD", "write DEBUG, INFO, WARNING or ERROR"),
        ("LOG_FORMAT", "xml", "write console or json"),
        ("CONFIRM", "yes", "write off or all, for example off"),
        ("RECONCILE_EVERY", "never", "for example 1h, or off"),
        ("API_PROXY", "proxy.example.com:3128", "http://proxy.example.com:3128"),
        ("API_PROXY", "socks5://u:hush@proxy:1080", "http://user:password@proxy.example.com:3128"),
        ("API_PROXY", "http://u:hush@proxy:port", "http://user:password@proxy.example.com:3128"),
        ("API_PROXY", "http://u:hu@sh@proxy:3128", "percent-encoded"),
        ("API_PROXY", "http://u:hush@proxy:3128/path", "write for example http://"),
        ("API_PROXY", "http://u:hush\u200b@proxy:3128", "invisible"),
        ("API_CA_FILE", "ca.pem", "'ca.pem' is relative; write the whole path"),
        ("API_CA_FILE", "/nowhere/ca.pem", "cannot read '/nowhere/ca.pem': No such file"),
        ("API_CA_FILE", "/etc", "cannot read '/etc'"),
        ("API_CA_FILE", __file__, "holds no certificates; it has to be a PEM file"),
        *(
            (name, f"{quote}{value}{quote}", "is in quotes, which would be part of it; leave them out")
            for name, value in (("KEEP", "30d"), ("ADMIN_TOKEN", "hush"), ("DATABASE_URL", "sqlite:////a.db"))
            for quote in "\"'"
        ),
        ("KEEP", "30d # a month", "there is a comment after its value; put it on a separate line"),
        ("DATABASE_URL", "sqlite:////a.db # hush", "there is a comment after its value"),
        ("DATABASE_URL", "\ufeffsqlite:////a.db", "invisible"),
        ("DATABASE_URL", "postgresql://u:hush\udcff@h/n", "not UTF-8"),
    ],
)
def test_a_bad_value_is_named_with_an_example_of_a_right_one(name: str, value: str, hint: str) -> None:
    text = refuse(**{name: value})
    assert text.startswith(f"ZEGO_RETENTION_{name}: ")
    assert hint in text
    assert "hush" not in text


UNSEEN = ["\ufeff", "\u200b", "\u00ad", "\u00a0", "\u3164", "\0", "\x1b", "\udcff", "\udc80", "é"]
IN_TOML = """
[[apps]]
app_id = "1"
server_secret = {server}
callback_secrets = [{callback}]
"""


@pytest.mark.parametrize("unseen", UNSEEN, ids=ascii)
@pytest.mark.parametrize("name", ["ADMIN_TOKEN", "SERVER_SECRET", "CALLBACK_SECRET"])
@pytest.mark.parametrize("secret", ["{}hush", "hu{}sh", "hush{}"])
def test_a_secret_with_a_character_that_nobody_sees_is_refused_wherever_it_stands(
    tmp_path: Path, name: str, unseen: str, secret: str
) -> None:
    text, file = secret.format(unseen), tmp_path / "secret"
    others = {other: value for other, value in ONE_APP.items() if other != name}
    refusals = [refuse(**others, **{name: text})]
    raw = text.encode("utf-8", "surrogateescape")
    file.write_bytes(raw)
    refusals.append(refuse(**others, **{f"{name}_FILE": str(file)}))
    if "\udc80" > unseen != "\udcff":  # (TOML has no half characters)
        config = write(tmp_path, f"{name.lower()} = {json.dumps(text)}\n")
        refusals.append(refuse(**others, CONFIG=config))
    for refusal in refusals:
        assert name in refusal.partition(":")[0].upper()
        assert "hu" not in refusal.partition(":")[2]


@pytest.mark.parametrize("secret", ["hu\u200bsh", "'hush'", '"hush"', "hush hush"])
def test_the_secrets_of_an_app_in_the_file_are_as_strict(tmp_path: Path, secret: str) -> None:
    right, wrong = json.dumps("right"), json.dumps(secret)
    for name, pair in {"server_secret": (wrong, right), "callback_secrets": (right, f"{right}, {wrong}")}.items():
        text = refuse(CONFIG=write(tmp_path, IN_TOML.format(server=pair[0], callback=pair[1])))
        assert text.startswith(f"{name} of [[apps]] number 1 in ")
        assert "hu" not in text.partition(": ")[2]


def test_a_byte_order_mark_before_the_file_is_skipped(tmp_path: Path) -> None:
    assert load(CONFIG=write(tmp_path, "\ufeff" + TWO_APPS)) == load(CONFIG=write(tmp_path, TWO_APPS))


def test_the_short_way_makes_one_app_with_all_secrets_that_are_being_rotated() -> None:
    settings = load(**ONE_APP | {"CALLBACK_SECRET": "new, old", "API_URL": "https://rtc-api-fra.zego.im/"})
    (app,) = settings.apps
    assert (app.app_id, app.name, app.server_secret) == ("1234567890", "1234567890", SecretStr("server-hush"))
    assert [secret.get_secret_value() for secret in app.callback_secrets] == ["new", "old"]
    assert app.api_url == "https://rtc-api-fra.zego.im/"
    assert (app.is_test, app.clear_cache, app.calls_per_second) == (None, False, 20)
    assert settings.app("1234567890") is app
    assert settings.app("1") is None


@pytest.mark.parametrize("missing", ONE_APP)
def test_the_short_way_needs_all_three_values(missing: str) -> None:
    text = refuse(**{name: value for name, value in ONE_APP.items() if name != missing})
    assert f"not ZEGO_RETENTION_{missing};" in text
    assert "hush" not in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("APP_ID", value) for value in ("0", "-1", "4294967296", "012", "１２", "1" * 5000, "abc")),
        ("SERVER_SECRET", "hush hush"),
        ("CALLBACK_SECRET", "hush,,"),
    ],
)
def test_a_bad_value_of_the_short_way_is_named_and_no_secret_told(name: str, value: str) -> None:
    text = refuse(**ONE_APP | {name: value})
    assert text.startswith(f"ZEGO_RETENTION_{name}: ")
    assert "hush" not in text
    assert len(text) < 200


TWO_APPS = """
keep = "30d"
sweep_every = "5m"

[[apps]]
app_id = 111
name = "school"
server_secret = "toml-hush"
callback_secrets = ["one-hush", "two-hush"]
api_url = "https://rtc-api-sgp.zego.im"
is_test = false
clear_cache = true
calls_per_second = 5

[[apps]]
app_id = "222"
server_secret = "toml-hush"
callback_secrets = ["hush"]
"""


def test_the_file_holds_the_same_names_in_lower_case_and_many_apps(tmp_path: Path) -> None:
    settings = load(CONFIG=write(tmp_path, TWO_APPS), API_URL="https://rtc-api-fra.zego.im/", **ONE_APP)
    assert settings.keep == "30d"
    assert [app.app_id for app in settings.apps] == ["1234567890", "111", "222"]
    assert settings.apps[1] == AppSettings(
        app_id="111",
        name="school",
        server_secret=SecretStr("toml-hush"),
        callback_secrets=(SecretStr("one-hush"), SecretStr("two-hush")),
        api_url="https://rtc-api-sgp.zego.im/",
        is_test=False,
        clear_cache=True,
        calls_per_second=5,
    )
    assert settings.apps[2].api_url == "https://rtc-api-fra.zego.im/"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    settings = load(CONFIG=write(tmp_path, TWO_APPS), KEEP="7d")
    assert (settings.keep, settings.sweep_every) == ("7d", timedelta(minutes=5))


APP = '[[apps]]\napp_id = "111"\nserver_secret = "hush"\ncallback_secrets = ["hush"]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('databse_url = "hush"', "'databse_url' in {path}: there is no such setting; did you mean database_url?"),
        ('KEEP = "1d"', "did you mean keep?"),
        ("[[app]]\napp_id = 1", "did you mean apps?"),
        ("colour = 1", "'colour' in {path}: there is no such setting; docs/settings.md"),
        ('config = "/x"', "'config' in {path}"),
        (APP + 'callback_secret = "hush"', "of [[apps]] number 1 in {path}: there is no such setting; did you mean"),
        (APP + APP, "app 111 is given twice"),
        (APP + "calls_per_second = 21", "calls_per_second of [[apps]] number 1 in {path}: "),
        (APP + "calls_per_second = 0", "write a whole number from 1 to 20, for example 20"),
        (APP + "calls_per_second = 21", "write a whole number from 1 to 20, for example 20"),
        (APP + 'calls_per_second = "5"', "write a whole number"),
        (APP + "name = 5", "write text, in quotes"),
        (APP + 'is_test = "perhaps"', "is_test of [[apps]] number 1"),
        (APP + 'name = ""', "name of [[apps]] number 1"),
        (APP + 'api_url = "http://far.example.com"', "api_url of app 111: "),
        ("[[apps]]\n", "app_id of [[apps]] number 1 in {path}: it is missing"),
        (APP.replace('["hush"]', "[]"), "callback_secrets of [[apps]] number 1"),
        (APP.replace('["hush"]', '["hush hush"]'), "callback_secrets of [[apps]] number 1"),
        (APP.replace('"111"', "true"), "app_id of [[apps]] number 1"),
        ('[apps]\napp_id = "111"', "begins with [[apps]]"),
        ("keep = 30", "keep in {path}: '30' is not a duration: write"),
        ("breaker_files = true", "breaker_files in {path}: write a whole number from 1 on"),
        ("breaker_files = 1.5", "breaker_files in {path}: write a whole number from 1 on"),
        ("breaker_share = 2", "breaker_share in {path}: write a share above 0"),
        ("breaker_share = true", "breaker_share in {path}: write a share above 0"),
        ("admin_token = 30", "admin_token in {path}: "),
        ("keep = ", "{path} is not valid TOML: "),
        ("keep = " + "9" * 5000, "{path} is not valid TOML: "),
        ("keep = " + "[" * 5000, "{path} is not valid TOML: "),
    ],
)
def test_a_fault_in_the_file_is_named_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    told = refuse(CONFIG=path)
    assert message.format(path=path) in told
    assert "hush" not in told


@pytest.mark.parametrize("path", ["zego.toml", "/does/not/exist.toml", "/", "\0"])
def test_a_config_path_that_cannot_be_read_is_named(path: str) -> None:
    text = refuse(CONFIG=path)
    assert text.startswith("ZEGO_RETENTION_CONFIG: ")
    assert repr(path).strip("'") in text


def test_a_config_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert "not UTF-8" in refuse(CONFIG=str(tmp_path / "binary"))


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_every_secret_can_come_from_a_file(tmp_path: Path, ending: str) -> None:
    contents = ONE_APP | {
        "ADMIN_TOKEN": "admin-hush-hush-hush-hush",
        "DATABASE_URL": "postgresql://u:hush@h/n",
        "API_PROXY": "http://u:hush@proxy:3128",
        "CALLBACK_TOKEN": "hush-hush-hush-hush,none",
    }
    for name, value in contents.items():
        (tmp_path / name).write_text(value + ending, encoding="utf-8", newline="")
    files = {f"{name}_FILE": str(tmp_path / name) for name in contents if name != "APP_ID"}
    assert load(APP_ID=contents["APP_ID"], **files) == load(**contents)


def test_secrets_of_the_file_can_come_from_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("new-hush,old-hush\n", encoding="utf-8")
    app = f'[[apps]]\napp_id = 1\nserver_secret = "hush"\ncallback_secrets_file = "{secret}"'
    settings = load(CONFIG=write(tmp_path, app))
    assert settings.apps[0].callback_secrets == (SecretStr("new-hush"), SecretStr("old-hush"))


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    text = refuse(ADMIN_TOKEN="hush", ADMIN_TOKEN_FILE=str(tmp_path))
    assert text == "ZEGO_RETENTION_ADMIN_TOKEN and ZEGO_RETENTION_ADMIN_TOKEN_FILE are both set; keep one of them"


def test_a_secrets_file_in_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from-file-0123456789", encoding="utf-8")
    settings = load(CONFIG=write(tmp_path, 'admin_token = "from-toml"'), ADMIN_TOKEN_FILE=str(secret))
    assert settings.admin_token == SecretStr("from-file-0123456789")


def test_a_secrets_file_that_is_absent_or_empty_is_named_with_its_setting(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n", encoding="utf-8")
    for path in (str(empty), str(tmp_path / "absent"), str(tmp_path)):
        text = refuse(ADMIN_TOKEN_FILE=path)
        assert text.startswith("ZEGO_RETENTION_ADMIN_TOKEN_FILE: ")
        assert path in text


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        # One character is wrong, missing, added, or changed its place.
        ("DATBASE_URL", "DATABASE_URL"),
        ("APPID", "APP_ID"),
        ("CALLBACK_SECRETS", "CALLBACK_SECRET"),
        ("Keep", "KEEP"),
        ("SERVER_SECRETFILE", "SERVER_SECRET_FILE"),
        ("CONFIGS", "CONFIG"),
        ("KEPE", "KEEP"),
        ("KEP", "KEEP"),
        ("LITSEN", "LISTEN"),
        ("TIMEZNOE", "TIMEZONE"),
        # One word is added, left out, exchanged, or changed its place.
        ("KEEP_DAYS", "KEEP"),
        ("LISTEN_PORT", "LISTEN"),
        ("CONFIG_FILE", "CONFIG"),
        ("ZEGO_APP_ID", "APP_ID"),
        ("TOKEN", "ADMIN_TOKEN or ZEGO_RETENTION_CALLBACK_TOKEN"),
        ("KEEP_INBOX", "INBOX_KEEP"),
        ("RECONCILE_INTERVAL", "RECONCILE_EVERY"),
        ("API_TOKEN", "ADMIN_TOKEN"),
    ],
)
def test_a_variable_that_nearly_spells_a_known_one_stops_the_start(wrong: str, right: str) -> None:
    text = refuse(**{wrong: "hush"})
    assert text == f"ZEGO_RETENTION_{wrong}: there is no such setting; did you mean ZEGO_RETENTION_{right}?"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("APP_SECRET", "ZEGO_RETENTION_CALLBACK_SECRET or ZEGO_RETENTION_SERVER_SECRET"),
        ("LOG", "ZEGO_RETENTION_LOG_FORMAT or ZEGO_RETENTION_LOG_LEVEL"),
    ],
)
def test_every_setting_that_may_have_been_meant_is_named(wrong: str, right: str) -> None:
    assert refuse(**{wrong: "hush"}).endswith(f"did you mean {right}?")


@pytest.mark.parametrize("name", ["zego_retention_keep", "Zego_Retention_KEEP", "zego_retention_kepe"])
def test_a_prefix_in_lower_case_stops_the_start(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: there is no such setting; did you mean ZEGO_RETENTION_KEEP"):
        load_settings({name: "30d"})


@pytest.mark.parametrize(
    ("environ", "is_root", "path"),
    [
        ({"HOME": "/home/ann"}, False, "/home/ann/.local/share/zego-retention/zego-retention.db"),
        ({"HOME": "/home/ann", "XDG_DATA_HOME": "/data"}, False, "/data/zego-retention/zego-retention.db"),
        (
            {"HOME": "/home/ann", "XDG_DATA_HOME": "here"},
            False,
            "/home/ann/.local/share/zego-retention/zego-retention.db",
        ),
        ({"HOME": "/root", "XDG_DATA_HOME": "/data"}, True, "/var/lib/zego-retention/zego-retention.db"),
    ],
)
def test_the_default_database_is_one_file_for_each_user(environ: dict[str, str], is_root: bool, path: str) -> None:
    assert default_database_url(environ, is_root=is_root) == f"sqlite:///{path}"


def test_a_user_without_a_home_has_to_say_where_the_database_is() -> None:
    with pytest.raises(SettingsError, match="no home folder"):
        default_database_url({"HOME": "nowhere"}, is_root=False)


@pytest.mark.parametrize(
    ("environ", "database_url", "is_root", "folder"),
    [
        ({"HOME": "/home/ann"}, "sqlite:////data/zego.db", False, "/data/spool"),
        ({"HOME": "/home/ann"}, "postgresql://host/name", False, "/home/ann/.local/state/zego-retention/spool"),
        ({"XDG_STATE_HOME": "/state"}, "postgresql://host/name", False, "/state/zego-retention/spool"),
        ({"XDG_STATE_HOME": "/state"}, "postgresql://host/name", True, "/var/lib/zego-retention/spool"),
        ({"HOME": "nowhere"}, "postgresql://host/name", False, "off"),
    ],
)
def test_the_default_spool_is_beside_sqlite_or_where_the_state_of_programs_is(
    environ: dict[str, str], database_url: str, is_root: bool, folder: str
) -> None:
    assert default_spool_dir(environ, database_url, is_root=is_root) == folder


def test_where_the_spool_is_and_how_large_it_may_be() -> None:
    spool = load(DATABASE_URL="sqlite:////data/zego.db")
    assert (spool.spool_dir, spool.spool_max) == (Path("/data/spool"), 10**9)
    spool = load(SPOOL_DIR="/elsewhere", SPOOL_MAX="20MB")
    assert (spool.spool_dir, spool.spool_max) == (Path("/elsewhere"), 20_000_000)
    assert load(SPOOL_DIR="off").spool_dir is None
    assert "ZEGO_RETENTION_SPOOL_DIR" in refuse(SPOOL_DIR="here")
    assert "1GB" in refuse(SPOOL_MAX="0B")
    assert "ZEGO_RETENTION_SPOOL_MAX" in refuse(SPOOL_MAX="plenty")


def test_the_database_is_the_same_from_whichever_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load().database_url
    monkeypatch.chdir(tmp_path)
    assert load().database_url == before
    assert before.startswith("sqlite:////")


def test_any_other_unknown_variable_is_a_warning() -> None:
    assert load(MOON_PHASE="full", WEB_CONCURRENCY="4").warnings == (
        "ZEGO_RETENTION_MOON_PHASE is not a setting of this release and is ignored",
        "ZEGO_RETENTION_WEB_CONCURRENCY is not a setting of this release and is ignored",
    )


def test_what_kubernetes_injects_is_ignored() -> None:
    injected = {
        "PORT": "tcp://10.0.0.7:8080",
        "SERVICE_HOST": "10.0.0.7",
        "SERVICE_PORT": "8080",
        "SERVICE_PORT_HTTP": "8080",
        "PORT_8080_TCP": "tcp://10.0.0.7:8080",
        "PORT_8080_TCP_PROTO": "tcp",
        "PORT_8080_TCP_PORT": "8080",
        "PORT_8080_TCP_ADDR": "10.0.0.7",
        "WEB_SERVICE_HOST": "10.0.0.8",
        "WEB_PORT": "tcp://10.0.0.8:8080",
    }
    assert load(**injected) == load()
    assert load(PORT="8080").warnings == ("ZEGO_RETENTION_PORT is not a setting of this release and is ignored",)


def test_a_period_and_a_cron_expression_exclude_each_other() -> None:
    assert "SWEEP_CRON" in refuse(SWEEP_EVERY="15m", SWEEP_CRON="0 * * * *")


def test_without_sweeps_there_are_no_slots() -> None:
    assert load(SWEEP_EVERY="off").sweep_slots is None


def test_a_cron_expression_counts_in_its_time_zone() -> None:
    slots = load(SWEEP_CRON="0 3 * * *", TIMEZONE="Asia/Shanghai").sweep_slots
    assert slots == Cron("0 3 * * *", ZoneInfo("Asia/Shanghai"))


def test_the_last_wait_is_not_shorter_than_the_first() -> None:
    assert load(RETRY_FIRST="1h", RETRY_LAST="1h").retry_last == timedelta(hours=1)
    assert "RETRY_LAST" in refuse(RETRY_FIRST="1h", RETRY_LAST="59m")


def test_a_proxy_is_never_sent_plain_http_by_mistake() -> None:
    plain = {"API_URL": "http://127.0.0.1:9000/", "API_PROXY": "http://proxy.example.com:3128"}
    assert "ALLOW_PLAIN_HTTP=true" in refuse(**plain)
    assert "calls leave this machine by ZEGO_RETENTION_API_PROXY" in refuse(**plain)
    assert load(**plain, ALLOW_PLAIN_HTTP="true").api_proxy == "http://proxy.example.com:3128"


def test_certificates_are_taken_from_a_pem_file(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(path)
    assert load(API_CA_FILE=str(path)).api_ca_file == str(path)


def test_plain_http_is_allowed_by_name_only() -> None:
    settings = load(API_URL="http://far.example.com", ALLOW_PLAIN_HTTP="true", **ONE_APP)
    assert settings.apps[0].api_url == "http://far.example.com/"


def test_no_secret_shows_in_a_repr() -> None:
    proxy = "http://u:hush@proxy:3128"
    settings = load(
        DATABASE_URL="postgresql://u:hush@h/n",
        ADMIN_TOKEN="hush" * 5,
        API_PROXY=proxy,
        CALLBACK_TOKEN="hush" * 5,
        **ONE_APP,
    )
    assert "hush" not in repr(settings)
    assert "hush" not in str(settings)
    assert "hush" not in repr(settings.apps)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load().keep = "1d"  # type: ignore[misc]


@pytest.mark.parametrize("text", ["[::1]:8080", "127.0.0.1:8080"])
def test_an_address_is_written_as_it_was_read(text: str) -> None:
    assert str(load(LISTEN=text).listen) == text


@pytest.mark.parametrize(
    ("secrets", "problem"),
    [
        ("a,b,", "secret 3 of 3 is empty: there is a comma at its end; leave it out"),
        ("a,,b", "secret 2 of 3 is empty: there is a comma too many; leave it out"),
    ],
)
def test_an_empty_one_of_several_secrets_is_named(secrets: str, problem: str) -> None:
    assert refuse(**ONE_APP | {"CALLBACK_SECRET": secrets}) == f"ZEGO_RETENTION_CALLBACK_SECRET: {problem}"


@pytest.mark.parametrize("variable", ["ZEGO_RETENTON_KEEP", "ZEGORETENTION_KEEP", "ZEGO_RENTENTION_KEEP"])
def test_a_misspelt_prefix_is_a_warning(variable: str) -> None:
    assert load_settings({variable: "30d"}).warnings == (
        f"{variable} is ignored: every setting begins with ZEGO_RETENTION_",
    )
    assert load_settings({variable: "", "ZEGO_APP_ID": "1", "ZEGO_SERVER_SECRET": "x"}).warnings == ()


def test_channels_are_separated_by_commas_or_lines_and_may_hold_commas(tmp_path: Path) -> None:
    urls = ["dingtalk://hush@token/", "mailto://u:hush@example.com?to=a@example.com,b@example.com", "json://h/x"]
    file = tmp_path / "channels"
    for text in (",".join(urls), "\n".join(urls), " ,\r\n".join(urls) + "\n"):
        file.write_text(text, encoding="utf-8")
        settings = load(NOTIFY_FILE=str(file))
        assert [url.get_secret_value() for url in settings.notify] == urls
        assert "hush" not in repr(settings)
    assert len(load(CONFIG=write(tmp_path, f"notify = {json.dumps(urls)}")).notify) == 3


@pytest.mark.parametrize("name", ["NOTIFY", "PING_URL"])
@pytest.mark.parametrize(
    "value", ["hush-token", "/hush-token", "https://exa mple.com/hush", "https://example.com/hush\u200b"]
)
def test_a_channel_that_is_no_url_is_named_and_not_repeated(name: str, value: str) -> None:
    said = refuse(**{name: value})
    assert said.startswith(f"ZEGO_RETENTION_{name}: not ")
    assert "hush" not in said


def test_what_a_worker_wrote_down_counts_and_reads_the_same() -> None:
    plain = load_settings({})
    for changed in (
        {"COOLING_OFF": "0s", "BREAKER_FILES": "7", "BREAKER_SHARE": "0.5", "CONFIRM": "all", "SWEEP_EVERY": "off"},
        {"SWEEP_CRON": "30 3 * * *", "TIMEZONE": "Asia/Shanghai", "RETRY_FIRST": "2m", "RETRY_LAST": "1h"},
        {"GIVE_UP_AFTER": "3d", "CALLBACK_FRESHNESS": "10m"},
    ):
        worker = load_settings({f"ZEGO_RETENTION_{name}": value for name, value in changed.items()})
        found = plain.with_worker(worker.write_down())
        assert found.write_down() == worker.write_down()
        assert all(getattr(found, name) == getattr(worker, name) for name in WorkerSettings.model_fields)
        assert found.database_url == plain.database_url
    assert plain.with_worker(None) == plain
    assert plain.with_worker({"of_a_later_release": "1", "confirm": "all"}).confirm == "all"
