"""A world for the tests of this folder, on a database of each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.world import open_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.world import World


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    """A service that leads, and a sandbox."""
    with open_world(database_url) as opened:
        yield opened
