"""What is asked of ZEGO's server API and what was observed of its answers; nothing here is interpreted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Transport(StrEnum):
    """How far a call to ZEGO got."""

    ANSWERED = "answered"
    """An HTTP answer was read to its end."""
    NOT_SENT = "not_sent"
    """No byte of the request left: ZEGO cannot have seen it."""
    LOST = "lost"
    """The request may have arrived, but no whole answer came back."""


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

    Tencent takes `start` and `end` (of creation) and `page` (from 0); Ws and Huawei take `marker`. What is not set is
    not asked.
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
