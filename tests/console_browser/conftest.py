from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.console_browser.browser_scene import House, Site, listen, serve
from tests.web.api_scene import fill, open_api

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Playwright

HOW_TO_GET_CHROMIUM = (
    "no Chromium: apt-get install chromium fonts-wqy-microhei (as root, `make test` does it),"
    " or say in CHROMIUM where one is"
)


expect.set_options(timeout=15_000)  # a busy machine is slow


def open_chromium(playwright: Playwright) -> Browser:
    """The system's browser."""
    path = shutil.which(os.environ.get("CHROMIUM") or "/usr/bin/chromium")
    if path is None:
        pytest.fail(HOW_TO_GET_CHROMIUM)
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    return playwright.chromium.launch(executable_path=path, args=arguments)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The system's browser, one for each process that runs tests."""
    with sync_playwright() as playwright:
        browser = open_chromium(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def lasting_site(chromium: Browser, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A console with something of everything, for all tests that change nothing."""
    path = tmp_path_factory.mktemp("browser") / "zego-retention.db"
    shutil.copyfile(sqlite_template, path)
    with open_api(f"sqlite:///{path}") as api, listen() as listener:
        fill(api)
        with serve(api.app, listener) as origin:
            yield Site(chromium, api.world, origin)


@pytest.fixture
def site(lasting_site: Site) -> Iterator[Site]:
    """The lasting one; the test fails with whatever its pages met, and they are closed."""
    yield lasting_site
    assert not lasting_site.close_pages()


@pytest.fixture
def house(chromium: Browser, sqlite_url: str) -> Iterator[House]:
    """A fresh database, and an address at which consoles on it can be served; each story begins with an empty one."""
    with House(chromium, sqlite_url) as house:
        yield house
        faults = house.site.close_pages()
    assert not faults
