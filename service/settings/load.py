"""The settings of the service, typed and checked; README.md and docs/settings.md say what each one means."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from service.schedule import Cron, Every, Slots
from service.settings import values
from service.settings.names import PREFIX, Place, SettingsError, make_keys, read_config, read_environment
from service.settings.values import Listen
from service.units import FOREVER, format_duration, parse_duration, parse_size


def _check_with(check: Callable[[str], object]) -> Callable[[SecretStr], SecretStr]:
    """Checks what a secret holds; no error repeats any of it."""

    def check_secret(secret: SecretStr) -> SecretStr:
        check(secret.get_secret_value())
        return secret

    return check_secret


def _read(parse: Callable[[str], object]) -> BeforeValidator:
    """Reads what people write; of a TOML file also numbers, which are then said to be wrong like any other text."""
    return BeforeValidator(lambda value: parse(str(value)))


def _text(change: Callable[[str], object]) -> BeforeValidator:
    """Changes text, and leaves anything else to be judged as it is."""
    return BeforeValidator(lambda value: change(value) if isinstance(value, str) else value)


def _split(text: str) -> list[str]:
    parts = [part.strip(" \t\r\n") for part in text.split(",")]
    if "" in parts and len(parts) > 1:
        hint = "there is a comma at its end" if parts[-1] == "" else "there is a comma too many"
        raise ValueError(f"secret {parts.index('') + 1} of {len(parts)} is empty: {hint}; leave it out")
    return parts


def _join(given: object) -> str:
    """A list of a TOML file as people write it in a variable."""
    return ",".join(map(str, given)) if isinstance(given, list) else str(given)


# Python takes true and false for numbers.
_NO_BOOL: Final = BeforeValidator(lambda value: "" if isinstance(value, bool) else value)

Duration = Annotated[timedelta, _read(parse_duration)]
Period = Annotated[timedelta | None, _read(values.duration_or("off", None, example="1h"))]
Window = Annotated[timedelta | None, _read(values.duration_or(FOREVER, None))]
Pause = Annotated[timedelta, _read(values.duration_or("0s", timedelta(0), " for none at all"))]
Secret = Annotated[SecretStr, AfterValidator(_check_with(values.check_secret))]
NotifyUrl = Annotated[SecretStr, AfterValidator(_check_with(values.check_notify_url))]
PingUrl = Annotated[SecretStr, AfterValidator(_check_with(values.check_ping_url))]
Networks = Annotated[tuple[values.Network, ...], BeforeValidator(lambda given: values.parse_networks(_join(given)))]
CallbackToken = Annotated[Secret, AfterValidator(_check_with(values.check_callback_token))]
ApiUrl = Annotated[str, _read(values.parse_api_url)]

_FLAG: Final = "write true or false, for example true"
_ZEGO: Final = "https://rtc-api.zego.im/"


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _write(value: object) -> str:
    if isinstance(value, timedelta):
        return format_duration(value) if value else "0s"
    return "off" if value is None else str(value)


class _Frozen(BaseModel):
    """The description of a field says what would be right, where what reads it does not say so itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class AppSettings(_Frozen):
    """One app (project) of ZEGO's console."""

    app_id: Annotated[str, _read(values.parse_app_id)]
    name: str = Field(default_factory=lambda fields: fields.get("app_id", ""), min_length=1)
    server_secret: Secret
    callback_secrets: Annotated[tuple[Secret, ...], _text(_split)] = Field(
        min_length=1, description='write a list of at least one, for example ["secret"]'
    )
    api_url: ApiUrl = _ZEGO
    is_test: bool | None = Field(None, description=_FLAG)
    clear_cache: bool = Field(default=False, description=_FLAG)
    calls_per_second: int = Field(
        20, ge=1, le=20, strict=True, description="write a whole number from 1 to 20, for example 20"
    )


