"""Every page of the console in a browser: nothing fails, axe is content, a phone shows it whole, it is light."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from flask import Flask

from service.web.console.build import add_console
from tests.console_browser.browser_scene import MAX_WEIGHT, PHONE, WIDE, find_violations, overflow, weigh

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.console_browser.browser_scene import Site


def list_pages() -> list[str]:
    """The path of every page that the console declares, with the number 1 where it takes one."""
    app = Flask(__name__, static_folder=None)
    app.url_map.converters["number"] = app.url_map.converters["int"]
    add_console(app)
    paths = []
    for rule in app.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and "<path:" not in rule.rule:
            choices = re.search(r"<any\(([^)]*)\):\w+>", rule.rule)
            words = [word.strip(" '\"") for word in choices[1].split(",")] if choices else [""]
            paths += [re.sub(r"<\w+:\w+>", "1", re.sub(r"<any\([^)]*\):\w+>", word, rule.rule)) for word in words]
    return sorted(set(paths))


MORE = ["/files?state=held&stream=*&due_before=30d", "/files?stream=nothing", "/files/31", "/files/36", "/callbacks/3"]


@pytest.fixture(scope="package")
def lasting_page(lasting_site: Site) -> Page:
    return lasting_site.open()


@pytest.mark.parametrize("path", [*list_pages(), *MORE])
def test_page(lasting_site: Site, lasting_page: Page, path: str) -> None:
    check(lasting_page, path)
    assert not lasting_site.take_faults()


def test_page_where_one_signs_in(site: Site) -> None:
    check(site.open(None), "/sign-in")


def check(page: Page, path: str) -> None:
    answer = page.request.get(path)
    if "text/html" not in answer.headers["content-type"]:
        return  # a file to keep, not a page
    page.set_viewport_size(WIDE)
    page.emulate_media(color_scheme="light")
    page.goto(path)
    faults = find_violations(page)
    if page.locator("h1").count() != 1:
        faults.append("not one heading of the first level")
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme="dark")
    page.reload()
    faults += [f"dark: {each}" for each in find_violations(page, "color-contrast", "scrollable-region-focusable")]
    if wider := overflow(page):
        faults.append(f"{wider} pixels wider than a phone")
    if (weight := weigh(page, answer.text())) > MAX_WEIGHT:
        faults.append(f"{weight} bytes")
    assert not faults, "\n".join(faults)
