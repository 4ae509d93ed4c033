from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

import pytest

from service.settings import Listen
from service.web.address import CannotListen, bind, is_answering

if TYPE_CHECKING:
    from collections.abc import Iterable

OURS = "set ZEGO_RETENTION_LISTEN to an address of this machine, for example 127.0.0.1:8080"
LOOPBACKS = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


def reach(host: str, port: int, families: Iterable[tuple[int, str]], monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Bind a name that has these addresses; which of the loopbacks then answer."""
    found = [(family, socket.SOCK_STREAM, 6, "", (address, port)) for family, address in families]
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        sockets = bind(Listen(host, port))
    for each in sockets:
        each.listen()
    answers = [is_answering(Listen(address, port)) for _, address in LOOPBACKS]
    for each in sockets:
        each.close()
    return answers


def test_a_name_with_two_families_is_listened_on_by_both(free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reach("localhost", free_port, LOOPBACKS, monkeypatch) == [True, True]
    assert reach("localhost", free_port, LOOPBACKS[:1], monkeypatch) == [True, False]


def test_the_address_of_all_is_listened_on_by_both(free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reach("::", free_port, [(socket.AF_INET6, "::")], monkeypatch) == [True, True]


@pytest.mark.parametrize("host", ["a" * 64, "ü" * 70, "..", "\udcff", "nowhere.invalid", "192.0.2.1", "fe80::1"])
def test_what_is_no_address_of_this_machine_is_one_sentence(host: str, free_port: int) -> None:
    with pytest.raises(CannotListen) as caught:
        bind(Listen(host, free_port))
    assert str(caught.value).startswith(f"cannot listen on {Listen(host, free_port)}: ")
    assert str(caught.value).endswith(OURS)


def test_a_machine_without_ipv6_is_one_sentence(free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class WithoutIpv6(socket.socket):
        def __init__(self, family: int = socket.AF_INET, *rest: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *rest)

    monkeypatch.setattr(socket, "socket", WithoutIpv6)
    with pytest.raises(CannotListen, match=r"^cannot listen on \[::1\]:\d+: Address family not supported.*; " + OURS):
        bind(Listen("::1", free_port))
    assert reach("localhost", free_port, LOOPBACKS, monkeypatch)[0]


def test_a_port_that_is_not_allowed_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    class Strict(socket.socket):
        def bind(self, address: Any) -> None:
            raise PermissionError(errno.EACCES, "Permission denied", str(address))

    monkeypatch.setattr(socket, "socket", Strict)
    with pytest.raises(CannotListen, match="Permission denied; set ZEGO_RETENTION_LISTEN to a port above 1023"):
        bind(Listen("127.0.0.1", 80))
