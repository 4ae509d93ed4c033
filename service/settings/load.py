"""The settings of the service, typed and checked; README.md and docs/settings.md say what each one means."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from service.schedule import Cron, Every, Slots
from service.settings import values
from service.settings.sources import PREFIX, Found, Names, Raw, SettingsError, Table, find_settings
from service.settings.values import Listen
from service.units import FOREVER, format_duration

DEFAULT_API_URL: Final = "https://rtc-api.zego.im/"
_UTC: Final = ZoneInfo("UTC")


def _check_secret(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not text or any(character.isspace() for character in text):
        raise ValueError("a secret is not empty and has no spaces or line breaks; copy it again")
    return secret


Duration = Annotated[timedelta, BeforeValidator(values.read_duration)]
Period = Annotated[timedelta | None, BeforeValidator(values.read_duration_or("off", None))]
Window = Annotated[timedelta | None, BeforeValidator(values.read_duration_or(FOREVER, None))]
Pause = Annotated[timedelta, BeforeValidator(values.read_duration_or("0s", timedelta(0), " for none at all"))]
Secret = Annotated[SecretStr, AfterValidator(_check_secret)]


class AppSettings(BaseModel):
    """One app (project) of ZEGO's console."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    app_id: Annotated[str, BeforeValidator(values.read_app_id)]
    name: str = Field(default_factory=lambda fields: fields.get("app_id", ""), min_length=1)
    server_secret: Secret
    callback_secrets: Annotated[tuple[Secret, ...], BeforeValidator(values.split_secrets)] = Field(
        min_length=1, examples=['["secret"]']
    )
    api_url: str = DEFAULT_API_URL
    is_test: bool | None = Field(default=None, examples=["false"])
    clear_cache: bool = Field(default=False, examples=["true"])
    calls_per_second: int = Field(default=20, ge=1, le=20, strict=True, examples=["20"])


