from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import structlog

from tests.faults.children import be_silent

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """Faults are the order of the day here: a log line, and a traceback, for each would take longer than the test."""
    before = structlog.get_config()
    be_silent()
    yield
    structlog.configure(**before)
