"""Calls to ZEGO's server API over HTTP: what was sent at most once, and what came back.

Every call is one request with a nonce and signature of its own. Nothing is retried, redirected or cached here: whoever
calls decides what happens next. No proxy, credential or certificate of other programs is taken from the environment.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote, urlencode

from service.model import Vendor
from service.zego.messages import DeleteAnswer, HttpAnswer, Query, SearchAnswer, read_delete_answer, read_search_answer
from service.zego.signature import api_signature

if TYPE_CHECKING:  # loaded when it is used: it is slow, and most commands call nobody
    from service.zego.connection import Connections

_MAX_FILES: Final = 100
_MAX_BODY_BYTES: Final = 8 * 1024 * 1024  # a page of 5,000 files has some 3 MiB
_MIN_SECRET_CHARACTERS: Final = 8

Parameters = list[tuple[str, str]]


@dataclass
class ZegoClient:
    """One app's way to DeleteMedia and SearchMedia, safe to share between threads.

    `calls_per_second` is what ZEGO allows the app; whoever calls keeps to it. `is_test` None leaves `IsTest` out, as
    newer projects do. Trouble on the network is an answer, never an exception.
    """

    app_id: str
    server_secret: str = field(repr=False)
    api_url: str
    _: KW_ONLY
    now: Callable[[], datetime]
    calls_per_second: int = 20
    is_test: bool | None = None
    clear_cache: bool = False
    proxy: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    connect_timeout_s: float = 5
    read_timeout_s: float = 30

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. The client stays usable."""
        if "_connections" in self.__dict__:
            self._connections.close()

    def delete_media(
        self, vendor: Vendor, file_ids: Sequence[str], *, may_send: Callable[[], bool] | None = None
    ) -> DeleteAnswer:
        """Ask ZEGO once to delete 1 to 100 files (docs/protocol.md, "DeleteMedia"); deletion cannot be undone.

        `may_send` is asked once the connection stands, right before the first byte leaves: connecting can take seconds.
        If it says no, nothing is sent and the answer is `NOT_SENT`.
        """
        if not 1 <= len(file_ids) <= _MAX_FILES:
            raise ValueError(f"DeleteMedia takes 1 to {_MAX_FILES} files, not {len(file_ids)}")
        parameters = self._delete_parameters(vendor) + [("FileId[]", file_id) for file_id in file_ids]
        return read_delete_answer(self._call("DeleteMedia", parameters, may_send), self.now())

    def search_media(self, vendor: Vendor, query: Query) -> SearchAnswer:
        """Ask ZEGO once for a page of its listing (docs/protocol.md, "SearchMedia"), which changes nothing."""
        return read_search_answer(self._call("SearchMedia", search_parameters(vendor, query)), vendor, self.now())

    def url_overhead(self, vendor: Vendor) -> int:
        """Bytes of this app's DeleteMedia URL before its first file id (`url_cost` says what each id adds): exact."""
        nonce, timestamp = "0" * 16, "0" * 10  # as long as any
        return len(self._build_url("DeleteMedia", self._delete_parameters(vendor), nonce, timestamp)[0])

    @cached_property
    def _connections(self) -> Connections:
        from service.zego.connection import Connections  # noqa: PLC0415  (see above)

        return Connections(self.proxy, self.ca_file)

    def _delete_parameters(self, vendor: Vendor) -> Parameters:
        clears_cache = self.clear_cache and vendor is Vendor.WANGSU
        return [("Vendor", vendor.value), *([("ClearCache", "true")] if clears_cache else [])]

    def _call(self, action: str, parameters: Parameters, may_send: Callable[[], bool] | None = None) -> HttpAnswer:
        nonce, timestamp = secrets.token_hex(8), str(int(self.now().timestamp()))
        url, signature = self._build_url(action, parameters, nonce, timestamp)
        http = self._connections.get(url, (self.connect_timeout_s, self.read_timeout_s), _MAX_BODY_BYTES, may_send)
        text = http.text
        for secret in (self.server_secret, signature):  # error pages like to repeat the URL
            if len(secret) >= _MIN_SECRET_CHARACTERS:  # shorter ones would cut into everything
                text = text.replace(secret, "***")
        return replace(http, text=text)

    def _build_url(self, action: str, parameters: Parameters, nonce: str, timestamp: str) -> tuple[str, str]:
        """The URL of a call, and its signature."""
        signature = api_signature(self.app_id, nonce, self.server_secret, timestamp)
        common = [
            ("Action", action),
            ("AppId", self.app_id),
            ("SignatureNonce", nonce),
            ("Timestamp", timestamp),
            ("Signature", signature),
            ("SignatureVersion", "2.0"),
        ]
        if self.is_test is not None:
            common.append(("IsTest", str(self.is_test).lower()))
        return f"{self.api_url}?{_encode(common + parameters)}", signature


def search_parameters(vendor: Vendor, query: Query) -> Parameters:
    """The parameters of SearchMedia beside the common ones. A fraction of a second widens the window asked for."""
    parameters = [("Vendor", vendor.value)]
    if vendor is not Vendor.TENCENT:
        marker = [("Marker", query.marker)] if query.marker else []
        return [*parameters, ("MaxKeys", str(query.size)), *marker]
    if query.start is not None:
        parameters.append(("StartTime", str(math.floor(query.start.timestamp()))))
    if query.end is not None:
        parameters.append(("EndTime", str(math.ceil(query.end.timestamp()))))
    return [*parameters, ("PageNumber", str(query.page)), ("PageSize", str(query.size))]


def url_cost(file_id: str) -> int:
    """Bytes that one more file id adds to a DeleteMedia URL: exact."""
    return len("&" + _encode([("FileId[]", file_id)]))


def _encode(parameters: Parameters) -> str:
    return urlencode(parameters, safe="", quote_via=quote)
