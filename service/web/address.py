"""The address of the web side: whether it can be had, and whether somebody answers there."""

from __future__ import annotations

import errno
import socket
from typing import Final

from service.settings import Listen

_MAX_WAIT_S: Final = 0.5


class CannotListen(Exception):  # noqa: N818  (a state of the machine, named as such)
    """The address cannot be listened on; the text says why in one line."""


def find_address(listen: Listen) -> str:
    """The IP address to listen on, after a try that it can be had.

    Tried before anything is opened or migrated, so that a mistyped address costs nothing.

    Raises:
        CannotListen: it cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise CannotListen(
            f"cannot listen on {listen}: {error.strerror or error}; set ZEGO_RETENTION_LISTEN to {_suggest(error)}"
        ) from None
    return str(address[0])


def is_answering(listen: Listen) -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection(listen, _MAX_WAIT_S).close()
    except OSError:
        return False
    return True


def _suggest(error: OSError) -> str:
    if error.errno == errno.EACCES:
        return "a port above 1023"
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return "an address of this machine, for example 127.0.0.1:8080"
    return "a free port"
