"""What the settings hold, fit to be kept: of a secret only whether it is set."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, SecretStr

from service.units import format_duration, format_keep

if TYPE_CHECKING:
    from service.settings import Settings

_SECRET: Final = frozenset({"database_url"})
_WINDOW: Final = frozenset({"inbox_keep", "history_keep"})
_NOT_SET_BY_ANYONE: Final = frozenset({"warnings"})


def describe_settings(settings: Settings) -> dict[str, Any]:
    """Every setting with its value as people write it, `unset` where there is none; of a secret `set` or `unset`."""
    return _describe(settings)


def _describe(model: BaseModel) -> dict[str, Any]:
    names = [name for name in type(model).model_fields if name not in _NOT_SET_BY_ANYONE]
    return {name: _shown_as(name, getattr(model, name)) for name in names}


def _shown_as(name: str, value: Any) -> object:  # noqa: ANN401  (whatever a setting may be)
    if name in _SECRET:
        return "set"
    return format_keep(value) if name in _WINDOW else _shown(value)


def _shown(value: object) -> object:
    match value:
        case None:
            return "unset"
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
