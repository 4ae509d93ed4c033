"""Calls to ZEGO's server API over HTTP: what was sent at most once, and what came back.

Every call is one request with a nonce and signature of its own. Nothing is retried, redirected or cached here: whoever
calls decides what happens next. No proxy, credential or certificate setting is taken from the environment.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote

from service.model import Vendor
from service.zego.answers import HttpAnswer, Redaction, read_delete_answer, read_search_answer
from service.zego.messages import DeleteAnswer, Query, SearchAnswer
from service.zego.signature import api_signature

if TYPE_CHECKING:  # loaded when it is used: it is slow
    from service.zego.connection import Connections

MAX_FILES: Final = 100
"""Files of one call of DeleteMedia."""
MAX_BODY_BYTES: Final = 1024 * 1024
MAX_LISTING_BYTES: Final = 8 * MAX_BODY_BYTES
"""A page of 5,000 files has some 3 MiB."""

_FILE_ID_KEY: Final = "FileId[]"

Parameters = list[tuple[str, str]]


class ZegoClient:
    """One app's way to DeleteMedia and SearchMedia, safe to share between threads.

    Trouble on the network is an answer, never an exception.
    """

    def __init__(
        self,
        app_id: str,
        server_secret: str,
        api_url: str,
        *,
        now: Callable[[], datetime],
        is_test: bool | None = None,
        clear_cache: bool = False,
        connect_timeout_s: float = 5,
        read_timeout_s: float = 30,
    ) -> None:
        self._app_id = app_id
        self._server_secret = server_secret
        self._api_url = api_url
        self._is_test = is_test
        self._clear_cache = clear_cache
        self._now = now
        self._timeouts = (connect_timeout_s, read_timeout_s)

    def __repr__(self) -> str:
        return f"ZegoClient(app_id={self._app_id!r}, api_url={self._api_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. The client stays usable."""
        if "_connections" in self.__dict__:
            self._connections.close()

    @cached_property
    def _connections(self) -> Connections:
        # Loaded now: most commands call nobody, and the library takes long to load.
        from service.zego.connection import Connections  # noqa: PLC0415

        return Connections()

    def url_overhead(self, vendor: Vendor) -> int:
        """Bytes of this app's DeleteMedia URL before its first file id (`url_cost` says what each id adds)."""
        return url_overhead(self._api_url, self._app_id, vendor, is_test=self._is_test, clear_cache=self._clear_cache)

    def delete_media(
        self, vendor: Vendor, file_ids: Sequence[str], *, may_send: Callable[[], bool] | None = None
    ) -> DeleteAnswer:
        """Ask ZEGO once to delete these files (docs/protocol.md, "DeleteMedia"); deletion cannot be undone.

        `may_send` is asked once the connection stands, right before the first byte leaves: connecting can take seconds.
        If it says no, nothing is sent and the answer is `NOT_SENT`.

        Raises:
            ValueError: not 1 to 100 ids, a mistake of the caller.
        """
        if not 1 <= len(file_ids) <= MAX_FILES:
            raise ValueError(f"DeleteMedia takes 1 to {MAX_FILES} files, not {len(file_ids)}")
        parameters = delete_parameters(vendor, file_ids, clear_cache=self._clear_cache)
        http, redaction = self._call("DeleteMedia", parameters, MAX_BODY_BYTES, may_send)
        return read_delete_answer(http, redaction, self._now())

    def search_media(self, vendor: Vendor, query: Query) -> SearchAnswer:
        """Ask ZEGO once for a page of its listing (docs/protocol.md, "SearchMedia"), which changes nothing."""
        http, redaction = self._call("SearchMedia", search_parameters(vendor, query), MAX_LISTING_BYTES)
        return read_search_answer(http, redaction, vendor, self._now())

    def _call(
        self, action: str, parameters: Parameters, max_bytes: int, may_send: Callable[[], bool] | None = None
    ) -> tuple[HttpAnswer, Redaction]:
        common = common_parameters(
            action,
            self._app_id,
            self._server_secret,
            nonce=secrets.token_hex(8),
            timestamp=str(int(self._now().timestamp())),
            is_test=self._is_test,
        )
        url = build_url(self._api_url, common + parameters)
        http = self._connections.get(url, self._timeouts, max_bytes, may_send)
        return http, Redaction(self._server_secret, dict(common)["Signature"])


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
    """The parameters of SearchMedia beside the common ones. A fraction of a second widens the window asked for."""
    parameters = [("Vendor", vendor.value)]
    if vendor is Vendor.TENCENT:
        if query.start is not None:
            parameters.append(("StartTime", str(math.floor(query.start.timestamp()))))
        if query.end is not None:
            parameters.append(("EndTime", str(math.ceil(query.end.timestamp()))))
        return [*parameters, ("PageNumber", str(query.page)), ("PageSize", str(query.size))]
    parameters.append(("MaxKeys", str(query.size)))
    return [*parameters, ("Marker", query.marker)] if query.marker else parameters


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
