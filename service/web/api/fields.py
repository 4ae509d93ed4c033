"""What requests are made of: parts that several bodies and queries share, refused with their field named."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from service.units import parse_moment
from service.views.form import Form, eg
from service.views.listed import MAX_NUMBER, decode_cursor

MAX_PAGE = 500
"""The most entries of one page."""

_USUAL_PAGE = 100
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)


def _read_moment(value: object) -> datetime:
    # A duration would count from now, which a request does not say.
    if not isinstance(value, str) or value[-1:] in tuple("smhdw"):
        raise ValueError("must be a time in text, for example 2026-12-31T18:00:00Z")
    return parse_moment(value, _ANY_TIME)


def _refuse_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return text


def _schema(**facts: Any) -> WithJsonSchema:  # noqa: ANN401  (JSON)
    return WithJsonSchema({"type": "string", **facts})


Cursor = Annotated[
    int, BeforeValidator(decode_cursor), _schema(description="`next_cursor` of the page before", example="MTc")
]
Moment = Annotated[
    datetime,
    BeforeValidator(_read_moment),
    _schema(format="date-time", description="ISO 8601; without a zone it is UTC", example="2026-12-31T18:00:00Z"),
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
Pattern = Annotated[Text, Field(description="`*` and `?` are special, as in rules", examples=["trial-*"])]
Reason = Annotated[
    str, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00]*$"), AfterValidator(_refuse_blank)
]
AppId = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,9}$"), Field(examples=["1234567890"])]
Number = Annotated[int, Field(ge=1, le=MAX_NUMBER, strict=True)]


class Strict(BaseModel):
    """A request: what it does not know, it refuses."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoQuery(Strict):
    """A route without parameters."""


class NoBody(Strict):
    """A route without a body."""


class Paging(Strict):
    """Which page of a list."""

    cursor: Cursor | None = None
    limit: int = Field(_USUAL_PAGE, ge=1, le=MAX_PAGE, description="The most entries of one page")


class NumberPath(BaseModel):
    """The number in a path."""

    number: int = Field(ge=1, le=MAX_NUMBER, examples=[17])


class WrongField(Form):
    """One thing that is wrong with a request."""

    field: str = eg("reason")
    detail: str = eg("is empty")


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = eg("about:blank")
    title: str = eg("Conflict")
    status: int = eg(409)
    detail: str = eg("file 17 is kept: there is nothing to confirm")
    errors: list[WrongField] = Field(default=[], description="each field that is wrong")
    preview: dict[str, Any] | None = Field(default=None, description="what would happen now, where that was expected")
