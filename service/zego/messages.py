"""What is asked of ZEGO's server API, and its answers, from text to what was observed (docs/protocol.md).

Nothing is interpreted here, and nothing guessed: a page of a listing is read whole or not at all; within it, an entry
whose file cannot be named is counted, and a fact that cannot be read is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final, TypeVar

from service.model import Vendor
from service.zego.wirejson import JsonValue, is_rounded, is_text, make_storable, read_duration, read_json, read_size

_MAX_RAW_CHARACTERS: Final = 65_536
_MAX_TEXT_CHARACTERS: Final = 1000
_MAX_MARKER_BYTES: Final = 2048  # percent-encoded, it has to fit a URL
_CODE = re.compile("-?[0-9]{1,15}")
_COUNT = re.compile("[0-9]{1,15}")
_MOMENT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?)Z")
_YEARS: Final = range(1970, 9999)  # 9999 is ZEGO's "never", 0001 is what an unset time looks like

_Json = dict[str, JsonValue]
_Answer = TypeVar("_Answer", bound="Answer")
_Figure = TypeVar("_Figure", int, float)


class Transport(StrEnum):
    """How far a call to ZEGO got."""

    ANSWERED = "answered"  # an HTTP answer was read to its end
    NOT_SENT = "not_sent"  # no byte of the request left: ZEGO cannot have seen it
    LOST = "lost"  # the request may have arrived, but no whole answer came back


@dataclass(frozen=True, slots=True)
class FileError:
    """One entry of `Data.Errors`: the CDN vendor's own words about one file."""

    file_id: str
    code: str
    message: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What was observed of one call, whatever it asked.

    `code` is the top-level `Code` (None: there was none to read). `date` is the server's own clock. `unreadable`: an
    HTTP answer came, but not a whole JSON answer of ZEGO (an error page, cut JSON, a `Data` that cannot be read).
    """

    transport: Transport
    http_status: int | None = None
    code: int | None = None
    message: str = ""
    request_id: str = ""
    date: datetime | None = None
    unreadable: bool = False
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class DeleteAnswer(Answer):
    """An answer of DeleteMedia. `cache_code` is what it says of purging Wangsu's cache; `raw` the body as text, cut."""

    deleted: frozenset[str] = frozenset()
    errors: tuple[FileError, ...] = ()
    cache_code: str | None = None
    raw: str = ""


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One file as the vendor's listing shows it (docs/protocol.md, "SearchMedia"); None: not known."""

    file_id: str
    created_at: datetime | None
    name: str | None = None
    size_bytes: int | None = None
    duration_s: float | None = None
    media_url: str | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """One question to SearchMedia: a page of `size` files.

    Tencent takes `start` and `end` (of creation) and `page` (from 0); Ws and Huawei take `marker`.
    """

    size: int
    start: datetime | None = None
    end: datetime | None = None
    page: int = 0
    marker: str = ""


@dataclass(frozen=True, slots=True)
class SearchAnswer(Answer):
    """An answer of SearchMedia: the files with a usable id, and how many entries had none.

    `total` is Tencent's `TotalCount`; `next_marker` is that of Ws and Huawei, empty at the end. None: not answered.
    """

    files: tuple[ListedFile, ...] = ()
    unnamed: int = 0
    total: int | None = None
    next_marker: str | None = None


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """One exchange with ZEGO as far as it got. `failure` is one line for people; nothing here is secret."""

    transport: Transport
    failure: str = ""
    status: int | None = None
    date: str = ""
    retry_after: str = ""
    text: str = ""
    too_long: bool = False


def read_delete_answer(http: HttpAnswer, now: datetime) -> DeleteAnswer:
    """Read an answer of DeleteMedia. Never raises; `now` turns a Retry-After date into seconds."""
    answer, data = _read_answer(DeleteAnswer, http, now)
    answer = replace(answer, raw=make_storable(http.text, _MAX_RAW_CHARACTERS))
    if answer.code != 0 or answer.unreadable:
        return answer
    deleted, errors = _entries(data, "Deleted"), _entries(data, "Errors")
    if deleted is None or errors is None:
        return replace(answer, unreadable=True)
    return replace(
        answer,
        deleted=frozenset(entry for entry in deleted if isinstance(entry, str)),
        # An entry that names no file says nothing of any: its file is then in neither list.
        errors=tuple(
            FileError(key, *(_text(entry, name) for name in ("Code", "Message", "RequestId")))
            for entry in errors
            if isinstance(entry, dict) and isinstance(key := entry.get("Key"), str)
        ),
        cache_code=_text(_object(data, "WsItemIdReceiverResp"), "Code") or None,
    )