class WorkerSettings(_Frozen):
    """When files are deleted, and what guards them: those of the worker count, whatever a command's shell says."""

    sweep_every: Period = timedelta(minutes=15)
    timezone: Annotated[ZoneInfo, _read(values.parse_timezone)] = ZoneInfo("UTC")
    sweep_cron: Annotated[str, _read(values.check_cron)] | None = None
    retry_first: Duration = timedelta(minutes=1)
    retry_last: Duration = timedelta(hours=6)
    give_up_after: Duration = timedelta(days=7)
    cooling_off: Pause = timedelta(hours=24)
    breaker_files: Annotated[int, _NO_BOOL] = Field(
        10_000, ge=1, description="write a whole number from 1 on, for example 10000"
    )
    breaker_share: Annotated[float, _NO_BOOL] = Field(
        0.2, gt=0, le=1, description="write a share above 0 and at most 1, for example 0.2"
    )
    confirm: Annotated[Literal["off", "all"], _text(str.lower)] = Field(
        "off", description="write off or all, for example off"
    )
    callback_freshness: Duration = timedelta(minutes=15)

    @property
    def sweep_slots(self) -> Slots | None:
        """When sweeps are meant to start; None: no sweep starts by itself (`SWEEP_EVERY=off`)."""
        if self.sweep_cron:
            return Cron(self.sweep_cron, self.timezone)
        return None if self.sweep_every is None else Every(self.sweep_every)

    def write_down(self) -> dict[str, str]:
        """These settings as text that reads the same again, by their names."""
        found = {name: getattr(self, name) for name in WorkerSettings.model_fields}
        return {name: _write(value) for name, value in found.items() if value is not None or name == "sweep_every"}


class Settings(WorkerSettings):
    """Everything that can be set. `warnings` are one-line notes for the log about variables that mean nothing.

    None stands for "off" in `sweep_every`, `reconcile_every` and `spool_dir`, and for "forever" in `inbox_keep` and
    `history_keep`.
    """

    database_url: Annotated[str, _read(values.parse_database_url)] = Field(repr=False)
    database_connections: Annotated[int, _NO_BOOL] = Field(
        20, ge=2, le=1_000, description="write a whole number from 2 to 1000, for example 20"
    )
    spool_dir: Annotated[Path | None, _read(values.parse_spool_dir)] = None
    spool_max: Annotated[int, _read(parse_size)] = Field(10**9, gt=0, description="write a size, for example 1GB")
    listen: Annotated[Listen, _read(values.parse_listen)] = Listen("127.0.0.1", 8080)
    allow_plain_http: bool = Field(default=False, description=_FLAG)
    api_url: ApiUrl = _ZEGO
    api_proxy: Annotated[str, _read(values.parse_proxy)] | None = Field(None, repr=False)
    api_ca_file: Annotated[str, _read(values.check_ca_file)] | None = None
    apps: tuple[AppSettings, ...] = ()
    public_url: Annotated[str, _read(values.parse_public_url)] | None = None
    callback_token: Annotated[tuple[CallbackToken, ...], _text(_split)] = ()
    callback_allow: Networks = ()
    trusted_proxies: Annotated[int, _NO_BOOL] = Field(
        0, ge=0, le=10, description="write how many proxies stand in front, from 0 to 10, for example 1"
    )
    keep: Annotated[str, _read(values.check_keep)] | None = None
    claim_lease: Duration = timedelta(minutes=2)
    reconcile_every: Period = timedelta(hours=24)
    inbox_keep: Window = timedelta(days=90)
    history_keep: Window = None
    admin_token: Annotated[Secret, AfterValidator(_check_with(values.check_admin_token))] | None = None
    notify: Annotated[tuple[NotifyUrl, ...], _text(values.split_urls)] = Field(
        (), description='write a list of URLs as Apprise takes them, for example ["dingtalk://secret@token/"]'
    )
    ping_url: PingUrl | None = None
    log_format: Literal["console", "json"] | None = Field(None, description="write console or json, for example json")
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], _text(str.upper)] = Field(
        "INFO", description="write DEBUG, INFO, WARNING or ERROR, for example INFO"
    )
    warnings: tuple[str, ...] = ()

    @property
    def callback_paths(self) -> tuple[str, ...]:
        """Where callbacks are taken; the first is to be registered. They may hold secrets."""
        tokens = [token.get_secret_value() for token in self.callback_token] or [values.NO_CALLBACK_TOKEN]
        return tuple(
            values.CALLBACK_PATH if token == values.NO_CALLBACK_TOKEN else f"{values.CALLBACK_PATH}/{token}"
            for token in tokens
        )

    @property
    def callback_mark(self) -> str:
        """Equal in two processes that take callbacks at the same paths; it does not show which these are."""
        return _mark("\n".join(self.callback_paths))

    @property
    def secrets_mark(self) -> str:
        """Equal in two processes that know the same apps by the same callback secrets; it does not show these."""
        known = sorted([app.app_id, *(each.get_secret_value() for each in app.callback_secrets)] for app in self.apps)
        return _mark(repr(known))

    def with_worker(self, written: Mapping[str, str] | None) -> Self:
        """These settings, with those that a worker has written down (None: no worker ever led)."""
        known = {name: value for name, value in (written or {}).items() if name in WorkerSettings.model_fields}
        return self.model_copy(update=dict(WorkerSettings.model_validate(known))) if written else self

    def app(self, app_id: str) -> AppSettings | None:
        """The app with this AppID, if it is configured."""
        return next((app for app in self.apps if app.app_id == app_id), None)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        app_ids = [app.app_id for app in self.apps]
        if twice := next((app_id for app_id in app_ids if app_ids.count(app_id) > 1), None):
            raise ValueError(f"app {twice} is given twice; keep one of them")
        urls = {f"{PREFIX}API_URL": self.api_url} | {f"api_url of app {app.app_id}": app.api_url for app in self.apps}
        for name, url in urls.items():
            leaves = values.is_plain_and_far(url) or (self.api_proxy and url.startswith("http://"))
            if leaves and not self.allow_plain_http:  # calls carry signatures
                hint = f"write https, or set {PREFIX}ALLOW_PLAIN_HTTP=true to allow it"
                proxy = "" if values.is_plain_and_far(url) else f", and calls leave this machine by {PREFIX}API_PROXY"
                raise ValueError(f"{name}: {url!r} is plain http{proxy}; {hint}")
        if {"sweep_every", "sweep_cron"} <= self.model_fields_set and self.sweep_cron is not None:
            raise ValueError(f"{PREFIX}SWEEP_EVERY and {PREFIX}SWEEP_CRON are both set; keep one of them")
        if self.retry_last < self.retry_first:
            hint = "write for example 6h, and 1m for the first"
            raise ValueError(f"{PREFIX}RETRY_LAST is shorter than {PREFIX}RETRY_FIRST; {hint}")
        return self


