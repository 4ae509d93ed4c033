from __future__ import annotations

import os
import shutil
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

from service.web.app import create_app
from tests.console_browser.browser_scene import Site, at_work, serve
from tests.web.api_scene import ADMIN_TOKEN, fill, open_api
from tests.world import open_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

HOW_TO_GET_CHROMIUM = (
    "no Chromium: apt-get install chromium fonts-wqy-microhei (as root, `make test` does it),"
    " or say in CHROMIUM where one is"
)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The system's browser, one for each process that runs tests."""
    path = shutil.which(os.environ.get("CHROMIUM") or "/usr/bin/chromium")
    if path is None:
        pytest.fail(HOW_TO_GET_CHROMIUM)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
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
def start(chromium: Browser, sqlite_url: str) -> Iterator[Callable[..., Site]]:
    """Start a console with these settings on a fresh database, with a leader at work."""
    with ExitStack() as stack:
        sites = []

        def start_site(**settings: str) -> Site:
            given = {"ADMIN_TOKEN": ADMIN_TOKEN, "SWEEP_EVERY": "off"} | settings
            world = stack.enter_context(open_world(sqlite_url, **given))
            app = create_app(world.service.settings, now=world.clock)
            stack.callback(app.extensions["zego-retention"].close)
            origin = stack.enter_context(serve(app, stack.enter_context(listen())))
            stack.enter_context(at_work(world))
            sites.append(Site(chromium, world, origin))
            return sites[-1]

        yield start_site
        faults = [fault for site in sites for fault in site.close_pages()]
    assert not faults


def listen() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))
