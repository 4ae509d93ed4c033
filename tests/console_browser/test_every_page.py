"""Every page of the console in a browser: nothing fails, axe is content, a phone shows it whole, it is light."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from service.holds.holds import place_hold
from tests.console.customer import open_customer
from tests.console_browser.browser_scene import (
    FIND_CUT_OFF,
    MAX_WEIGHT,
    PHONE,
    WIDE,
    Site,
    find_faults,
    list_pages,
    listen,
    serve,
    weigh,
)
from tests.console_browser.screenshots import FOR_README, fill_large, take_for_readme
from tests.world import APP, TESTER

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page, ViewportSize

    from tests.console_browser.browser_scene import House


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
    site = house.start(PUBLIC_URL="https://retention.example.com")
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


@pytest.mark.parametrize("path", ["/files", "/rules"])
def test_long_names_and_large_figures_fit(house: House, path: str) -> None:
    site = house.start()
    fill_large(site.world)
    assert not find_faults(site.open(path=path))


@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_the_report_is_labelled_paragraphs_on_a_phone_and_a_table_on_paper(site: Site, size: ViewportSize) -> None:
    page = site.open(path="/report", viewport=size)
    rows, heads = page.locator(".report tbody tr"), page.locator(".report thead")
    shown = "flex" if size is PHONE else "table-row"
    expect(rows.last).to_have_css("display", shown)
    label = rows.last.locator("td").nth(2).evaluate("(each) => getComputedStyle(each, '::before').content")
    assert label == ('"app "' if size is PHONE else "none")
    page.emulate_media(media="print")
    expect(rows.last).to_have_css("display", "table-row")
    expect(heads.last).to_have_css("display", "table-header-group")
    page.set_viewport_size({"width": 1_032, "height": 700})  # A4, landscape, within the margins
    assert not page.evaluate(FIND_CUT_OFF)
    assert not page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.mark.long
def test_the_pictures_of_the_readme_are_light_as_they_are_made(
    chromium: Browser, sqlite_url: str, tmp_path: Path
) -> None:
    with open_customer(sqlite_url) as console, listen() as listener, serve(console.api.app, listener) as origin:
        site = Site(chromium, console.api.world, origin)
        take_for_readme(site, tmp_path / "pictures")
        assert not site.close_pages()
    sizes = {each.stem: each.stat().st_size for each in (tmp_path / "pictures").iterdir()}
    assert sizes.keys() == FOR_README.keys()
    assert max(sizes.values()) <= 150_000


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
