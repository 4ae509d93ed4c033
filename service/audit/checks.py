"""What every order has to fulfil before it is written down."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from service.model import NotPossible

MAX_FILES: Final = 10_000
"""How many files an order may name one by one."""

MAX_NAME: Final = 100
_MAX_REASON: Final = 1_000
_MAX_PATTERN: Final = 255
_MAX_APP_ID: Final = 20
_MAX_NAMED: Final = 10


class BadOrder(NotPossible):
    """An order that is not valid as it was written; `field` is the part of it that is wrong."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


def check_reason(reason: str) -> None:
    """Every order says why."""
    if not reason.strip():
        raise BadOrder("reason", "the reason is empty: say why, for the record")
    _check_line("reason", "the reason", reason, _MAX_REASON)


def check_pattern(pattern: str) -> None:
    """A stream pattern that some stream may fit."""
    if not pattern:
        raise BadOrder("stream_pattern", "the stream pattern is empty: write one such as lesson-*, or * for every one")
    _check_line("stream_pattern", "the stream pattern", pattern, _MAX_PATTERN)


def _check_line(field: str, name: str, text: str, limit: int) -> None:
    if len(text) > limit:
        raise BadOrder(field, f"{name} has {len(text):,} characters: at most {limit:,} are allowed")
    if not text.isprintable():
        raise BadOrder(field, f"{name} holds line breaks or characters that cannot be shown: write one line")


def check_app(app_id: str | None, known_apps: Collection[str]) -> str:
    """The app of a stream pattern, one of those that are configured."""
    if app_id is None:
        raise BadOrder("app_id", "a stream pattern belongs to one app: say which, by its AppID")
    if app_id not in known_apps:
        named = ", ".join(sorted(known_apps)[:_MAX_NAMED]) + (", …" if len(known_apps) > _MAX_NAMED else "")
        hint = f"known are {named}" if named else "no app is"
        raise BadOrder("app_id", f"app {ascii(app_id[: _MAX_APP_ID + 1])[1:-1]} is not configured: {hint}")
    return app_id


def check_numbers(numbers: Sequence[int]) -> list[int]:
    """The numbers of the files that an order names, each once, in order."""
    wanted = sorted(set(numbers))
    if not wanted:
        raise BadOrder("files", "no file is named: give the number of at least one")
    if len(wanted) > MAX_FILES:
        raise BadOrder("files", f"{len(wanted):,} files were given: at most {MAX_FILES:,} are allowed")
    return wanted


def check_name(name: str, whose: str, example: str) -> None:
    """The name of a token or a person: short, on one line, without spaces around it."""
    if not 0 < len(name) <= MAX_NAME or not name.isprintable() or name != name.strip():
        right = f"write 1 to {MAX_NAME} printable characters, for example {example}"
        raise BadOrder("name", f"{name[:MAX_NAME]!r} is not a valid name for {whose}: {right}")
