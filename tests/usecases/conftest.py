from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.world import World, open_world

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with open_world(database_url) as world:
        yield world
