from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.console.console_scene import Console
from tests.console.customer import open_customer
from tests.web.api_scene import fill, open_api

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def console(database_url: str) -> Iterator[Console]:
    """The console on an empty world, once on each database."""
    with open_api(database_url) as api:
        yield Console(api)


@pytest.fixture(scope="module")
def lasting_console(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """One with something of everything, for all tests of a module that change nothing; on SQLite."""
    path = tmp_path_factory.mktemp("console") / "zego-retention.db"
    shutil.copyfile(sqlite_template, path)
    with open_api(f"sqlite:///{path}") as api:
        fill(api)
        yield Console(api)


@pytest.fixture(scope="session")
def eventful_console(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """One on a customer's world after 30 days, for tests that change nothing; on SQLite."""
    path = tmp_path_factory.mktemp("customer") / "zego-retention.db"
    shutil.copyfile(sqlite_template, path)
    with open_customer(f"sqlite:///{path}") as console:
        yield console
