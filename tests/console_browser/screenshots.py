"""Pictures of every page of the console: light, dark, on a phone, in Chinese. `make screenshots`; then look at them.

They are made of the same world each time, so that a difference between two runs is one of the console.
"""

from __future__ import annotations

import re
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
from playwright.sync_api import sync_playwright

from service.filters import FileFilter
from service.model import FileState
from service.views.files import FILES
from tests.conftest import migrate
from tests.console.customer import open_customer
from tests.console_browser.browser_scene import PHONE, Site, list_pages, serve
from tests.console_browser.conftest import open_chromium
from tests.web.api_scene import open_api

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from service.database import Database
    from tests.world import World

FOLDER: Final = Path("build/screenshots")
LOOKS: Final[dict[str, dict[str, Any]]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": PHONE},
    "chinese": {"locale": "zh-CN"},
}
FOR_README: Final[dict[str, str]] = {"overview": "/", "rules": "/rules/edit", "file": "/files/{deleted}"}
README_SCALE: Final = 0.75
"""The README shows them small; so they are light, too."""

MAX_README_BYTES: Final = 150_000
_EMPTY: Final = (
    "/",
    "/files",
    "/files?state=held",
    "/rules",
    "/rules/edit",
    "/holds",
    "/erasures",
    "/runs",
    "/callbacks",
    "/listings",
    "/audit",
    "/previews",
    "/revisions",
    "/report",
    "/people",
    "/sign-in",
)


def main() -> None:
    """Make all pictures whose path has the word that is given, if one is."""
    structlog.configure(processors=[_drop])
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        urls = [f"sqlite:///{folder}/{name}.db" for name in ("customer", "empty", "large")]
        for url in urls:
            migrate(url)
        browser = open_chromium(playwright)
        listener = socket.create_server(("127.0.0.1", 0))
        with open_customer(urls[0]) as console, serve(console.api.app, listener) as origin:
            numbers = find_examples(console.api.world.database)
            paths = [*list_pages(), *(f"/files/{number}" for number in numbers.values()), "/runs/33", "/previews/3"]
            site = Site(browser, console.api.world, origin)
            for look, options in LOOKS.items():
                page = site.open(**options)
                for path in paths:
                    if wanted in path and "export" not in path:
                        take(page, path, FOLDER / look)
                site.close_pages()
            take_for_readme(site, FOLDER / "readme")
            site.close_pages()
        with open_api(urls[1]) as api, serve(api.app, listener) as origin:
            site = Site(browser, api.world, origin)
            page = site.open()
            for path in _EMPTY:
                take(page, path, FOLDER / "empty")
            site.close_pages()
        with open_api(urls[2]) as api, serve(api.app, listener) as origin:
            fill_large(api.world)
            site = Site(browser, api.world, origin)
            for look in ("light", "phone"):
                page = site.open(**LOOKS[look])
                for path in ("/", "/files", "/files/1000001", "/rules"):
                    take(page, path, FOLDER / f"large-{look}")
                site.close_pages()
        listener.close()
        browser.close()


def fill_large(world: World) -> None:
    """Long names, and figures of many digits: 12,345 hours and 5.2 TB in files with numbers beyond a million."""
    world.apply(f'[[rules]]\nname = "{"r" * 40}"\nkeep = "30d"\n')
    for stream in ("a" * 255, "شارع" * 30, "lesson-grade7-mathematics-quadratic-functions-and-their-graphs"):
        world.add(1, prefix=stream[:9], stream_id=stream, duration_s=4_115.0 * 3_600, size_bytes=1_733_000_000_000)
    world.service.leader.transact(lambda tx: tx.exec_driver_sql("UPDATE media_files SET id = id + 1000000"))


def find_examples(database: Database) -> dict[str, int]:
    """The number of a file in every state; of deleted ones one that was tried twice, if there is one."""
    numbers = {file.state.value: file.id for file in FILES.iterate(database, FileFilter())}
    deleted = FILES.iterate(database, FileFilter(state=FileState.DELETED))
    return numbers | {"deleted": max(deleted, key=lambda file: (file.attempts, file.id)).id}


def take_for_readme(site: Site, folder: Path) -> None:
    """The pictures of the README, to be copied to docs/images as they are."""
    numbers = find_examples(site.world.database)
    page = site.open(viewport={"width": 1200, "height": 860}, device_scale_factor=README_SCALE)
    for name, path in FOR_README.items():
        take(page, path.format(**numbers), folder, name)
        assert (folder / f"{name}.png").stat().st_size <= MAX_README_BYTES, name


def take(page: Page, path: str, folder: Path, name: str = "") -> None:
    """Go to a page, wait for what it loads, and take its picture."""
    folder.mkdir(parents=True, exist_ok=True)
    answer = page.request.get(path)
    if "text/html" not in answer.headers["content-type"]:
        return
    page.goto(path)
    if path == "/rules/edit":
        page.locator("#try > *").first.wait_for()
        if page.locator("#keep-0").input_value():
            with page.expect_response("**/rules/try"):
                page.locator("#keep-0").fill("3d")
            page.wait_for_timeout(200)
        if name:
            page.evaluate("document.querySelectorAll('fieldset details').forEach((each) => (each.open = false))")
    name = name or re.sub(r"\W+", "-", path).strip("-") or "overview"
    page.screenshot(path=folder / f"{name}.png", full_page=True, animations="disabled")


def _drop(*_args: object) -> str:
    raise structlog.DropEvent


if __name__ == "__main__":
    shutil.rmtree(FOLDER, ignore_errors=True)
    main()