class Settings(BaseModel):
    """Everything that can be set. `warnings` are one-line notes for the log about variables that mean nothing.

    None stands for "off" in `sweep_every` and `reconcile_every`, and for "forever" in `inbox_keep` and `history_keep`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    database_url: Annotated[str, BeforeValidator(values.read_database_url)] = Field(repr=False)
    listen: Annotated[Listen, BeforeValidator(values.read_listen)] = Listen("127.0.0.1", 8080)
    allow_plain_http: bool = Field(default=False, examples=["true"])
    api_url: str = DEFAULT_API_URL
    apps: tuple[AppSettings, ...] = ()
    public_url: Annotated[str, BeforeValidator(values.read_public_url)] | None = None
    keep: Annotated[str, BeforeValidator(values.read_keep)] | None = None
    sweep_every: Period = timedelta(minutes=15)
    timezone: Annotated[ZoneInfo, BeforeValidator(values.read_timezone)] = _UTC
    sweep_cron: str | None = None
    retry_first: Duration = timedelta(minutes=1)
    retry_last: Duration = timedelta(hours=6)
    give_up_after: Duration = timedelta(days=7)
    claim_lease: Duration = timedelta(minutes=2)
    cooling_off: Pause = timedelta(hours=24)
    breaker_files: Annotated[int, BeforeValidator(values.refuse_bool)] = Field(
        10_000, ge=1, description="write a whole number from 1 on", examples=["10000"]
    )
    breaker_share: Annotated[float, BeforeValidator(values.refuse_bool)] = Field(
        0.2, gt=0, le=1, description="write a share above 0 and at most 1", examples=["0.2"]
    )
    confirm: Literal["off", "all"] = Field(default="off", examples=["off"])
    reconcile_every: Period = timedelta(hours=24)
    callback_freshness: Duration = timedelta(minutes=15)
    inbox_keep: Window = timedelta(days=90)
    history_keep: Window = None
    admin_token: Secret | None = None
    log_format: Literal["console", "json"] | None = Field(default=None, examples=["json"])
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", examples=["INFO"])
    warnings: tuple[str, ...] = ()

    @property
    def database_url_shown(self) -> str:
        """The database's URL, fit to be shown."""
        return values.hide_password(self.database_url)

    @property
    def sweep_slots(self) -> Slots | None:
        """When sweeps are meant to start; None: no sweep starts by itself (`SWEEP_EVERY=off`)."""
        if self.sweep_cron:
            return Cron(self.sweep_cron, self.timezone)
        return None if self.sweep_every is None else Every(self.sweep_every)

    def app(self, app_id: str) -> AppSettings | None:
        """The app with this AppID, if it is configured."""
        return next((app for app in self.apps if app.app_id == app_id), None)

    @field_validator("api_url")
    @classmethod
    def _check_api_url(cls, url: str, info: ValidationInfo) -> str:
        return values.check_api_url(url, allow_plain_http=info.data.get("allow_plain_http", False))

    @field_validator("apps")
    @classmethod
    def _check_apps(cls, apps: tuple[AppSettings, ...], info: ValidationInfo) -> tuple[AppSettings, ...]:
        app_ids = [app.app_id for app in apps]
        twice = next((app_id for app_id in app_ids if app_ids.count(app_id) > 1), None)
        if twice:
            raise ValueError(f"app {twice} is given twice; keep one of them")
        return tuple(_with_checked_url(app, allow_plain_http=info.data.get("allow_plain_http", False)) for app in apps)

    @field_validator("sweep_cron")
    @classmethod
    def _check_cron(cls, expression: str | None, info: ValidationInfo) -> str | None:
        if expression is not None:
            Cron(expression, info.data.get("timezone", _UTC))
        return expression

    @field_validator("log_level", "confirm", mode="before")
    @classmethod
    def _ignore_case(cls, choice: object, info: ValidationInfo) -> object:
        if not isinstance(choice, str):
            return choice
        return choice.upper() if info.field_name == "log_level" else choice.lower()

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        if {"sweep_every", "sweep_cron"} <= self.model_fields_set and self.sweep_cron is not None:
            raise ValueError(f"{PREFIX}SWEEP_EVERY and {PREFIX}SWEEP_CRON are both set; keep one of them")
        if self.retry_last < self.retry_first:
            raise ValueError(
                f"{PREFIX}RETRY_LAST is shorter than {PREFIX}RETRY_FIRST; write for example 6h, and 1m for the first"
            )
        return self


_SINGLE_APP: Final = {"app_id": "app_id", "server_secret": "server_secret", "callback_secret": "callback_secrets"}
_SECRETS: Final = frozenset({"admin_token", "callback_secret", "database_url", "server_secret"})
_OWN_FIELDS: Final = frozenset(Settings.model_fields) - {"apps", "warnings"}
_NAMES: Final = Names(_OWN_FIELDS | set(_SINGLE_APP), _SECRETS)
_APP_NAMES: Final = Names(frozenset(AppSettings.model_fields), frozenset({"server_secret", "callback_secrets"}))


