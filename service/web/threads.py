"""What reads the whole inventory is answered for one request at a time, the forecast from memory (docs/http.md)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

from flask import abort

from service.views.rules import Forecast
from service.web.problems import problem

FORECAST_FRESH_S: Final = 60.0
"""How long a forecast is shown to everybody before the inventory is counted again."""

_MAX_INVENTORY_WAIT_S: Final = 1.0


class Threads:
    """Who may read the whole inventory."""

    def __init__(self) -> None:
        self._inventory = threading.Lock()
        self._forecast: tuple[float, Forecast] | None = None

    @contextmanager
    def for_inventory(self) -> Iterator[None]:
        """Hold a thread for what reads the whole inventory (a forecast, a preview); 503 if another one does."""
        if not self._inventory.acquire(timeout=_MAX_INVENTORY_WAIT_S):
            abort(problem(HTTPStatus.SERVICE_UNAVAILABLE, "another request reads the whole inventory: ask again"))
        try:
            yield
        finally:
            self._inventory.release()

    def find_forecast(self, make: Callable[[], Forecast]) -> Forecast:
        """The last forecast if it is fresh, or a new one."""
        kept = self._forecast
        if kept is None or time.monotonic() >= kept[0]:
            with self.for_inventory():
                if self._forecast is None or self._forecast is kept:  # nobody made one meanwhile
                    self._forecast = time.monotonic() + FORECAST_FRESH_S, make()
                kept = self._forecast
        return kept[1]
