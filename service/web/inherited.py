"""Listening sockets that whoever started this process had opened (systemd's LISTEN_FDS): they outlive a restart."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Final

from service.stopping import find_starter

_FIRST: Final = 3


def find_inherited(environ: Mapping[str, str]) -> list[int]:
    """The descriptors that are meant for this process, or for the one of ours that has started it."""
    meant_for, count = environ.get("LISTEN_PID", ""), environ.get("LISTEN_FDS", "")
    if not count.isdecimal() or meant_for not in (str(os.getpid()), str(find_starter(environ))):
        return []
    return list(range(_FIRST, _FIRST + int(count)))


def open_inherited(environ: Mapping[str, str]) -> list[socket.socket]:
    """The sockets of `find_inherited`, which listen already."""
    return [socket.socket(fileno=each) for each in find_inherited(environ)]


def describe_sockets(sockets: list[socket.socket]) -> str:
    """Where they listen."""
    names = [each.getsockname() for each in sockets]
    return ", ".join(name if isinstance(name, str) else f"{name[0]}:{name[1]}" for name in names)
