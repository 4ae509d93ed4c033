"""Calls to ZEGO's server API over HTTP: what was sent at most once, and what came back.

Every call is one request with a nonce and signature of its own. Nothing is retried, redirected or cached here: whoever
calls decides what happens next. No proxy, credential or certificate setting is taken from the environment.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Self

from service.zego.answers import Redaction, read_delete_answer, read_search_answer
from service.zego.request_url import (
    MAX_FILES,
    Parameters,
    build_url,
    common_parameters,
    delete_parameters,
    search_parameters,
    url_overhead,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from service.model import Vendor
    from service.zego.answers import HttpAnswer
    from service.zego.connection import Connection
    from service.zego.messages import DeleteAnswer, Query, SearchAnswer

MAX_BODY_BYTES: Final = 1024 * 1024
MAX_LISTING_BYTES: Final = 8 * MAX_BODY_BYTES
"""A page of 5,000 files has some 3 MiB."""


class ZegoClient:
    """One app's way to DeleteMedia and SearchMedia. Trouble on the network is an answer, never an exception.

    Safe to share between threads: a requests session is not documented as such, so each call in flight borrows one of
    its own. They are kept for the next calls, since a TLS handshake to another continent costs more than the call.
    """

    def __init__(  # noqa: PLR0913  (an app's settings, each by its own name)
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
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app_id = app_id
        self._server_secret = server_secret
        self._api_url = api_url
        self._is_test = is_test
        self._clear_cache = clear_cache
        self._now = now
        self._timeouts = (connect_timeout_s, read_timeout_s)
        self._monotonic = monotonic
        self._idle: deque[Connection] = deque()

    def __repr__(self) -> str:
        return f"ZegoClient(app_id={self._app_id!r}, api_url={self._api_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that no call is using. The client stays usable."""
        while self._idle:
            self._idle.pop().close()

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
        """Ask ZEGO once for a page of its listing (docs/protocol.md, "SearchMedia"), which changes nothing.

        Raises:
            ValueError: ZEGO takes no such question of this vendor, a mistake of the caller.
        """
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
        with self._borrow_connection() as connection:
            http = connection.get(url, self._timeouts, self._monotonic, max_bytes, may_send)
        return http, Redaction(self._server_secret, dict(common)["Signature"])

    @contextmanager
    def _borrow_connection(self) -> Iterator[Connection]:
        try:
            connection = self._idle.pop()
        except IndexError:
            # Loaded now: most commands call nobody, and the library takes long to load.
            from service.zego.connection import Connection  # noqa: PLC0415

            connection = Connection()
        try:
            yield connection
        finally:
            self._idle.append(connection)
