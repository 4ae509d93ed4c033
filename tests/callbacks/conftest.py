from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.callbacks.callback_scene import Scene, open_scene

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.database import Database


@pytest.fixture
def scene(database: Database) -> Iterator[Scene]:
    """An inbox and a leader, once on each database."""
    with open_scene(database) as scene:
        yield scene
