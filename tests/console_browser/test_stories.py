"""What people come to the console for, from the first click to the last."""

from __future__ import annotations

import re
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from service.model import FileState, Role
from service.web.console.words import LANGUAGES, _load
from tests.console_browser.browser_scene import PHONE, find_faults
from tests.processes import wait_until
from tests.world import APP

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.console_browser.browser_scene import House, Site
    from tests.world import World

DAYS_2 = timedelta(days=2)
RULES = """
[[rules]]
name = "trial rooms"
match = { stream = "trial-*" }
keep = "30d"

[[rules]]
name = "everything"
keep = "90d"
"""


def announce(world: World, file_id: str, stream: str, age: timedelta = DAYS_2) -> None:
    world.announce(file_id, stream=stream, age=age)
    wait_until(lambda: file_id in world.files())


def figure(page: Page, label: str) -> str:
    """The figure of a preview that stands under a label."""
    return page.locator("#try .card-sm", has_text=label).locator(".figure").inner_text()


def reads(page: Page, text: str | re.Pattern[str]) -> None:
    expect(page.locator("main")).to_contain_text(text)


def test_first_run_from_nothing(house: House) -> None:
    site = house.start(has_app=False)
    page = site.open(path="/")
    steps = page.locator("#first-run li")
    expect(steps).to_have_count(4)
    expect(steps.nth(0)).to_contain_text("ZEGO_RETENTION_APP_ID=")
    assert not find_faults(page)
    # What was set takes a start; the page that is open follows by itself.
    house.start(PUBLIC_URL="https://retention.example.com")
    expect(steps.nth(1)).to_contain_text("✓")
    expect(steps.nth(0)).to_contain_text("✓")
    expect(steps.nth(2)).to_contain_text("This page shows when its callback arrives")
    announce(site.world, "first", "trial-1")
    expect(steps.nth(2)).to_contain_text("✓")
    page.get_by_role("link", name="Write the first rule").click()
    page.get_by_label("name of the rule").fill("everything")
    page.get_by_label("keep", exact=True).fill("30d")
    expect(page.locator("#try")).to_contain_text("everything")
    page.get_by_role("button", name="Preview").click()
    page.get_by_label("Type the number").fill("1")
    page.get_by_role("button", name="Apply").click()
    reads(page, "Revision 1")
    page.goto("/")
    reads(page, "Files by state")
    expect(page.locator("#first-run")).to_have_count(0)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_rule_is_shortened_and_taken_back(house: House, language: str) -> None:
    site = house.start()
    world = site.world
    world.apply(RULES)
    for number in range(3):
        announce(world, f"t{number}", f"trial-{number}")
    announce(world, "lesson", "lesson-1")
    page = site.open(path="/")
    if language != "en":
        page.get_by_role("button", name=LANGUAGES[language]).click()
        expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")

    def say(text: str) -> str:
        return _load(language)[0][text] if language != "en" else text

    page.get_by_role("navigation").get_by_role("link", name=say("Rules"), exact=True).click()
    page.get_by_role("link", name=say("Change the rules")).click()
    expect(page.locator("#try .figure")).to_have_count(6)  # before anything is typed
    assert figure(page, say("due sooner")) == "0"
    page.locator("#keep-0").fill("soon")
    expect(page.locator("#try .alert-warning")).to_be_visible()
    assert not find_faults(page)
    page.locator("#keep-0").fill("1d")
    expect(page.locator("#try .card-sm", has_text=say("due sooner")).locator(".figure")).to_have_text("3")
    assert world.state("t0") is FileState.SCHEDULED
    page.locator("button[name=preview]").click()
    expect(page).to_have_url(re.compile(r"/previews/1$"))
    for number in range(3):
        reads(page, f"trial-{number}")
    site.allow(page, 409)
    page.locator("#count").fill("2")
    page.get_by_role("button", name=say("Apply"), exact=True).click()
    reads(page, say("That was not done"))
    page.get_by_role("link", name=say("Back"), exact=True).click()
    page.locator("#count").fill("3")
    page.get_by_role("button", name=say("Apply"), exact=True).click()
    reads(page, say("Revision %(number)s") % {"number": 2})
    assert not find_faults(page)
    world.sweep()
    assert world.stored() == {"t0", "t1", "t2", "lesson"}, "they wait for the cooling-off"
    page.get_by_role("button", name=say("Take back")).click()
    reads(page, say("Revision %(number)s") % {"number": 3})
    page.get_by_role("link", name=say("History")).click()
    expect(page.locator("tbody tr")).to_have_count(3)
    assert not find_faults(page)
    world.clock.move(days=3)
    world.sweep()
    assert world.stored() == {"t0", "t1", "t2", "lesson"}


