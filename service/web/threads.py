"""What reads the whole inventory is answered for one request at a time (docs/http.md)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

from flask import abort

from service.web.problems import problem

_MAX_INVENTORY_WAIT_S: Final = 1.0


class Threads:
    """Who may read the whole inventory."""

    def __init__(self) -> None:
        self._inventory = threading.Lock()

    @contextmanager
    def for_inventory(self) -> Iterator[None]:
        """Hold a thread for what reads the whole inventory (a forecast, a preview); 503 if another one does."""
        if not self._inventory.acquire(timeout=_MAX_INVENTORY_WAIT_S):
            abort(problem(HTTPStatus.SERVICE_UNAVAILABLE, "another request reads the whole inventory: ask again"))
        try:
            yield
        finally:
            self._inventory.release()
