"""One HTTP connection to ZEGO that knows whether any byte of a request has left (the only importer of requests)."""

from __future__ import annotations

import errno
from dataclasses import replace
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from service.zego.answers import HttpAnswer
from service.zego.messages import Transport

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK_BYTES: Final = 65_536


class _Session(requests.Session):
    """A session to which a redirect is an answer like any other.

    Even where redirects are not followed, the library would parse their target, which can raise, and read their body.
    """

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: there is nowhere to go."""


class Connection:
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
        """Close it; the next request opens it again."""
        self._session.close()

    def get(
        self,
        url: str,
        timeouts: tuple[float, float],
        monotonic: Callable[[], float],
        max_bytes: int,
        may_send: Callable[[], bool] | None,
    ) -> HttpAnswer:
        """Send one request, if `may_send` allows it, and read its answer; trouble is an answer, never an exception."""
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