def test_a_hold_is_placed_while_a_sweep_is_running(house: House) -> None:
    site = house.start()
    world = site.world
    world.keep("1d")
    world.add(900)
    world.add(20, prefix="wanted", stream_id="lesson-1", age=timedelta(hours=30))
    answer = threading.Event()
    world.sandbox.on_request = lambda _call: answer.wait(30)
    page = site.open(Role.OPERATOR)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Sweep now").click()
    reads(page, "Order")
    assert not find_faults(page)
    wait_until(lambda: len(world.sandbox.calls) == 8)  # as many as may be in flight
    page.goto("/runs/1")
    reads(page, "running")
    assert not find_faults(page)
    other = site.open(Role.OPERATOR, "/holds")
    other.get_by_text("Place a hold", exact=True).click()
    other.get_by_label("streams").fill("lesson-*")
    other.get_by_label("reason").fill("a teacher asked")
    other.get_by_role("button", name="Place it").click()
    expect(other.locator("main [role=status]")).to_contain_text("applied")
    expect(other.locator("tbody tr")).to_have_count(1)
    answer.set()
    reads(page, re.compile(r"state\s*done"))  # the page follows the sweep
    assert len(world.states()[FileState.DELETED]) == 900
    other.goto("/files?state=held")
    expect(other.locator("tbody tr")).to_have_count(20)
    other.locator("tbody a").first.click()
    reads(other, "a teacher asked")


def test_a_stopped_sweep_is_approved_after_its_plan_was_read(house: House) -> None:
    site = house.start(BREAKER_FILES="5")
    world = site.world
    world.keep("1d")
    world.add(8, stream_id="lesson-grade7-mathematics-quadratic-functions")
    world.sweep()
    assert world.states() == {FileState.SCHEDULED: [f"file-{number:05}" for number in range(8)]}
    page = site.open(path="/", viewport=PHONE, is_mobile=True, has_touch=True)
    reads(page, "stopped")
    page.get_by_role("navigation").get_by_role("link", name="Sweeps").click()
    page.locator("tbody a").first.click()
    reads(page, f"Plan for app {APP}")
    assert not find_faults(page)
    assert not find_faults(site.open(Role.ADMIN, "/runs/1"))  # with the table of what would be deleted
    approve = page.get_by_role("button", name="Approve: delete these 8 files")
    page.once("dialog", lambda dialog: dialog.dismiss())
    approve.click()
    expect(page).to_have_url(re.compile(r"/runs/1$"))  # nothing was sent
    page.once("dialog", lambda dialog: dialog.accept())
    approve.click()
    reads(page, "Order")
    wait_until(lambda: not world.stored())
    page.goto("/runs")
    expect(page.locator("tbody tr")).to_have_count(2)
    viewer = site.open(Role.VIEWER, "/runs/1")
    expect(viewer.get_by_role("button", name="Approve")).to_have_count(0)


def test_one_recording_is_found_by_its_stream_and_says_why_it_went(site: Site) -> None:
    page = site.open(Role.VIEWER, "/files")
    page.get_by_label("stream", exact=True).fill("ro*")
    page.get_by_label("state", exact=True).select_option("deleted")
    expect(page).to_have_url(re.compile(r"/files\?state=deleted&stream=ro%2A$"))  # and nothing that is empty
    expect(page.locator("#rows tbody tr")).to_have_count(30)
    page.locator("#rows tbody a").first.click()
    reads(page, "everything")
    life = page.locator(".life")
    expect(life).to_contain_text("asked for deletion")
    expect(life).to_contain_text("deleted")
    page.get_by_role("link", name="sweep 1").click()
    reads(page, "Sweep 1")


