"""Every page of the console in a browser: nothing fails, axe is content, a phone shows it whole, it is light."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask
from playwright.sync_api import expect

from service.holds.holds import place_hold
from service.web.console.build import add_console
from tests.console_browser.browser_scene import MAX_WEIGHT, find_faults, weigh
from tests.world import APP, TESTER

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.console_browser.browser_scene import House, Site


def list_pages() -> list[str]:
    """The path of every page that the console declares, with the number 1 where it takes one."""
    app = Flask(__name__, static_folder=None)
    app.url_map.converters["number"] = app.url_map.converters["int"]
    add_console(app)
    paths = []
    for rule in app.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and "<path:" not in rule.rule and "." not in rule.rule:  # (those are files)
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
    page.goto(path)
    faults = find_faults(page)
    if (weight := weigh(page, answer.text())) > MAX_WEIGHT:
        faults.append(f"{weight} bytes")
    assert not faults, "\n".join(faults)


def test_what_a_click_shows(house: House) -> None:
    site = house.start()
    site.world.keep("30d")
    site.world.send("wrong", stream="erase-me")
    page = site.open(path="/people")
    page.locator("form[action='/do/make_new_token'] [name=name]").fill("backup")
    page.get_by_role("button", name="Make a token").click()
    expect(page.locator("main pre")).to_contain_text("zrt_")
    assert not find_faults(page)
    page.goto("/erasures")
    page.get_by_text("Erase recordings", exact=True).click()
    assert not find_faults(page)
    page.get_by_label("streams").fill("erase-*")
    page.get_by_label("reason").fill("asked")
    page.get_by_role("button", name="Show what it would take").click()
    page.get_by_label("Type the number of files").fill("1")
    assert not find_faults(page)
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete these 1 files").click()
    expect(page.locator("main [role=status]")).to_contain_text("applied")
    assert not find_faults(page)
    page.goto("/apps")
    page.get_by_role("button", name="Ask ZEGO").first.click()
    expect(page.locator(".check").first).to_contain_text("accepts the credentials")
    assert not find_faults(page)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    url = page.locator("#callback-url").inner_text()
    page.wait_for_function("async (url) => await navigator.clipboard.readText() === url", arg=url)
    site.allow(page, 404)
    page.goto("/files/999")
    expect(page.locator("main")).to_contain_text("404")
    assert not find_faults(page)


ODD = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a" * 255, "a" + "\u0301" * 120, "شارع" * 30]


def test_what_strangers_call_their_streams_is_text_and_breaks_no_page(house: House) -> None:
    site = house.start()
    world = site.world
    world.keep("30d")
    for number, stream in enumerate(ODD, 1):
        world.send(f"odd-{number}", stream=stream)
    hold: dict[str, Any] = {"app_id": APP, "stream_pattern": ODD[2]}
    place_hold(world.database, TESTER, reason="w" * 300, now=world.clock(), known_apps=[APP], **hold)
    world.catch_up()
    page = site.open()
    for number, stream in enumerate(ODD, 1):
        page.goto(f"/files/{number}")
        assert stream in page.locator("h1").inner_text()
        assert not find_faults(page)
    for path in ("/files", "/callbacks/1", "/callbacks/3", "/holds", "/holds/1", "/audit", "/"):
        page.goto(path)
        assert not find_faults(page), path


@pytest.mark.parametrize("path", ["/files", "/rules/edit", "/people"])
def test_every_stop_of_the_tab_key_can_be_seen(site: Site, path: str) -> None:
    page = site.open(path=path)
    hidden = []
    for _ in range(200):
        page.keyboard.press("Tab")
        match page.evaluate(_LOOK_FOCUSED):
            case None:
                break
            case (html, True):
                hidden.append(html)
    else:
        pytest.fail("the focus does not leave the page")
    assert not hidden


_LOOK_FOCUSED = """() => {
    const focused = document.activeElement;
    if (focused === document.body) return null;
    const names = ["outlineStyle", "outlineWidth", "boxShadow", "backgroundColor", "borderColor", "position"];
    const look = () => names.map((name) => getComputedStyle(focused)[name]).join();
    const withFocus = look();
    focused.blur();
    const without = look();
    focused.focus({focusVisible: true});
    return [focused.outerHTML.slice(0, 200), withFocus === without];
}"""
