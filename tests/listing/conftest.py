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


@pytest.fixture
def plain_world(sqlite_url: str) -> Iterator[World]:
    """The same on SQLite alone, where the database makes no difference."""
    with open_world(sqlite_url) as opened:
        yield opened
