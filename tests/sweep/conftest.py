from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sweep.stage import Stage, open_stage

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def stage(database_url: str) -> Iterator[Stage]:
    with open_stage(database_url) as stage:
        yield stage
