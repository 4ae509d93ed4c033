from __future__ import annotations

import socket

import pytest

from service.settings import Listen
from service.web.address import CannotListen, _remedy, find_address


def test_an_address_that_is_taken_asks_for_a_free_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(CannotListen, match=r"to a free port$"):
            find_address(Listen("127.0.0.1", taken.getsockname()[1]))


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_another_machine_asks_for_one_of_this(host: str) -> None:
    with pytest.raises(CannotListen, match="to an address of this machine"):
        find_address(Listen(host, 8080))


def test_a_low_port_that_is_not_permitted_asks_for_a_higher_one() -> None:
    assert _remedy(PermissionError(13, "Permission denied")) == "a port above 1023"
