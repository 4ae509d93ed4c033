"""What every form is made of: one model per resource, used by the API, `--json` and the console alike (docs/http.md).

Forms hold plain values, moments as aware UTC; `to_json` is the one place that turns them into JSON.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

AT = "2026-03-01T12:00:00Z"
"""A moment for examples."""

Known = Annotated[str | None, BeforeValidator(lambda text: text or None)]
"""A text that is stored as empty where it is not known."""


class Form(BaseModel):
    """An answer: exactly these keys; what is not known is None."""

    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True, populate_by_name=True)


def eg(example: object, about: str | None = None, *, of: str | None = None) -> Any:  # noqa: ANN401  (pydantic's own way)
    """A key that is always there, with an example; `of` is what the domain calls it, where that differs."""
    return Field(examples=[example], description=about, validation_alias=of)


def to_json(form: Form) -> dict[str, Any]:
    """A form as JSON: moments in ISO 8601 UTC with `Z`."""
    return form.model_dump(mode="json")


def to_json_line(form: Form) -> str:
    """A form as one line of JSON, in ASCII: no character can steer a terminal."""
    return json.dumps(to_json(form))
