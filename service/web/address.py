"""The address of the web side: whether it can be had, and whether somebody answers there."""

from __future__ import annotations

import errno
import socket
from typing import Any, Final

from service.settings import Listen

_MAX_WAIT_S: Final = 0.5
_FAMILY_IS_MISSING: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_OUR_ADDRESS: Final = "an address of this machine, for example 127.0.0.1:8080"
_SUGGESTIONS: Final = {errno.EACCES: "a port above 1023"} | dict.fromkeys(
    (*_FAMILY_IS_MISSING, errno.EINVAL), _OUR_ADDRESS
)


class CannotListen(Exception):  # noqa: N818  (a state of the machine, named as such)
    """The address cannot be listened on; the text says why in one line."""


def bind(listen: Listen) -> list[socket.socket]:
    """Sockets on every address that the name has: `localhost` and `[::]` are IPv4 and IPv6 where the machine has both.

    Done before anything is opened or migrated, so that a mistyped address costs nothing; CannotListen if it cannot.
    """
    try:
        found = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:  # (the latter of a name that cannot be one)
        raise _cannot_listen(listen, error, _OUR_ADDRESS) from None
    sockets: list[socket.socket] = []
    errors: list[OSError] = []
    for family, kind, protocol, _, address in dict.fromkeys(found):
        try:
            sockets.append(_bind(family, kind, protocol, address))
        except OSError as error:
            errors.append(error)
    errors.sort(key=lambda error: error.errno in _FAMILY_IS_MISSING)
    if sockets and all(error.errno in _FAMILY_IS_MISSING for error in errors):
        return sockets
    for each in sockets:
        each.close()
    raise _cannot_listen(listen, errors[0], _SUGGESTIONS.get(errors[0].errno or 0, "a free port"))


def check_address(listen: Listen) -> None:
    """See whether `bind` would work; CannotListen if not."""
    for bound in bind(listen):
        bound.close()


def is_answering(listen: Listen) -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection(listen, _MAX_WAIT_S).close()
    except OSError:
        return False
    return True


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


def _cannot_listen(listen: Listen, error: OSError | UnicodeError, remedy: str) -> CannotListen:
    reason = (isinstance(error, OSError) and error.strerror) or "there is no such name"
    return CannotListen(f"cannot listen on {listen}: {reason}; set ZEGO_RETENTION_LISTEN to {remedy}")
