"""Slowing down who guesses tokens and passwords (docs/http.md, "Wrong tokens and passwords").

So many wrong ones at once, then one every few seconds, for each address and for all together. What was right here
before is no guess: whoever shares an address with a guesser goes on. Nor is the same wrong one again: a script with an
old token shuts nobody out.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

T = TypeVar("T")

_REMEMBERED: Final = 1_000


class _Limit(NamedTuple):
    """So many at once, then one every so many seconds."""

    at_once: int
    every_s: float


_OF_ADDRESS: Final = _Limit(30, 2.0)
_OF_ALL: Final = _Limit(300, 0.2)
_ALL: Final = "all"


class TooManyGuesses(Exception):  # noqa: N818  (an answer, not a defect)
    """It was not looked at; `wait_s` says when it may be tried again."""

    def __init__(self, wait_s: int) -> None:
        super().__init__(f"too many wrong tokens or passwords from this address: try again in {wait_s} s")
        self.wait_s = wait_s


class Guesses:
    """What was tried in this process: hashes under a key of its own, and a number for each address; both are few."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._right: OrderedDict[str, None] = OrderedDict()
        self._wrong: OrderedDict[str, None] = OrderedDict()
        # When as many may come at once again. All together cannot fill it with addresses that are still limited.
        self._free_at: OrderedDict[str, float] = OrderedDict()

    def attempt(self, address: str | None, secret: str, check: Callable[[], T], wrong: type[Exception]) -> T:
        """What `check` returns; it raises `wrong` if the secret is not right. TooManyGuesses: it was not called."""
        digest = hashlib.blake2b(secret.encode("utf-8", "surrogatepass"), key=self._key).hexdigest()
        counted = self._count(digest, {_group(address): _OF_ADDRESS, _ALL: _OF_ALL})
        try:
            found = check()
        except wrong:
            with self._lock:
                _remember(self._wrong, digest, None)
            raise
        except BaseException:  # nothing was learned of it
            self._give_back(counted)
            raise
        self._give_back(counted)
        with self._lock:
            _remember(self._right, digest, None)
        return found

    def _count(self, digest: str, limits: dict[str, _Limit]) -> dict[str, _Limit]:
        """Count a guess before it is checked, so that many that are sent at once are no more."""
        with self._lock:
            if digest in self._right or digest in self._wrong:
                return {}
            now = self._monotonic()
            free_at = {name: max(self._free_at.get(name, now), now) + limit.every_s for name, limit in limits.items()}
            wait_s = max(free_at[name] - now - limit.at_once * limit.every_s for name, limit in limits.items())
            if wait_s > 0:
                raise TooManyGuesses(math.ceil(wait_s))
            for name, moment in free_at.items():
                _remember(self._free_at, name, moment)
        return limits

    def _give_back(self, counted: dict[str, _Limit]) -> None:
        with self._lock:
            for name, limit in counted.items():
                if name in self._free_at:
                    self._free_at[name] -= limit.every_s


def _remember(known: OrderedDict[str, T], name: str, value: T) -> None:
    known[name] = value
    known.move_to_end(name)
    if len(known) > _REMEMBERED:
        known.popitem(last=False)


def _group(address: str | None) -> str:
    """Who shares a limit: an IPv4 address, a network of IPv6 as one customer has it, whoever has none that is known."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((int(found), 64), strict=False))
