"""Calls to ZEGO's server API over HTTP: what was sent at most once, and what came back (the only importer of requests).

Every call is one request with a nonce and signature of its own. Nothing is retried, redirected or cached here: whoever
calls decides what happens next. No proxy, credential or certificate setting is taken from the environment.
"""

from __future__ import annotations

import errno
import secrets
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from service.zego.answers import HttpAnswer, Redaction, read_delete_answer, read_search_answer
from service.zego.messages import Transport
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
    from service.zego.messages import DeleteAnswer, Query, SearchAnswer

MAX_BODY_BYTES: Final = 1024 * 1024
MAX_LISTING_BYTES: Final = 8 * MAX_BODY_BYTES
"""A page of 5,000 files has some 3 MiB."""
_CHUNK_BYTES: Final = 65_536


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
        self._idle: deque[_Connection] = deque()

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
    def _borrow_connection(self) -> Iterator[_Connection]:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = _Connection()
        try:
            yield connection
        finally:
            self._idle.append(connection)


class _Session(requests.Session):
    """A session to which a redirect is an answer like any other.

    Even where redirects are not followed, the library would parse their target, which can raise, and read their body.
    """

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: there is nowhere to go."""


class _Connection:
    """One session, used by one call at a time, that knows whether any byte of the request has left."""

    def __init__(self) -> None:
        self._watch = _SendWatch()
        self._session = _Session()
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers.update({"Accept-Encoding": "identity", "User-Agent": "zego-retention"})
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _WatchedAdapter(self._watch))

    def close(self) -> None:
        self._session.close()

    def get(
        self,
        url: str,
        timeouts: tuple[float, float],
        monotonic: Callable[[], float],
        max_bytes: int,
        may_send: Callable[[], bool] | None,
    ) -> HttpAnswer:
        self._watch.start(may_send)
        answer = HttpAnswer(Transport.LOST)
        try:
            with self._session.get(url, timeout=timeouts, allow_redirects=False, stream=True) as response:
                answer = replace(
                    answer,
                    status=response.status_code,
                    date=response.headers.get("Date", ""),
                    retry_after=response.headers.get("Retry-After", ""),
                )
                return _read_body(answer, response, monotonic() + timeouts[1], monotonic, max_bytes)
        except (requests.RequestException, HTTPError, HTTPException, OSError) as error:
            self.close()
            return _failed(answer, error, sent=self._watch.sent)


def _read_body(
    head: HttpAnswer, response: requests.Response, deadline: float, monotonic: Callable[[], float], max_bytes: int
) -> HttpAnswer:
    """Read the body to its end, the cap or the deadline: the read timeout alone would let a dripping server hold us."""
    body = bytearray()
    while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
        body += chunk
        if len(body) > max_bytes:
            return replace(head, transport=Transport.ANSWERED, body=bytes(body[:max_bytes]), too_long=True)
        if monotonic() > deadline:
            raise TimeoutError(errno.ETIMEDOUT, "timed out in the middle of the answer")
    return replace(head, transport=Transport.ANSWERED, body=bytes(body))


def _failed(answer: HttpAnswer, error: Exception, *, sent: bool) -> HttpAnswer:
    transport, what = (
        (Transport.LOST, "no whole answer came back") if sent else (Transport.NOT_SENT, "nothing was sent to ZEGO")
    )
    return replace(answer, transport=transport, failure=f"{what}: {_reason(error)}")


def _reason(error: BaseException) -> str:
    """The innermost cause in the system's words. The outer ones carry the URL, and with it the signature."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    if isinstance(error, TimeoutError):
        return "timed out"
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__


class _SendWatch:
    """Whether any byte of the present request has been handed to a standing connection, and whether it may be."""

    __slots__ = ("_may_send", "sent")

    def __init__(self) -> None:
        self.start(None)

    def start(self, may_send: Callable[[], bool] | None) -> None:
        """Begin a new request."""
        self.sent = False
        self._may_send = may_send

    def before_send(self) -> None:
        """Note that bytes leave now.

        Raises:
            OSError: they may not.
        """
        if not self.sent and self._may_send is not None and not self._may_send():
            raise OSError(errno.ECANCELED, "the request was held back before it was sent")
        self.sent = True


class _WatchedAdapter(HTTPAdapter):
    """Sends over connections that report when bytes leave.

    The exceptions alone do not show it: a TLS handshake and an answer that time out look the same.
    """

    def __init__(self, watch: _SendWatch) -> None:
        self._watch = watch
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  (handed on as they are)
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _watched_pools(self._watch)


def _watched_pools(watch: _SendWatch) -> dict[str, type[HTTPConnectionPool]]:
    """Pools of a kind of their own for this watch: urllib3 takes classes here, not objects."""
    plain, tls = _watched(HTTPConnection, watch), _watched(HTTPSConnection, watch)
    return {
        "http": type("WatchedPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("WatchedTlsPool", (HTTPSConnectionPool,), {"ConnectionCls": tls}),
    }


def _watched(connection: type[HTTPConnection], watch: _SendWatch) -> type[HTTPConnection]:
    def send(self: HTTPConnection, data: Any) -> None:  # noqa: ANN401  (as in http.client)
        if self.sock is None:
            self.connect()
        watch.before_send()
        connection.send(self, data)

    return type(f"Watched{connection.__name__}", (connection,), {"send": send})
