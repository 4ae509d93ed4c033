"""What reads the whole inventory is answered for one request at a time (docs/http.md)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

from flask import Response

from service.web.problems import RETRY_AFTER_S, problem

_MAX_INVENTORY_WAIT_S: Final = 1.0


class Busy(Exception):  # noqa: N818  (a state of the server, answered 503)
    """Too many requests of this kind at once; the text says so in one line. Ask again after `RETRY_AFTER_S`."""


class Threads:
    """Who may read the whole inventory."""

    def __init__(self) -> None:
        self._inventory = threading.Lock()

    @contextmanager
    def for_inventory(self) -> Iterator[None]:
        """Hold a thread for what reads the whole inventory (a forecast, a preview): one at a time.

        Raises:
            Busy: another one is under way.
        """
        if not self._inventory.acquire(timeout=_MAX_INVENTORY_WAIT_S):
            raise Busy("another request reads the whole inventory: ask again")
        try:
            yield
        finally:
            self._inventory.release()


def answer_busy(busy: Busy) -> Response:
    """The answer to a request that is too much at the moment."""
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(busy), retry_after_s=RETRY_AFTER_S)
