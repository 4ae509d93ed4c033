"""ZEGO's answers, from body bytes to what was observed; pure (docs/protocol.md, "Calling ZEGO's server API")."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from service.zego.messages import DeleteAnswer, FileError, Transport
from service.zego.wirejson import JsonValue, make_storable, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_RAW_CHARACTERS = 65_536
MAX_TEXT_CHARACTERS = 1000

_CODE = re.compile("-?[0-9]{1,15}")
_RETRY_SECONDS = re.compile("[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """One exchange with ZEGO as far as it got. `failure` is one line for people, with nothing secret in it."""

    transport: Transport
    failure: str = ""
    status: int | None = None
    date: str = ""
    retry_after: str = ""
    body: bytes = b""
    too_long: bool = False


class Redaction:
    """Takes the secrets of one call out of texts that will be stored: error pages like to repeat the URL."""

    def __init__(self, *words: str) -> None:
        """Remember the words to take out; too short ones are left, since they would cut into everything."""
        self._words = [word for word in words if len(word) >= 8]  # noqa: PLR2004

    def __repr__(self) -> str:
        return f"Redaction({len(self._words)} words)"

    def clean(self, text: str, limit: int = MAX_TEXT_CHARACTERS) -> str:
        """Return the text without the words, storable, cut to `limit` characters."""
        for word in self._words:
            text = text.replace(word, "***")
        return make_storable(text, limit)


def read_delete_answer(http: HttpAnswer, redaction: Redaction, now: datetime) -> DeleteAnswer:
    """Read an answer of DeleteMedia. Never raises; `now` turns a Retry-After date into seconds."""
    text = http.body.decode("utf-8", "replace")
    top = read_top(http, text)
    answer = DeleteAnswer(
        transport=http.transport,
        http_status=http.status,
        code=read_code(top),
        message=redaction.clean(read_text(top, "Message") or http.failure),
        request_id=redaction.clean(read_text(top, "RequestId")),
        unreadable=http.transport is Transport.ANSWERED and read_code(top) is None,
        retry_after_s=read_retry_after(http.retry_after, now),
        raw=redaction.clean(text, MAX_RAW_CHARACTERS),
    )
    return _with_files(answer, top, redaction) if answer.code == 0 else answer


def read_retry_after(value: str, now: datetime) -> float | None:
    """Return how many seconds a Retry-After header (seconds or an HTTP date) asks to wait, or None."""
    seconds = value.strip()
    if _RETRY_SECONDS.fullmatch(seconds):
        return float(seconds)
    until = read_http_date(value)
    return None if until is None else max(0.0, (until - now).total_seconds())


def read_http_date(value: str) -> datetime | None:
    """Return the moment of an HTTP date in UTC, or None where there is none to read."""
    try:
        moment = parsedate_to_datetime(value)
        # Without a zone (or with "-0000") it is UTC: HTTP dates know no other.
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def read_top(http: HttpAnswer, text: str) -> Mapping[str, JsonValue]:
    """Return the answer's top level, or nothing at all where it is not one whole JSON object."""
    if http.transport is not Transport.ANSWERED or http.too_long:
        return {}
    value = _read_value(text.strip("\ufeff \t\r\n"))
    return value if isinstance(value, dict) else {}


def _read_value(text: str) -> JsonValue:
    try:
        read = read_json(text)
    except ValueError:
        return None
    return None if read.problem else read.value


def read_code(top: Mapping[str, JsonValue]) -> int | None:
    """Return the top-level `Code`, a number or digits; None for anything else."""
    text = read_text(top, "Code")
    return int(text) if _CODE.fullmatch(text) else None


def read_text(holder: Mapping[str, JsonValue], key: str) -> str:
    """Return a text (or a number's digits), "" where there is none."""
    value = holder.get(key)
    return value if isinstance(value, str) else ""


def _with_files(answer: DeleteAnswer, top: Mapping[str, JsonValue], redaction: Redaction) -> DeleteAnswer:
    data = read_data(top.get("Data"))
    deleted, errors = _list(data, "Deleted"), _list(data, "Errors")
    if data is None or deleted is None or errors is None:
        return replace(answer, unreadable=True)
    # An entry that names no file says nothing of any: its file is then in neither list.
    return replace(
        answer,
        deleted=frozenset(entry for entry in deleted if isinstance(entry, str)),
        errors=tuple(
            _file_error(entry, redaction) for entry in errors if isinstance(entry, dict) and read_text(entry, "Key")
        ),
        cache_code=_cache_code(data, redaction),
    )


def read_data(value: JsonValue) -> dict[str, JsonValue] | None:
    """Return `Data`, which is an object in one version of ZEGO's docs and a string holding JSON in the other.

    None: it is neither. Nothing at all is an empty object.
    """
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        value = _read_value(value)
    return value if isinstance(value, dict) else None


def _list(data: dict[str, JsonValue] | None, key: str) -> list[JsonValue] | None:
    value = (data or {}).get(key)
    if value is None:
        return []
    return value if isinstance(value, list) else None


def _file_error(entry: dict[str, JsonValue], redaction: Redaction) -> FileError:
    return FileError(
        file_id=read_text(entry, "Key"),
        code=redaction.clean(read_text(entry, "Code")),
        message=redaction.clean(read_text(entry, "Message")),
        request_id=redaction.clean(read_text(entry, "RequestId")),
    )


def _cache_code(data: dict[str, JsonValue], redaction: Redaction) -> str | None:
    purge = data.get("WsItemIdReceiverResp")
    return redaction.clean(read_text(purge, "Code")) or None if isinstance(purge, dict) else None
