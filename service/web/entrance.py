"""Where callbacks are let in: at which paths, and from which addresses (docs/callbacks.md, "Closing the entrance")."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from service.settings import Settings
from service.settings.values import CALLBACK_PATH, Network

_NOT_SHOWN: Final = "..."
_AFTER_CALLBACK: Final = re.compile("(zego/+callback/+)[^/].*", re.IGNORECASE | re.DOTALL)
_MAX_PATH_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Entrance:
    """The paths (some end with a secret token), the networks (none: every address), and the proxies in front of us."""

    paths: frozenset[str] = frozenset({CALLBACK_PATH})
    networks: tuple[Network, ...] = ()
    proxies: int = 0

    @property
    def shown(self) -> str:
        """Where callbacks are taken, as strangers may see it."""
        return CALLBACK_PATH if CALLBACK_PATH in self.paths else f"{CALLBACK_PATH}/<token>"

    def takes(self, path: str) -> bool:
        """Whether callbacks are taken at a path; a slash may follow it."""
        return path in self.paths or path.removesuffix("/") in self.paths

    def allows(self, client: str | None) -> bool:
        """Whether callbacks are taken from an address."""
        if not self.networks:
            return True
        try:
            address = ipaddress.ip_address(client or "")
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address):
            address = address.ipv4_mapped or address
        return any(address in network for network in self.networks)

    def find_client(self, peer: str | None, forwarded: Iterable[str]) -> str | None:
        """Who sent a request: the peer, or what the outermost of our proxies wrote down (X-Forwarded-For).

        Only what our own proxies have appended counts: anybody can send a header.
        """
        if self.proxies == 0:
            return peer
        hops = [hop.strip() for header in forwarded for hop in header.split(",")]
        return hops[-self.proxies] if len(hops) >= self.proxies else peer

    def hide_token(self, path: str) -> str:
        """A path as it may be logged: it may hold a token, or nearly one."""
        for known in self.paths:
            token = known.removeprefix(CALLBACK_PATH).strip("/")
            path = path.replace(token, _NOT_SHOWN) if token else path
        return _AFTER_CALLBACK.sub(rf"\1{_NOT_SHOWN}", path)[:_MAX_PATH_SHOWN]


def entrance_of(settings: Settings) -> Entrance:
    """The entrance that the settings ask for."""
    return Entrance(frozenset(settings.callback_paths), settings.callback_allow, settings.trusted_proxies)
