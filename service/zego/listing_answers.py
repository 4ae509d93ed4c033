"""Answers of SearchMedia, from body bytes to the files they list; pure (docs/protocol.md, "SearchMedia").

A page is read whole or not at all. Within it, an entry whose file cannot be named is counted, and a fact that cannot be
read is unknown: nothing is guessed.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from service.model import Vendor
from service.zego.answers import read_code, read_data, read_http_date, read_retry_after, read_text, read_top
from service.zego.messages import ListedFile, SearchAnswer, Transport
from service.zego.wirejson import storable
from service.zego.wirevalues import MAX_ID_BYTES, is_rounded, read_duration, read_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from service.zego.answers import HttpAnswer, Redaction
    from service.zego.wirejson import JsonValue

MAX_MARKER_BYTES = 2048
"""Longest marker that can be asked for again: percent-encoded, it has to fit a URL."""

_COUNT = re.compile("[0-9]{1,15}")
_MOMENT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?Z")
_Figure = TypeVar("_Figure", int, float)
_FIRST_YEAR, _NEVER_YEAR = 1970, 9999
"""Years outside say that there is no moment: 9999 is ZEGO's "never", 0001 is what an unset time looks like."""


def read_search_answer(http: HttpAnswer, redaction: Redaction, vendor: Vendor, now: datetime) -> SearchAnswer:
    """Read an answer of SearchMedia for this vendor. Never raises; `now` turns a Retry-After date into seconds."""
    top = read_top(http, http.body.decode("utf-8", "replace"))
    code = read_code(top)
    answer = SearchAnswer(
        transport=http.transport,
        http_status=http.status,
        code=code,
        message=redaction.clean(read_text(top, "Message") or http.failure),
        request_id=redaction.clean(read_text(top, "RequestId")),
        date=read_http_date(http.date),
        unreadable=http.transport is Transport.ANSWERED and code is None,
        retry_after_s=read_retry_after(http.retry_after, now),
    )
    if code != 0:
        return answer
    section = (read_data(top.get("Data")) or {}).get(vendor.value)
    if not isinstance(section, dict):
        return replace(answer, unreadable=True)
    return _with_media(answer, section) if vendor is Vendor.TENCENT else _with_keys(answer, section)


def _with_media(answer: SearchAnswer, section: dict[str, JsonValue]) -> SearchAnswer:
    entries, total = _entries(section, "MediaInfoSet"), read_text(section, "TotalCount")
    if entries is None or not _COUNT.fullmatch(total):
        return replace(answer, unreadable=True)
    return _with_files(replace(answer, total=int(total)), entries, _read_media)


def _with_keys(answer: SearchAnswer, section: dict[str, JsonValue]) -> SearchAnswer:
    entries, written = _entries(section, "Keys"), section.get("NextMarker")
    marker = _text(written, MAX_MARKER_BYTES)
    if entries is None or (marker is None and written is not None):
        return replace(answer, unreadable=True)
    return _with_files(replace(answer, next_marker=marker), entries, _read_key)


def _entries(section: dict[str, JsonValue], key: str) -> list[JsonValue] | None:
    """The list under a key; `null` is how some servers write an empty one, but a missing list is none."""
    entries = section.get(key, "")
    if entries is None:
        return []
    return entries if isinstance(entries, list) else None


def _with_files(
    answer: SearchAnswer, entries: Iterable[JsonValue], read: Callable[[dict[str, JsonValue]], ListedFile | None]
) -> SearchAnswer:
    files = [read(entry) if isinstance(entry, dict) else None for entry in entries]
    named = tuple(file for file in files if file is not None)
    return replace(answer, files=named, unnamed=len(files) - len(named))


def _read_media(entry: dict[str, JsonValue]) -> ListedFile | None:
    file_id = read_text(entry, "FileId")
    if not _names_a_file(file_id) or is_rounded(file_id):
        return None
    basic, original = _dict(entry, "BasicInfo"), _original(_dict(entry, "TranscodeInfo"))
    return ListedFile(
        file_id,
        created_at=_moment(basic.get("CreateTime")),
        name=_short_text(basic.get("Name")),
        size_bytes=_known(read_size, original.get("Size")),
        duration_s=_known(read_duration, original.get("Duration")),
        media_url=_short_text(basic.get("MediaUrl")),
    )


def _read_key(entry: dict[str, JsonValue]) -> ListedFile | None:
    file_id = read_text(entry, "Key")
    if not _names_a_file(file_id):
        return None
    return ListedFile(
        file_id,
        created_at=_moment(entry.get("LastModified")),
        size_bytes=_known(read_size, entry.get("Size")),
        media_url=_short_text(entry.get("MediaUrl")),
    )


def _original(transcodes: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """The file itself among its renditions: a rendition's size and duration are not the file's."""
    renditions = transcodes.get("TranscodeSet")
    for rendition in renditions if isinstance(renditions, list) else []:
        if isinstance(rendition, dict) and rendition.get("Definition") == "0":
            return rendition
    return {}


def _names_a_file(text: str) -> bool:
    return bool(text.strip()) and _text(text, MAX_ID_BYTES) is not None


def _text(value: JsonValue, max_bytes: int) -> str | None:
    """A text that every database can hold, whole or not at all."""
    fits = isinstance(value, str) and storable(value) and len(value.encode()) <= max_bytes
    return str(value) if fits else None


def _short_text(value: JsonValue) -> str | None:
    return _text(value, MAX_ID_BYTES) or None


def _dict(holder: dict[str, JsonValue], key: str) -> dict[str, JsonValue]:
    value = holder.get(key)
    return value if isinstance(value, dict) else {}


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
