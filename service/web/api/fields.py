"""What requests are made of: parts that several bodies and queries share, refused with their field named."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from service.core.durations import parse_moment

if TYPE_CHECKING:
    from collections.abc import Iterable

HIGHEST: Final = 2**63 - 1
"""The highest number that the databases count to."""
MOST: Final = 500
"""The most entries of one page."""
_USUAL: Final = 100


def encode_cursor(number: int | None) -> str | None:
    """The opaque text for "go on after this number"; None at the end."""
    return None if number is None else base64.urlsafe_b64encode(str(number).encode()).decode().rstrip("=")


def decode_cursor(text: object) -> int:
    """Read back what `encode_cursor` wrote.

    Raises:
        ValueError: it did not write this.
    """
    try:
        raw = base64.urlsafe_b64decode(f"{text}{'=' * (-len(str(text)) % 4)}".encode("ascii"))
        number = int(raw) if len(raw) < len(str(HIGHEST)) + 1 else -1
    except (binascii.Error, ValueError):
        number = -1
    if not 0 <= number <= HIGHEST or encode_cursor(number) != text:
        raise ValueError("is no cursor of this API: take it from next_cursor")
    return number


def _read_moment(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError("must be a time in text, for example 2026-12-31T18:00:00Z")  # noqa: TRY004  (pydantic's way)
    return parse_moment(value)


def _refuse_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return text


Cursor = Annotated[
    int,
    BeforeValidator(decode_cursor),
    WithJsonSchema({"type": "string", "description": "`next_cursor` of the page before", "example": "MTc"}),
]
Moment = Annotated[
    datetime,
    BeforeValidator(_read_moment),
    WithJsonSchema(
        {
            "type": "string",
            "format": "date-time",
            "description": "ISO 8601; without a zone it is UTC",
            "example": "2026-12-31T18:00:00Z",
        }
    ),
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
Pattern = Annotated[Text, Field(description="`*` and `?` are special, as in rules", examples=["trial-*"])]
Reason = Annotated[
    str, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00]*$"), AfterValidator(_refuse_blank)
]
AppId = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,9}$"), Field(examples=["1234567890"])]
Number = Annotated[int, Field(ge=1, le=HIGHEST, strict=True)]


class Strict(BaseModel):
    """A request: what it does not know, it refuses."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoQuery(Strict):
    """A route without parameters."""


class Query(Strict):
    """Which page of a list."""

    cursor: Cursor | None = None
    limit: int = Field(_USUAL, ge=1, le=MOST, description="The most entries of one page")


class NumberPath(BaseModel):
    """The number in a path."""

    number: int = Field(ge=1, le=HIGHEST, examples=[17])


def example_of(model: type[BaseModel]) -> dict[str, Any]:
    """An example of a body, put together from the examples of its fields."""
    return {name: _example(field.annotation, field.examples) for name, field in model.model_fields.items()}


def _example(annotation: object, examples: list[Any] | None) -> object:
    if examples:
        return examples[0]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return example_of(annotation)
    item = (getattr(annotation, "__args__", None) or (None,))[0]
    if isinstance(item, type) and issubclass(item, BaseModel):
        return [example_of(item)] if getattr(annotation, "__origin__", None) is list else example_of(item)
    return None


def page_of(found: Iterable[dict[str, Any]], limit: int, key: str = "id") -> dict[str, Any]:
    """A page out of up to `limit + 1` entries: the last one only says that there are more."""
    items = list(found)
    more = len(items) > limit
    return {"items": items[:limit], "next_cursor": encode_cursor(items[limit - 1][key]) if more else None}