_SINGLE_APP: Final = {"app_id": "app_id", "server_secret": "server_secret", "callback_secret": "callback_secrets"}
_NAMES: Final = (Settings.model_fields.keys() - {"apps", "warnings"}) | _SINGLE_APP.keys()
_SECRETS: Final = (
    *("admin_token", "api_proxy", "callback_secret", "callback_token", "database_url"),
    *("notify", "ping_url", "server_secret"),
)
_KEYS: Final = make_keys(_NAMES, _SECRETS)
_APP_KEYS: Final = make_keys(AppSettings.model_fields, ("server_secret", "callback_secrets"))


def setting_names() -> tuple[str, ...]:
    """The names of all settings, in upper case and without the prefix."""
    return tuple(sorted(name.upper() for name in _NAMES))


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings from environment variables and the TOML file that they name; an empty variable is unset.

    Raises:
        SettingsError: a setting is missing, wrong, misspelt or contradicts another.
    """
    place, warnings = read_environment(environ, {**_KEYS, "config": "config"})
    apps: list[Place] = []
    config = place.values.pop("config", None)
    if config is not None:
        filed, apps = read_config(Path(str(config)), place.origins["config"], _KEYS, _APP_KEYS)
        origins = {name: place.origins[name] for name in place.values}  # the environment wins
        place = Place({**filed.values, **place.values}, {**filed.origins, **origins})
    fields = {name: value for name, value in place.values.items() if name in Settings.model_fields}
    if "database_url" not in fields:
        fields["database_url"] = values.default_database_url(environ)
    fields.setdefault("spool_dir", values.default_spool_dir(environ, str(fields["database_url"])))
    apps = [*_find_single_app(place), *apps]
    for app in apps:
        app.values.setdefault("api_url", fields.get("api_url", _ZEGO))
    try:
        return Settings.model_validate({**fields, "apps": [app.values for app in apps], "warnings": warnings})
    except ValidationError as error:
        raise SettingsError(_describe(error, place, apps)) from None


def _find_single_app(place: Place) -> list[Place]:
    found = [name for name in _SINGLE_APP if name in place.values]
    missing = [f"{PREFIX}{name.upper()}" for name in _SINGLE_APP if name not in found]
    if found and missing:
        have = place.origins[found[0]]
        raise SettingsError(f"{have} is set, but not {' and '.join(missing)}; one app needs all three")
    values = {_SINGLE_APP[name]: place.values[name] for name in found}
    return [Place(values, {_SINGLE_APP[name]: place.origins[name] for name in found})] if found else []


def _describe(error: ValidationError, place: Place, apps: list[Place]) -> str:
    """The first thing wrong, in one line: where it was written, what is wrong, what would be right."""
    first = error.errors(include_url=False, include_input=False)[0]
    cause = first.get("ctx", {}).get("error")
    match first["loc"]:
        case ("apps", int(index), str(name), *_):
            origin, field = apps[index].origins[name], AppSettings.model_fields[name]
        case (str(name), *_) if name != "apps":
            origin, field = place.origins[name], Settings.model_fields[name]
        case _:
            return str(cause)
    if first["type"] == "missing":
        return f"{origin}: it is missing"
    return f"{origin}: {cause or field.description or 'write text, in quotes'}"