def test_a_quarantined_callback_is_judged_again_after_a_secret_was_mended(house: House) -> None:
    site = house.start(CALLBACK_SECRET="mistyped")
    site.world.announce("lost", stream="lesson-1")
    page = site.open(Role.OPERATOR, "/callbacks")
    page.get_by_label("verdict").select_option("forged")
    expect(page).to_have_url(re.compile("verdict=forged"))
    page.locator("#rows tbody a").first.click()
    expect(page.locator("pre")).to_contain_text("lesson-1")
    page.get_by_role("button", name="Judge again").click()
    reads(page, "applied")
    assert not find_faults(page)
    assert not site.world.files()
    world = house.start().world
    page.get_by_role("button", name="Judge again").click()
    reads(page, "applied")
    wait_until(lambda: "lost" in world.files())
    page.reload()
    reads(page, "accepted")
    page.goto("/files?stream=lesson-1")
    expect(page.locator("#rows tbody tr")).to_have_count(1)


def test_without_javascript_one_reads_and_changes_everything(house: House) -> None:
    site = house.start()
    world = site.world
    world.apply(RULES)
    announce(world, "t1", "trial-1")
    announce(world, "l1", "lesson-1")
    page = site.open(Role.ADMIN, "/files", java_script_enabled=False)
    page.get_by_label("stream", exact=True).fill("trial-*")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("#rows tbody tr")).to_have_count(1)
    page.locator("#rows tbody a").first.click()
    page.get_by_label("Reason, for the record").fill("a question")
    page.get_by_role("button", name="Place a hold").click()
    reads(page, "Hold 1")
    page.goto("/rules/edit")
    names = page.get_by_label("name of the rule")
    page.get_by_role("button", name="Add a rule").click()
    expect(names).to_have_count(3)
    names.nth(2).fill("the last")
    page.get_by_label("keep", exact=True).nth(2).fill("7d")
    page.get_by_role("button", name="Move up").nth(2).click()
    assert [names.nth(place).input_value() for place in range(3)] == ["trial rooms", "the last", "everything"]
    page.get_by_role("button", name="Remove").nth(2).click()
    expect(names).to_have_count(2)
    page.get_by_text("more conditions").first.click()
    expect(page.get_by_label("min size").first).to_be_visible()
    names.nth(1).press("Enter")  # the form's own button is the preview, not the first one that moves a rule
    expect(page).to_have_url(re.compile("/previews/1$"))
    page.get_by_label("Type the number").fill("1")
    page.get_by_role("button", name="Apply").click()
    reads(page, "Revision 2")


def test_rules_are_reordered_by_keyboard_alone(house: House) -> None:
    site = house.start()
    site.world.apply(RULES.replace("trial", "test").split("\n\n")[0] + RULES)
    page = site.open(path="/rules/edit")
    names = page.get_by_label("name of the rule")

    def order() -> list[str]:
        return [names.nth(place).input_value() for place in range(names.count())]

    assert order() == ["test rooms", "trial rooms", "everything"]
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(5):  # name, streams, keep, keep latest, down: the first one does not move up
        page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Move down").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(names.first).to_have_value("trial rooms")
    expect(page.get_by_role("button", name="Move down").nth(1)).to_be_focused()  # it goes with the rule
    page.keyboard.press("Enter")
    expect(names.nth(2)).to_have_value("test rooms")
    assert order() == ["trial rooms", "everything", "test rooms"]
    expect(page.get_by_role("button", name="Move up").nth(2)).to_be_focused()  # it is the last: there is no down


def test_a_menu_opens_and_closes_by_keyboard(site: Site) -> None:
    page = site.open(path="/holds")
    menu = page.get_by_text("Place a hold", exact=True)
    menu.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("reason")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_label("streams")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_label("reason")).to_be_hidden()
    expect(menu).to_be_focused()
    menu.click()
    page.get_by_role("heading", name="Holds").click()
    expect(page.get_by_label("reason")).to_be_hidden()


def test_the_look_is_the_systems_or_chosen_and_kept(site: Site) -> None:
    page = site.open(Role.VIEWER, color_scheme="dark")
    look = page.locator("html")
    expect(look).to_have_attribute("data-bs-theme", "dark")
    page.get_by_role("button", name="Dark or light").click()
    page.goto("/files")
    expect(look).to_have_attribute("data-bs-theme", "light")
