"""HTTP requests to ZEGO that show whether any byte of them has left (the only importer of requests)."""

from __future__ import annotations

import errno
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from service.zego.messages import HttpAnswer, Transport

_CHUNK_BYTES: Final = 65_536
_MAX_REASON: Final = 200
_NOT_SENT: Final = "nothing was sent to ZEGO: "


class _Sending(threading.local):
    """Whether this thread's request may leave, and whether it has: urllib3 hands nothing through to a connection."""

    may_send: Callable[[], bool] | None = None
    has_begun = False


_sending = _Sending()


class _Connection(HTTPConnection):
    """Notes when bytes leave. The exceptions do not show it: a TLS handshake and an answer that time out look alike."""

    _is_connecting = False

    def connect(self) -> None:
        self._is_connecting = True
        try:
            super().connect()
        finally:
            self._is_connecting = False

    def send(self, data: Any) -> None:  # noqa: ANN401  (as in http.client)
        if self.sock is None:
            self.connect()
        if not self._is_connecting:  # what asks a proxy for a tunnel is no part of the request
            if not _sending.has_begun and _sending.may_send is not None and not _sending.may_send():
                raise OSError(errno.ECANCELED, "the request was held back before it was sent")
            _sending.has_begun = True
        super().send(data)


class _TlsConnection(_Connection, HTTPSConnection):
    """The same, over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS: Final[Any] = {"http": _Pool, "https": _TlsPool}


class Connections(HTTPAdapter):
    """Kept connections to ZEGO, safe to share between threads; through an HTTP `proxy` if there is one.

    `ca_file` has the certificates to trust, instead of the system's. Used without a session of requests, which would
    add redirects, cookies, and the environment's proxies and passwords.
    """

    def __init__(self, proxy: str | None = None, ca_file: str | None = None) -> None:
        super().__init__()
        self._proxies = {"all": proxy} if proxy else None
        self._verify = ca_file or _find_authorities()
        where = urlsplit(proxy or "")
        self._way = f" (through the proxy {where.netloc.rpartition('@')[2]})" if proxy else ""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401, D102  (as in requests)
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401, D102  (as in requests)
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def get(
        self, url: str, timeouts: tuple[float, float], max_bytes: int, may_send: Callable[[], bool] | None
    ) -> HttpAnswer:
        """Send one request, if `may_send` allows it, and read its answer; trouble is an answer, never an exception.

        `timeouts` are seconds for connecting, and for reading.
        """
        _sending.may_send, _sending.has_begun = may_send, False
        answer, body = HttpAnswer(Transport.LOST), bytearray()
        try:
            request = requests.Request("GET", url, headers={"User-Agent": "zego-retention"}).prepare()
            with self.send(request, True, timeouts, self._verify, proxies=self._proxies) as response:
                # (In a tunnel it would come from behind it, and the request may have arrived.)
                is_of_proxy = self._way and url.startswith("http:")
                if is_of_proxy and response.status_code == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
                    failure = f"{_NOT_SENT}{response.status_code} {response.reason}{self._way}"
                    return replace(answer, transport=Transport.NOT_SENT, failure=failure)
                date, retry_after = (response.headers.get(name, "") for name in ("Date", "Retry-After"))
                answer = replace(answer, status=response.status_code, date=date, retry_after=retry_after)
                # The read timeout alone would let a server that drips hold us.
                deadline = time.monotonic() + timeouts[1]
                while len(body) <= max_bytes and (chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True)):
                    body += chunk
                    if time.monotonic() > deadline:
                        raise TimeoutError(errno.ETIMEDOUT, "timed out in the middle of the answer")
        except (requests.RequestException, HTTPError, HTTPException, OSError) as error:
            reason = f"{_find_reason(error)}{self._way}"
            if not _sending.has_begun:
                return replace(answer, transport=Transport.NOT_SENT, failure=f"{_NOT_SENT}{reason}")
            return replace(answer, failure=f"no whole answer came back: {reason}")
        text = body[:max_bytes].decode("utf-8", "replace")
        return replace(answer, transport=Transport.ANSWERED, text=text, too_long=len(body) > max_bytes)


def _find_reason(error: BaseException) -> str:
    """The innermost cause in the system's words. The outer ones carry the URL, and with it the signature."""
    while inner := error.__cause__ or error.__context__ or _find_wrapped(error):
        error = inner
    if isinstance(error, TimeoutError):
        return "timed out"
    if type(error) is OSError and error.errno is None:  # what Python says of a proxy that refuses, or a missing file
        return " ".join(str(error).split())[:_MAX_REASON]
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__


def _find_wrapped(error: BaseException) -> BaseException | None:
    """What urllib3 hands on without raising it: an error of TLS behind a proxy."""
    return next((each for each in error.args if isinstance(each, BaseException)), None)


def _find_authorities() -> str | bool:
    """Where the system keeps the certificates that it trusts; True, those that come with requests, where it has none.

    Not as the environment may have it (SSL_CERT_FILE).
    """
    paths = ssl.get_default_verify_paths()
    file, folder = Path(paths.openssl_cafile), Path(paths.openssl_capath)
    if file.is_file():
        return str(file)
    return str(folder) if next(folder.glob("*.0"), None) else True
