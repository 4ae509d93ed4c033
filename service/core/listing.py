"""Questions to the vendor's listing and what it answers; nothing here is interpreted yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from service.core.model import Transport


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One file as the vendor's listing shows it (docs/protocol.md, "SearchMedia"), as far as it tells.

    `created_at` is Tencent's `CreateTime` or the others' `LastModified`, not yet believed. `expires_at` None: never, or
    not told.
    """

    file_id: str
    created_at: datetime | None
    name: str | None = None
    size_bytes: int | None = None
    duration_s: float | None = None
    media_url: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """One question to SearchMedia: a page of `size` files.

    Tencent takes `start` and `end` (creation, whole seconds), `page` (from 0), `prefix` (of the name, up to 20 bytes),
    and up to 10 `file_ids` or `stream_ids`; Ws and Huawei take `marker` and `prefix`. What is not set is not asked.
    """

    size: int
    start: datetime | None = None
    end: datetime | None = None
    page: int = 0
    prefix: str = ""
    marker: str = ""
    file_ids: tuple[str, ...] = ()
    stream_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """What was observed of one SearchMedia call; nothing here is interpreted.

    `date` is the server's own clock. `files` are those that can be named; `unnamed` counts entries that cannot.
    `total` is Tencent's `TotalCount`; `next_marker` is that of Ws and Huawei, empty at the end. None: not told.
    """

    transport: Transport
    http_status: int | None = None
    code: int | None = None
    message: str = ""
    request_id: str = ""
    date: datetime | None = None
    unreadable: bool = False
    retry_after_s: float | None = None
    files: tuple[ListedFile, ...] = ()
    unnamed: int = 0
    total: int | None = None
    next_marker: str | None = None
