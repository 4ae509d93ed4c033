"""ZEGO's answers, from body bytes to what was observed; pure (docs/protocol.md, "DeleteMedia" and "SearchMedia").

A page of a listing is read whole or not at all. Within it, an entry whose file cannot be named is counted, and a fact
that cannot be read is unknown: nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

from service.model import Vendor
from service.zego.messages import Answer, DeleteAnswer, FileError, ListedFile, SearchAnswer, Transport
from service.zego.wirejson import (
    MAX_ID_BYTES,
    JsonValue,
    is_rounded,
    make_storable,
    read_duration,
    read_json,
    read_size,
    storable,
)

MAX_RAW_CHARACTERS: Final = 65_536
MAX_TEXT_CHARACTERS: Final = 1000
MAX_MARKER_BYTES: Final = 2048
"""Longest marker that can be asked for again: percent-encoded, it has to fit a URL."""

_CODE = re.compile("-?[0-9]{1,15}")
_COUNT = re.compile("[0-9]{1,15}")
_RETRY_SECONDS = re.compile("[0-9]{1,9}")
_MOMENT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?Z")
_FIRST_YEAR: Final = 1970
_NEVER_YEAR: Final = 9999
"""Years outside say that there is no moment: 9999 is ZEGO's "never", 0001 is what an unset time looks like."""
_MIN_SECRET_CHARACTERS: Final = 8

Json = dict[str, JsonValue]
_Answer = TypeVar("_Answer", bound=Answer)
_Figure = TypeVar("_Figure", int, float)


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
        # Shorter ones would cut into everything.
        self._words = [word for word in words if len(word) >= _MIN_SECRET_CHARACTERS]

    def clean(self, text: str, limit: int = MAX_TEXT_CHARACTERS) -> str:
        """Return the text without the words, storable, cut to `limit` characters."""
        for word in self._words:
            text = text.replace(word, "***")
        return make_storable(text, limit)


def read_delete_answer(http: HttpAnswer, redaction: Redaction, now: datetime) -> DeleteAnswer:
    """Read an answer of DeleteMedia. Never raises; `now` turns a Retry-After date into seconds."""
    answer, top = _read_answer(DeleteAnswer, http, redaction, now)
    text = http.body.decode("utf-8", "replace")
    answer = replace(answer, raw=redaction.clean(text, MAX_RAW_CHARACTERS))
    return _with_outcomes(answer, top, redaction) if answer.code == 0 else answer


def read_search_answer(http: HttpAnswer, redaction: Redaction, vendor: Vendor, now: datetime) -> SearchAnswer:
    """Read an answer of SearchMedia for this vendor. Never raises; `now` turns a Retry-After date into seconds."""
    answer, top = _read_answer(SearchAnswer, http, redaction, now)
    if answer.code != 0:
        return answer
    section = (_read_data(top.get("Data")) or {}).get(vendor.value)
    if not isinstance(section, dict):
        return replace(answer, unreadable=True)
    return _read_page(answer, vendor, section)


def read_retry_after(value: str, now: datetime) -> float | None:
    """Return how many seconds a Retry-After header (seconds or an HTTP date) asks to wait, or None."""
    seconds = value.strip()
    if _RETRY_SECONDS.fullmatch(seconds):
        return float(seconds)
    until = _read_http_date(value)
    return None if until is None else max(0.0, (until - now).total_seconds())


def _read_http_date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
        # Without a zone (or with "-0000") it is UTC: HTTP dates know no other.
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _read_answer(kind: type[_Answer], http: HttpAnswer, redaction: Redaction, now: datetime) -> tuple[_Answer, Json]:
    """What every answer has, and its top level (nothing at all where it is not one whole JSON object)."""
    whole = http.transport is Transport.ANSWERED and not http.too_long
    value = _read_value(http.body.decode("utf-8", "replace").strip("\ufeff \t\r\n")) if whole else None
    top = value if isinstance(value, dict) else {}
    code = _text(top, "Code")
    answer = kind(
        transport=http.transport,
        http_status=http.status,
        code=int(code) if _CODE.fullmatch(code) else None,
        message=redaction.clean(_text(top, "Message") or http.failure),
        request_id=redaction.clean(_text(top, "RequestId")),
        date=_read_http_date(http.date),
        unreadable=http.transport is Transport.ANSWERED and not _CODE.fullmatch(code),
        retry_after_s=read_retry_after(http.retry_after, now),
    )
    return answer, top


def _read_value(text: str) -> JsonValue:
    try:
        read = read_json(text)
    except ValueError:
        return None
    return None if read.problem else read.value


def _read_data(value: JsonValue) -> Json | None:
    """`Data`, which is an object in one version of ZEGO's docs and a string holding JSON in the other.

    None: it is neither. Nothing at all is an empty object.
    """
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        value = _read_value(value)
    return value if isinstance(value, dict) else None


