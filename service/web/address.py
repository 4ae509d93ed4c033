"""The address of the web side: whether it can be had, and whether somebody answers there."""

from __future__ import annotations

import errno
import socket
from typing import Any, Final

from service.settings import Listen

_MAX_WAIT_S: Final = 0.5
_FAMILY_IS_MISSING: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class CannotListen(Exception):  # noqa: N818  (a state of the machine, named as such)
    """The address cannot be listened on; the text says why in one line."""


def bind(listen: Listen) -> list[socket.socket]:
    """Sockets on every address that the name has: `localhost` and `[::]` are IPv4 and IPv6 where the machine has both.

    Done before anything is opened or migrated, so that a mistyped address costs nothing.

    Raises:
        CannotListen: the address cannot be had.
    """
    sockets: list[socket.socket] = []
    errors: list[OSError] = []
    try:
        found = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        found, errors = [], [error]
    for family, kind, protocol, _, address in dict.fromkeys(found):
        try:
            sockets.append(_bind(family, kind, protocol, address))
        except OSError as error:
            errors.append(error)
    grave = [error for error in errors if error.errno not in _FAMILY_IS_MISSING]
    if sockets and not grave:
        return sockets
    for each in sockets:
        each.close()
    why = (grave or errors)[0]
    raise CannotListen(
        f"cannot listen on {listen}: {why.strerror or why}; set ZEGO_RETENTION_LISTEN to {_suggest(why)}"
    )


def check_address(listen: Listen) -> None:
    """See whether `bind` would work.

    Raises:
        CannotListen: the address cannot be had.
    """
    for bound in bind(listen):
        bound.close()


def _bind(family: int, kind: int, protocol: int, address: Any) -> socket.socket:  # noqa: ANN401  (as getaddrinfo has it)
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


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
