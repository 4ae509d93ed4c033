"""The URL of a call to ZEGO's server API, and how long it will be (docs/protocol.md, "Calling ZEGO's server API")."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from service.model import Vendor
from service.zego.signature import api_signature

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from service.zego.messages import Query

MAX_FILES: Final = 100
"""Files of one call of DeleteMedia."""
TENCENT_REACH: Final = 5000
"""The last file that pages of one window of Tencent's listing reach; `TotalCount` stops here too."""
MAX_KEYS: Final = 1000
"""Files of one page of the listing of Ws and Huawei."""

_FILE_ID_KEY: Final = "FileId[]"

Parameters = list[tuple[str, str]]


def build_url(api_url: str, parameters: Iterable[tuple[str, str]]) -> str:
    """Return `api_url` with the parameters as its query, every reserved character percent-encoded."""
    return f"{api_url}?{'&'.join(_pair(key, value) for key, value in parameters)}"


def common_parameters(
    action: str, app_id: str, server_secret: str, *, nonce: str, timestamp: str, is_test: bool | None
) -> Parameters:
    """The parameters of every call, signed. `is_test` None leaves `IsTest` out, as newer projects do."""
    parameters = [
        ("Action", action),
        ("AppId", app_id),
        ("SignatureNonce", nonce),
        ("Timestamp", timestamp),
        ("Signature", api_signature(app_id, nonce, server_secret, timestamp)),
        ("SignatureVersion", "2.0"),
    ]
    if is_test is not None:
        parameters.append(("IsTest", str(is_test).lower()))
    return parameters


def delete_parameters(vendor: Vendor, file_ids: Sequence[str], *, clear_cache: bool) -> Parameters:
    """The parameters of DeleteMedia beside the common ones; only Ws knows `ClearCache`."""
    parameters = [("Vendor", vendor.value)]
    if clear_cache and vendor is Vendor.WANGSU:
        parameters.append(("ClearCache", "true"))
    return parameters + [(_FILE_ID_KEY, file_id) for file_id in file_ids]


def search_parameters(vendor: Vendor, query: Query) -> Parameters:
    """The parameters of SearchMedia beside the common ones. A fraction of a second widens the window asked for.

    Raises:
        ValueError: ZEGO takes no such question of this vendor, a mistake of the caller; the message says what is wrong.
    """
    page = _tencent_page(query) if vendor is Vendor.TENCENT else _keys_page(vendor, query)
    return [("Vendor", vendor.value), *page]


def _tencent_page(query: Query) -> Parameters:
    if query.marker:
        raise ValueError("SearchMedia takes no Marker for Tencent")
    if query.size < 1 or query.page < 0 or (query.page + 1) * query.size > TENCENT_REACH:
        raise ValueError(f"SearchMedia reaches the {TENCENT_REACH}th file of Tencent, not {query}")
    return [*_window(query), ("PageNumber", str(query.page)), ("PageSize", str(query.size))]


def _window(query: Query) -> Parameters:
    start = None if query.start is None else math.floor(query.start.timestamp())
    end = None if query.end is None else math.ceil(query.end.timestamp())
    if min(start or 0, end or 0) < 0 or (start is not None and end is not None and end < start):
        raise ValueError(f"SearchMedia takes a window from 1970 on that ends after its start, not {query}")
    return [(key, str(second)) for key, second in (("StartTime", start), ("EndTime", end)) if second is not None]


def _keys_page(vendor: Vendor, query: Query) -> Parameters:
    if query.start or query.end or query.page:
        raise ValueError(f"SearchMedia takes only a Marker for {vendor.value}, not {query}")
    if not 1 <= query.size <= MAX_KEYS:
        raise ValueError(f"SearchMedia takes 1 to {MAX_KEYS} MaxKeys, not {query.size}")
    return [("MaxKeys", str(query.size)), *([("Marker", query.marker)] if query.marker else [])]


def url_overhead(api_url: str, app_id: str, vendor: Vendor, *, is_test: bool | None, clear_cache: bool) -> int:
    """Bytes of a DeleteMedia URL before its first file id: exact, as nonce, time and signature have fixed lengths."""
    common = common_parameters(
        "DeleteMedia", app_id, server_secret="", nonce="0" * 16, timestamp="0" * 10, is_test=is_test
    )
    return len(build_url(api_url, common + delete_parameters(vendor, [], clear_cache=clear_cache)))


def url_cost(file_id: str) -> int:
    """Bytes that one more file id adds to a DeleteMedia URL: exact."""
    return len(f"&{_pair(_FILE_ID_KEY, file_id)}")


def _pair(key: str, value: str) -> str:
    return f"{quote(key, safe='')}={quote(value, safe='')}"