def _text(holder: Json, key: str) -> str:
    """A text (or a number's digits), "" where there is none."""
    value = holder.get(key)
    return value if isinstance(value, str) else ""


def _object(holder: Json, key: str) -> Json:
    value = holder.get(key)
    return value if isinstance(value, dict) else {}


# DeleteMedia


def _with_outcomes(answer: DeleteAnswer, top: Json, redaction: Redaction) -> DeleteAnswer:
    data = _read_data(top.get("Data"))
    if data is None:
        return replace(answer, unreadable=True)
    deleted, errors = _entries(data, "Deleted"), _entries(data, "Errors")
    if deleted is None or errors is None:
        return replace(answer, unreadable=True)
    # An entry that names no file says nothing of any: its file is then in neither list.
    return replace(
        answer,
        deleted=frozenset(entry for entry in deleted if isinstance(entry, str)),
        errors=tuple(
            _file_error(entry, redaction) for entry in errors if isinstance(entry, dict) and _text(entry, "Key")
        ),
        cache_code=redaction.clean(_text(_object(data, "WsItemIdReceiverResp"), "Code")) or None,
    )


def _file_error(entry: Json, redaction: Redaction) -> FileError:
    code, message, request_id = (redaction.clean(_text(entry, key)) for key in ("Code", "Message", "RequestId"))
    return FileError(_text(entry, "Key"), code, message, request_id)


def _entries(holder: Json, key: str) -> list[JsonValue] | None:
    """The list under a key, empty where there is none; None for anything else."""
    entries = holder.get(key)
    if entries is None:
        return []
    return entries if isinstance(entries, list) else None


# SearchMedia


def _read_page(answer: SearchAnswer, vendor: Vendor, section: Json) -> SearchAnswer:
    is_tencent = vendor is Vendor.TENCENT
    key, read = ("MediaInfoSet", _read_media) if is_tencent else ("Keys", _read_key)
    entries, total, written = _entries(section, key), _text(section, "TotalCount"), section.get("NextMarker")
    marker = _storable_text(written, MAX_MARKER_BYTES)
    has_place = _COUNT.fullmatch(total) if is_tencent else marker is not None or written is None
    if key not in section or entries is None or not has_place:
        return replace(answer, unreadable=True)
    files = [read(entry) if isinstance(entry, dict) else None for entry in entries]
    named = tuple(file for file in files if file is not None)
    answer = replace(answer, files=named, unnamed=len(files) - len(named))
    return replace(answer, total=int(total)) if is_tencent else replace(answer, next_marker=marker)


def _read_media(entry: Json) -> ListedFile | None:
    file_id = _file_id(entry, "FileId")
    if file_id is None or is_rounded(file_id):
        return None
    basic, original = _object(entry, "BasicInfo"), _original(_object(entry, "TranscodeInfo"))
    return ListedFile(
        file_id,
        created_at=_moment(basic.get("CreateTime")),
        name=_storable_text(basic.get("Name")) or None,
        size_bytes=_known(read_size, original.get("Size")),
        duration_s=_known(read_duration, original.get("Duration")),
        media_url=_storable_text(basic.get("MediaUrl")) or None,
    )


def _read_key(entry: Json) -> ListedFile | None:
    file_id = _file_id(entry, "Key")
    if file_id is None:
        return None
    return ListedFile(
        file_id,
        created_at=_moment(entry.get("LastModified")),
        size_bytes=_known(read_size, entry.get("Size")),
        media_url=_storable_text(entry.get("MediaUrl")) or None,
    )


def _original(transcodes: Json) -> Json:
    """The file itself among its renditions: a rendition's size and duration are not the file's."""
    renditions = transcodes.get("TranscodeSet")
    for rendition in renditions if isinstance(renditions, list) else []:
        if isinstance(rendition, dict) and rendition.get("Definition") == "0":
            return rendition
    return {}


def _file_id(entry: Json, key: str) -> str | None:
    text = _storable_text(entry.get(key))
    return text if text and text.strip() else None


def _storable_text(value: JsonValue, max_bytes: int = MAX_ID_BYTES) -> str | None:
    """A text that every database can hold, whole or not at all."""
    fits = isinstance(value, str) and storable(value) and len(value.encode()) <= max_bytes
    return str(value) if fits else None


def _known(read: Callable[[JsonValue], _Figure | None], value: JsonValue) -> _Figure | None:
    """A figure, or None where there is none or it is larger than any file can be."""
    try:
        return read(value)
    except ValueError:
        return None


def _moment(value: JsonValue) -> datetime | None:
    match = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    try:
        moment = datetime.fromisoformat(match[1] + (match[2] or "")).replace(tzinfo=UTC)
    except ValueError:  # such as 31 February
        return None
    return moment if _FIRST_YEAR <= moment.year < _NEVER_YEAR else None
