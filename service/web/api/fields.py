"""What requests are made of: kinds of fields, and models that refuse whatever they do not know, field by field."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Annotated, Any, Final, get_args, get_type_hints

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, create_model

from service.units import parse_moment
from service.views.listed import MAX_NUMBER

_ANY_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)
_NO_NUL: Final = r"^[^\x00]*$"
_MOMENT: Final = {"type": "string", "format": "date-time", "examples": ["2026-12-31T18:00:00Z"]}


def _read_moment(value: object) -> datetime:
    # A duration would count from now, which a request does not say.
    if not isinstance(value, str) or value[-1:] in tuple("smhdw"):
        raise ValueError("must be a time in text, for example 2026-12-31T18:00:00Z")
    return parse_moment(value, _ANY_TIME)


def _refuse_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return text


Moment = Annotated[datetime, BeforeValidator(_read_moment), WithJsonSchema(_MOMENT)]
Text = Annotated[str, Field(min_length=1, max_length=255, pattern=_NO_NUL)]
Pattern = Annotated[Text, Field(description="`*` and `?` are special, as in rules", examples=["trial-*"])]
Reason = Annotated[str, Field(min_length=1, max_length=1000, pattern=_NO_NUL), AfterValidator(_refuse_blank)]
AppId = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,9}$", examples=["1234567890"])]
Number = Annotated[int, Field(ge=1, le=MAX_NUMBER, strict=True)]

_KINDS: Final = {str: Text, int: Annotated[int, Field(ge=1, le=MAX_NUMBER)], datetime: Moment}
_PAGING: Final = {
    "cursor": (int | None, Field(None, ge=0, le=MAX_NUMBER, description="`next_cursor` of the page before")),
    "limit": (int, Field(100, ge=1, le=500, description="The most entries of one page")),
}


class Strict(BaseModel):
    """A request: what it does not know, it refuses."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Problem(BaseModel):
    """What went wrong (RFC 9457); `errors` names each field that is wrong, `preview` is what would happen now."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] = []
    preview: dict[str, Any] | None = None


def body_of(name: str, fields: dict[str, Any]) -> type[Strict]:
    """The model of a body, from kinds of fields or kinds with defaults; one that may be None may be left out."""
    made = {
        field: kind if isinstance(kind, tuple) else (kind, None if type(None) in get_args(kind) else ...)
        for field, kind in fields.items()
    }
    return create_model(name.title().replace("_", ""), __base__=Strict, **made)  # type: ignore[call-overload, no-any-return]


def query_of(name: str, wanted: type | None) -> type[Strict]:
    """The parameters of a list: the fields of its filter, and which page."""
    kind: Any
    fields: dict[str, Any] = {}
    for each in dataclasses.fields(wanted) if wanted else ():
        hint = get_type_hints(wanted)[each.name]
        kind = next(iter(get_args(hint)), hint)
        kind = AppId if each.name == "app_id" else _KINDS.get(kind, kind)
        about = Field(each.default, alias=each.metadata.get("name"), description=each.metadata["help"])
        fields[each.name] = (kind | None if each.default is None else kind, about)
    return create_model(name, __base__=Strict, **fields, **_PAGING)  # type: ignore[call-overload, no-any-return]
