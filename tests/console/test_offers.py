"""Buttons stand only where they can work; where they cannot, the page says why."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest

from service.model import FileState, Role
from service.settings import load_settings
from service.web.app import create_app
from service.worker import Worker
from tests.console.console_scene import Console
from tests.faults import answer_html
from tests.web.api_scene import open_api
from tests.world import APP, OTHER_APP

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
APPLY = "/apply"


@pytest.fixture
def narrow_console(database_url: str) -> Iterator[Console]:
    """One whose breaker stops an app at the sixth file."""
    with open_api(database_url, BREAKER_FILES="5") as api:
        yield Console(api)


def rules(keep: str) -> str:
    return f'[[rules]]\nname = "everything"\nkeep = "{keep}"\n'


def preview(console: Console, keep: str) -> str:
    """A preview of rules; its path."""
    console.admin.get("/")
    return console.admin.post("/do/preview_rules", rules=rules(keep), status=303).location


def words(page: str) -> str:
    return " ".join(re.sub("<[^>]*>", " ", page).split())


def test_a_preview_is_applied_only_while_it_fits(console: Console) -> None:
    world = console.api.world
    world.keep("30d")
    world.add(2, age=timedelta(days=10))
    sooner, same, later = (preview(console, keep) for keep in ("20d", "30d", "90d"))
    assert APPLY in console.admin.get(sooner)
    assert APPLY in console.admin.get(later)
    page = console.admin.get(same)
    assert APPLY not in page
    assert "these rules are in force already, as revision 1" in page
    assert "Compare these rules again" not in page
    console.admin.get(later)
    console.admin.post(f"{later}/apply", status=303)
    page = console.admin.get(later)
    assert APPLY not in page
    assert "was applied as revision 2" in page
    assert "Compare these rules again" not in page, "they are in force"
    page = console.admin.get(sooner)
    assert APPLY not in page
    assert "was compared with revision 1, and revision 2 is in force" in page
    text = re.search('name="rules" value="([^"]*)"', page)
    assert text
    again = console.admin.post("/do/preview_rules", rules=rules("20d"), status=303).location
    page = console.admin.get(again)
    assert APPLY in page
    assert "from the console, compared with revision 2 over 2 files" in page
    world.clock.move(days=31)
    console.browsers.clear()
    page = console.admin.get(again)
    assert APPLY not in page
    assert "which is too old" in page


def test_rules_are_put_in_force_again_through_a_preview_and_not_while_they_are(console: Console) -> None:
    world = console.api.world
    world.keep("30d")
    world.keep("10d")
    world.keep("30d")
    world.add(3, age=timedelta(days=5))
    for number in (1, 3):
        page = console.admin.get(f"/revisions/{number}")
        assert "Put in force again" not in page
        assert "These rules are in force." in page
    assert "Put in force again" in console.admin.get("/revisions/2")
    made = console.admin.post("/do/preview_rules", revision="2", status=303).location
    assert "3 of 3 files become due sooner" in console.admin.get(made)
    console.admin.post(f"{made}/apply", count="3", status=303)
    assert "These rules are in force." in console.admin.get("/revisions/2")


def test_the_list_offers_what_its_files_are_open_to(console: Console) -> None:
    world, operator = console.api.world, console.operator
    world.keep("1d")
    world.add(2)
    world.sweep()
    page = operator.get("/files")
    assert "/do/" not in page, "all are deleted"
    assert 'name="files"' not in page
    world.add(1, prefix="kept", age=timedelta(hours=1))
    world.send("late", now=world.clock() - timedelta(hours=2))
    page = operator.get("/files")
    assert page.count('name="files"') == 2
    assert "/do/hold_some_files" in page
    assert "/do/confirm_files" in page
    for name in ("retry_files", "release_some_files"):
        assert f"/do/{name}" not in page
    operator.post("/do/hold_some_files", files=["3"], reason="x", status=303)
    assert "/do/release_some_files" in operator.get("/files?state=held")
    assert "/do/confirm_files" not in operator.get("/files?state=held")


def test_a_file_in_a_call_is_not_retried(console: Console) -> None:
    world = console.api.world
    world.keep("1d")
    world.add(1)
    world.sandbox.always(answer_html(500))
    world.sweep()
    assert "/do/retry_file" in console.operator.get("/files/1")
    world.service.leader.transact(lambda tx: tx.exec_driver_sql("UPDATE media_files SET state = 'deleting'"))
    page = console.operator.get("/files/1")
    assert "/do/retry_file" not in page
    assert "the outcome of the call under way" in page


def test_a_failed_file_waits_for_nothing(console: Console) -> None:
    world = console.api.world
    world.keep("1d")
    past = world.clock() - timedelta(hours=1)
    waits: dict[str, Any] = {"state": "failed", "wait_until": past, "wait_reason": "cooling_off"}
    world.add(1, **waits)
    page = words(console.viewer.get("/files?state=failed"))
    assert "failed" in page
    assert "waits: cooling off" not in page


def test_a_callback_is_judged_again_only_if_that_can_change_something(console: Console) -> None:
    world, operator = console.api.world, console.operator
    world.keep("30d")
    world.send("f1")
    world.announce("forged", secret="another", stored=False)
    page = operator.get("/callbacks/1")
    assert "Judge again" not in page
    assert "there is nothing to judge again" in page
    assert "/do/replay_callback/2" in operator.get("/callbacks/2")
    world.database.transact(lambda tx: tx.exec_driver_sql("UPDATE callbacks SET raw = NULL WHERE id = 2"))
    page = operator.get("/callbacks/2")
    assert "/do/replay_callback" not in page
    assert "it cannot be judged again" in page


def test_a_hold_that_has_ended_is_not_released(console: Console) -> None:
    world, operator = console.api.world, console.operator
    world.keep("30d")
    operator.get("/holds")
    hold: dict[str, Any] = {"app_id": APP, "stream_pattern": "x-*", "reason": "x"}
    operator.post("/do/place_new_hold", until="2026-03-02", status=303, **hold)
    operator.post("/do/place_new_hold", status=303, **hold)
    for number in (1, 2):
        assert "/do/release_one_hold" in operator.get(f"/holds/{number}")
    operator.post("/do/release_one_hold/2", status=303)
    world.clock.move(hours=12)
    console.browsers.clear()
    for number in (1, 2):
        page = console.operator.get(f"/holds/{number}")
        assert "/do/release_one_hold" not in page
        assert "It has ended" in page


def test_a_stream_is_held_by_its_name_only_if_that_names_it_alone(console: Console) -> None:
    world, operator = console.api.world, console.operator
    world.keep("30d")
    odd = ("*", "?", "lesson-*", "two\nlines", "a\tb", "a\u202eb", " ", "x" * 256)
    fine = ("lesson-1", ' a, "b" ', "x" * 255)
    for number, stream in enumerate(odd + fine, start=1):
        world.send(f"f{number}", stream=stream)
    for number, stream in enumerate(odd + fine, start=1):
        page = operator.get(f"/files/{number}")
        offered = re.findall('name="stream_pattern" value="([^"]*)"', page)
        assert [unescape(each) for each in offered] == ([stream] if stream in fine else []), ascii(stream)
        assert ("hold its files one by one" in page) == (stream in odd)
        if stream in fine:
            hold = {"app_id": APP, "stream_pattern": stream, "reason": "x", "back": f"/files/{number}"}
            operator.post("/do/place_new_hold", status=303, **hold)
    world.catch_up()
    assert len(world.states()[FileState.HELD]) == len(fine), "and no file of another stream"


def test_one_button_approves_all_plans_of_a_sweep_and_counts_them_all(narrow_console: Console) -> None:
    console, world = narrow_console, narrow_console.api.world
    world.keep("1d")
    world.add(6)
    world.add(8, prefix="other", app_id=OTHER_APP)
    number = world.sweep()
    page = console.admin.get(f"/runs/{number}")
    assert page.count(f"/do/approve_run/{number}") == 1
    assert "Approve: delete these 14 files" in page
    assert "/do/approve_run" not in console.operator.get(f"/runs/{number}")
    world.keep("2h")
    page = console.admin.get(f"/runs/{number}")
    assert "/do/approve_run" not in page
    assert "was made under rules revision 1, and 2 is in force now" in page
    world.keep("1d")
    number = world.sweep()
    console.admin.post(f"/do/approve_run/{number}", status=303)
    world.catch_up()
    Worker(world.service).sweep()
    assert len(world.states()[FileState.DELETED]) == 14
    assert "/do/approve_run" not in console.admin.get(f"/runs/{number}")


def test_without_an_app_nothing_is_offered_that_needs_one(console: Console) -> None:
    world = console.api.world
    settings = load_settings({"ZEGO_RETENTION_DATABASE_URL": str(world.service.settings.database_url)})
    console.api.app = create_app(settings, now=world.clock)
    try:
        for path in ("/", "/runs", "/listings", "/holds", "/erasures"):
            page = console.admin.get(path)
            assert "/do/" not in page, path
        page = console.admin.get("/apps")
    finally:
        console.api.app.extensions["zego-retention"].close()
    assert "data-copy" not in page
    assert "Set ZEGO_RETENTION_PUBLIC_URL" in page


def test_the_first_and_the_last_rule_do_not_move_on(console: Console) -> None:
    console.api.world.apply('[[rules]]\nname = "a"\nmatch = { stream = "a-*" }\nkeep = "7d"\n' + rules("30d"))
    page = console.admin.get("/rules/edit")
    disabled = re.findall(r'name="move" value="(\w+ \d)"[^>]* disabled', page)
    assert disabled == ["up 0", "down 1"]


def test_who_may_not_change_rules_is_led_to_the_rules_alone(console: Console) -> None:
    for role, path in ((Role.VIEWER, "/rules"), (Role.ADMIN, "/rules/edit")):
        page = console.browser(role).get("/")
        assert f'<a href="{path}">Apply</a>' in page
        assert ("Write the first rule" in page) == (role is Role.ADMIN)