def read_search_answer(http: HttpAnswer, vendor: Vendor, now: datetime) -> SearchAnswer:
    """Read an answer of SearchMedia for this vendor. Never raises; `now` turns a Retry-After date into seconds."""
    answer, data = _read_answer(SearchAnswer, http, now)
    if answer.code != 0 or answer.unreadable:
        return answer
    section, is_tencent = _object(data, vendor.value), vendor is Vendor.TENCENT
    key = "MediaInfoSet" if is_tencent else "Keys"
    entries, total, marker = _entries(section, key), _text(section, "TotalCount"), section.get("NextMarker")
    has_place = _COUNT.fullmatch(total) if is_tencent else marker is None or is_text(marker, _MAX_MARKER_BYTES)
    if key not in section or entries is None or not has_place:
        return replace(answer, unreadable=True)
    files = tuple(file for entry in entries if (file := _read_file(entry, is_tencent=is_tencent)) is not None)
    answer = replace(answer, files=files, unnamed=len(entries) - len(files))
    if is_tencent:
        return replace(answer, total=int(total))
    return replace(answer, next_marker=None if marker is None else str(marker))


def read_retry_after(value: str, now: datetime) -> float | None:
    """How many seconds a Retry-After header (seconds or an HTTP date) asks to wait, or None."""
    if re.fullmatch("[0-9]{1,9}", value.strip()):
        return float(value)
    until = _read_http_date(value)
    return None if until is None else max(0.0, (until - now).total_seconds())


def _read_http_date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
        # Without a zone (or with "-0000") it is UTC: HTTP dates know no other.
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _read_answer(kind: type[_Answer], http: HttpAnswer, now: datetime) -> tuple[_Answer, _Json]:
    """What every answer has, and its `Data`, which is an object or (in another version of the docs) holds JSON."""
    is_answered = http.transport is Transport.ANSWERED
    top = (_read_object(http.text.strip("\ufeff \t\r\n")) if is_answered and not http.too_long else None) or {}
    data = top.get("Data")
    if data is None or data == "":
        data = {}
    elif isinstance(data, str):
        data = _read_object(data)
    written = _text(top, "Code")
    code = int(written) if _CODE.fullmatch(written) else None
    answer = kind(
        transport=http.transport,
        http_status=http.status,
        code=code,
        message=_text(top, "Message") or make_storable(http.failure, _MAX_TEXT_CHARACTERS),
        request_id=_text(top, "RequestId"),
        date=_read_http_date(http.date),
        unreadable=is_answered and (code is None or (code == 0 and not isinstance(data, dict))),
        retry_after_s=read_retry_after(http.retry_after, now),
    )
    return answer, data if isinstance(data, dict) else {}


def _read_object(text: str) -> _Json | None:
    try:
        value, problem = read_json(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) and not problem else None


def _text(holder: _Json, key: str) -> str:
    """A text (or a number's digits) for the record, "" where there is none."""
    value = holder.get(key)
    return make_storable(value, _MAX_TEXT_CHARACTERS) if isinstance(value, str) else ""


def _object(holder: _Json, key: str) -> _Json:
    value = holder.get(key)
    return value if isinstance(value, dict) else {}


def _entries(holder: _Json, key: str) -> list[JsonValue] | None:
    """The list under a key, empty where there is none; None for anything else."""
    value = holder.get(key)
    if value is None:
        return []
    return value if isinstance(value, list) else None


def _read_file(entry: JsonValue, *, is_tencent: bool) -> ListedFile | None:
    """One entry of a listing; None if its file cannot be named."""
    if not isinstance(entry, dict):
        return None
    file_id, facts, original, created_at = entry.get("Key"), entry, entry, entry.get("LastModified")
    if is_tencent:
        file_id, facts = entry.get("FileId"), _object(entry, "BasicInfo")
        created_at = facts.get("CreateTime")
        # Of the renditions, the file itself: their sizes and durations are not the file's.
        renditions = _entries(_object(entry, "TranscodeInfo"), "TranscodeSet") or []
        objects = (each for each in renditions if isinstance(each, dict))
        original = next((each for each in objects if each.get("Definition") == "0"), {})
    if not is_text(file_id) or not file_id.strip() or (is_tencent and is_rounded(file_id)):
        return None
    name, url = facts.get("Name") if is_tencent else None, facts.get("MediaUrl")
    return ListedFile(
        file_id,
        created_at=_read_moment(created_at),
        name=name if name and is_text(name) else None,
        size_bytes=_known(read_size, original.get("Size")),
        duration_s=_known(read_duration, original.get("Duration")) if is_tencent else None,
        media_url=url if url and is_text(url) else None,
    )


def _known(read: Callable[[JsonValue], _Figure | None], value: JsonValue) -> _Figure | None:
    """A figure, or None where there is none or it is larger than any file can be."""
    try:
        return read(value)
    except ValueError:
        return None


def _read_moment(value: JsonValue) -> datetime | None:
    match = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    try:
        moment = datetime.fromisoformat(match[1]).replace(tzinfo=UTC) if match else None
    except ValueError:  # such as 31 February
        return None
    return moment if moment and moment.year in _YEARS else None
