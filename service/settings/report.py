"""What the settings hold, fit to be kept: of a secret only whether it is set."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, SecretStr

from service.units import FOREVER, format_duration

if TYPE_CHECKING:
    from service.settings import Settings

_SECRET: Final = frozenset({"database_url"})
_WHEN_NONE: Final = {"sweep_every": "off", "reconcile_every": "off", "inbox_keep": FOREVER, "history_keep": FOREVER}


def describe_settings(settings: Settings) -> dict[str, Any]:
    """Every setting with its value as people write it, `unset` where there is none; of a secret `set` or `unset`."""
    return _describe(settings)


def _describe(model: BaseModel) -> dict[str, Any]:
    names = [name for name in type(model).model_fields if name != "warnings"]
    return {name: "set" if name in _SECRET else _show(name, getattr(model, name)) for name in names}


def _show(name: str, value: object) -> object:
    match value:
        case None:
            return _WHEN_NONE.get(name, "unset")
        case SecretStr() | (SecretStr(), *_):
            return "set"
        case () | (BaseModel(), *_):
            return [_describe(each) for each in value if isinstance(each, BaseModel)]
        case bool() | int() | float():
            return value
        case timedelta():
            return format_duration(value)
        case _:
            return str(value)