def setting_names() -> tuple[str, ...]:
    """The names of all settings, in upper case and without the prefix."""
    return tuple(sorted(name.upper() for name in _NAMES.known))


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings from environment variables and the TOML file that they name; an empty variable is unset.

    Raises:
        SettingsError: a setting is missing, wrong, misspelt or contradicts another.
    """
    found = find_settings(environ, _NAMES, _APP_NAMES)
    fields = Table({name: raw for name, raw in found.values.items() if name in _OWN_FIELDS}, "")
    if "database_url" not in fields.values:
        origin = f"{PREFIX}DATABASE_URL"
        try:
            fields.values["database_url"] = Raw(values.default_database_url(environ), origin)
        except ValueError as error:
            raise SettingsError(f"{origin}: {error}") from None
    apps = _collect_apps(found)
    try:
        return Settings.model_validate(
            {**_plain(fields), "apps": [_plain(app) for app in apps], "warnings": found.warnings}
        )
    except ValidationError as error:
        raise SettingsError(_describe(error, fields, apps)) from None


def _plain(table: Table) -> dict[str, object]:
    return {name: raw.value for name, raw in table.values.items()}


def _collect_apps(found: Found) -> list[Table]:
    single: dict[str, Raw] = {key: found.values[name] for name, key in _SINGLE_APP.items() if name in found.values}
    missing = [f"{PREFIX}{name.upper()}" for name in _SINGLE_APP if name not in found.values]
    if single and missing:
        have = next(iter(single.values())).origin
        raise SettingsError(f"{have} is set, but not {' and '.join(missing)}; one app needs all three")
    api_url = {"api_url": found.values["api_url"]} if "api_url" in found.values else {}
    tables = [Table(single, ""), *found.apps] if single else found.apps
    return [Table({**api_url, **table.values}, table.place) for table in tables]


def _with_checked_url(app: AppSettings, *, allow_plain_http: bool) -> AppSettings:
    try:
        url = values.check_api_url(app.api_url, allow_plain_http=allow_plain_http)
    except ValueError as error:
        raise ValueError(f"api_url of app {app.app_id}: {error}") from None
    return app.model_copy(update={"api_url": url})


_PLAIN: Final = {
    "missing": "it is missing",
    "bool_parsing": "write true or false",
    "bool_type": "write true or false",
    "int_type": "write a whole number",
    "greater_than_equal": "write a whole number, not less than {ge}",
    "less_than_equal": "write a whole number, not more than {le}",
    "literal_error": "write {expected}",
    "string_type": "write text, in quotes",
    "string_too_short": "it is empty",
    "too_short": "it is empty; write at least one",
    "tuple_type": "write a list",
}
"""What people read instead of pydantic's words, by its type of error."""


def _describe(error: ValidationError, fields: Table, apps: list[Table]) -> str:
    """The first thing wrong, in one line: where it was written, what is wrong, what would be right."""
    first = error.errors(include_url=False, include_input=False)[0]
    cause = first.get("ctx", {}).get("error")
    match first["loc"]:
        case ("apps", int(index), str(name), *_):
            origin, field = _origin(apps[index], name), AppSettings.model_fields[name]
        case (str(name), *_) if name != "apps":
            origin, field = _origin(fields, name), Settings.model_fields[name]
        case _:
            return str(cause)
    if cause is not None:
        return f"{origin}: {cause}"
    plain = _PLAIN.get(first["type"], "this cannot be read").format(**first.get("ctx", {})).replace("'", "")
    words = field.description or plain
    return f"{origin}: {words}" + (f", for example {field.examples[0]}" if field.examples else "")


def _origin(table: Table, name: str) -> str:
    return table.values[name].origin if name in table.values else f"{name} {table.place}"


# What the settings hold, fit to be kept

_WHEN_NONE: Final = {"sweep_every": "off", "reconcile_every": "off", "inbox_keep": FOREVER, "history_keep": FOREVER}


def describe_settings(settings: Settings) -> dict[str, Any]:
    """Every setting with its value as people write it; of a secret only whether it is `set` or `unset`."""
    return _show_model(settings)


def _show_model(model: BaseModel) -> dict[str, Any]:
    names = [name for name in type(model).model_fields if name != "warnings"]
    return {name: "set" if name == "database_url" else _show(name, getattr(model, name)) for name in names}


def _show(name: str, value: object) -> object:
    match value:
        case None:
            return _WHEN_NONE.get(name, "unset")
        case SecretStr() | (SecretStr(), *_):
            return "set"
        case () | (BaseModel(), *_):
            return [_show_model(each) for each in value if isinstance(each, BaseModel)]
        case bool() | int() | float():
            return value
        case timedelta():
            return format_duration(value)
        case _:
            return str(value)
