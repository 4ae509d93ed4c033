"""How values look in JSON, for the API and `--json` alike (docs/http.md).

Answers are plain values: those of the domain, or dataclasses of this room where an answer is put together. `form_of`
derives from the class of such a value what it looks like; `show_as` says where that differs from its fields.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

T = TypeVar("T")

Known = Annotated[str | None, BeforeValidator(lambda text: text or None)]
"""A text that is stored as empty where it is not known."""

_CHANGES: dict[type, dict[str, Any]] = {}


class Form(BaseModel):
    """Exactly these keys; what is not known is None, moments are aware UTC."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


def show_as(kind: type, **changes: Any) -> None:  # noqa: ANN401  (names, types)
    """Show values of a class with other keys than its fields: `key=None` leaves one out.

    `key="attribute"` shows an attribute under this key (a field: under no other), `field=TYPE` as another type.
    """
    _CHANGES[kind] = changes


@cache
def form_of(kind: type) -> type[Form]:
    """What values of a dataclass or named tuple look like."""
    changes = {key: change for each in reversed(kind.__mro__) for key, change in _CHANGES.get(each, {}).items()}
    keys = {attribute: key for key, attribute in changes.items() if isinstance(attribute, str)}
    hints = get_type_hints(kind, include_extras=True)
    shown = {keys.get(field, field): field for field in list_fields(kind) if changes.get(field, field) is not None}
    shown |= {key: attribute for attribute, key in keys.items()}
    fields: dict[str, Any] = {}
    for key, attribute in shown.items():
        hint = changes[key] if isinstance(changes.get(key), (type, type(Known))) else hints.get(attribute)
        if hint is None:
            hint = get_type_hints(getattr(kind, attribute).fget)["return"]
        fields[key] = (_translate(hint), Field(validation_alias=attribute))
    about = (kind.__doc__ or "").partition("\n\n")[0]
    return create_model(kind.__name__, __base__=Form, __doc__=about, **fields)


def to_form(value: object) -> Form:
    """A value as it looks in JSON."""
    return form_of(type(value)).model_validate(value)  # type: ignore[arg-type]


def to_json(value: object) -> dict[str, Any]:
    """A value as JSON: moments in ISO 8601 UTC with `Z`."""
    return to_form(value).model_dump(mode="json")


def take(kind: type[T], source: object, **more: Any) -> T:  # noqa: ANN401  (fields)
    """A value of a dataclass with what `source` has of its fields, and more."""
    return kind(**{field: getattr(source, field) for field in list_fields(kind) if hasattr(source, field)} | more)


def list_fields(kind: type) -> tuple[str, ...]:
    """The names of the fields of a dataclass or named tuple."""
    return tuple(getattr(kind, "_fields", ()) or (field.name for field in dataclasses.fields(kind)))


def _translate(hint: Any) -> Any:  # noqa: ANN401  (a type)
    """A type with forms in place of the classes that have one."""
    if isinstance(hint, type) and (dataclasses.is_dataclass(hint) or hasattr(hint, "_fields")):
        return form_of(hint)
    inner = get_args(hint)
    translated = tuple(map(_translate, inner))
    if translated == inner or get_origin(hint) is Annotated:
        return hint
    return Union[translated] if get_origin(hint) in (Union, UnionType) else get_origin(hint)[translated]  # noqa: UP007
