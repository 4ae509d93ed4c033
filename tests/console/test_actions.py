"""Changes made in the console: the orders of the API, with a person's name, and never without the form's token."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask

from service.model import FileState, Role, may
from service.web.api.routes import ROUTES
from tests.world import APP

if TYPE_CHECKING:
    from tests.console.console_scene import Console

ORDERS = [route for route in ROUTES if route.method == "POST"]
RULES = {"rule": "trial rooms", "stream": "trial-*", "keep": "1d"}
FIELDS = ("rule", "stream", "name", "app", "vendor", "event", "adopted", "keep", "keep_latest")
LIMITS = ("min_duration", "max_duration", "min_size", "max_size")


def form_of(*rows: dict[str, str]) -> dict[str, Any]:
    """The form of the rules' editor: every input once for each rule."""
    return {name: [row.get(name, "") for row in rows] for name in (*FIELDS, *LIMITS)}


def posts(app: Flask) -> list[str]:
    """The paths of the console that take forms, with names and numbers filled in."""
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("console.")]
    paths = {rule.rule for rule in rules if "POST" in (rule.methods or ())}
    filled = (re.sub(r"<number:\w+>", "1", path) for path in paths)
    return sorted(re.sub(r"<any[^>]*>", "remove", path).replace("<name>", "request_run") for path in filled)


def test_no_change_is_made_without_the_forms_token(console: Console) -> None:
    paths = [path for path in posts(console.api.app) if path not in ("/sign-in", "/language")]
    assert len(paths) > 8
    console.operator.get("/")
    for path in paths:
        for token in ("", "0" * 64, console.operator.csrf):
            assert console.admin.post(path, csrf=token).status_code == 403, path
    console.admin.get("/")


def test_who_has_too_low_a_role_changes_nothing(console: Console) -> None:
    for route in ORDERS:
        for role in Role:
            if route.role is not None and not may(role, route.role):
                path = f"/do/{route.name}" + ("/1" if "<number:" in route.path else "")
                assert console.browser(role).post(path).status_code == 403


def test_a_hold_placed_on_a_file_is_in_the_audit_with_the_persons_name(console: Console) -> None:
    world = console.api.world
    world.keep("1d")
    world.send("a", age=timedelta(hours=2))
    answer = console.operator.post("/do/place_new_hold", file="1", reason="a question", back="/files/1", status=303)
    assert answer.location.startswith("/files/1?order=")
    assert "applied" in console.operator.get(answer.location)
    assert world.state("a") is FileState.HELD
    entry = console.viewer.get("/audit")
    assert "hold.place" in entry
    assert "operator" in entry
    console.operator.post("/do/release_one_hold/1", back="/holds/1", status=303)
    assert world.state("a") is FileState.SCHEDULED


def test_a_sweep_that_nobody_began_with_in_time_is_shown_as_expired(console: Console) -> None:
    world = console.api.world
    console.api.leads = False
    console.operator.get("/runs")
    answer = console.operator.post("/do/request_run", back="/runs", status=303)
    world.clock.move(minutes=16)
    world.catch_up()
    page = console.operator.get(answer.location)
    assert "expired: nobody began with it within 15 minutes, so nothing was done; order it again" in page
    assert "alert-danger" in page


def test_several_files_are_held_and_released_at_once(console: Console) -> None:
    world, operator = console.api.world, console.operator
    world.keep("30d")
    world.add(4)
    page = operator.get("/files?state=scheduled&order=1")
    assert page.count('type="checkbox" name="files"') == 4
    assert 'name="back" value="/files?state=scheduled"' in page
    assert 'name="files"' not in console.viewer.get("/files")
    wanted: dict[str, Any] = {"files": ["1", "3"], "back": "/files?state=scheduled"}
    operator.get("/files")
    answer = operator.post("/do/hold_some_files", reason="a question", status=303, **wanted)
    assert "applied" in operator.get(answer.location)
    assert world.states()[FileState.HELD] == ["file-00000", "file-00002"]
    assert [hold["reason"] for hold in console.api.walk("/holds")] == ["a question"] * 2
    operator.post("/do/release_some_files", status=303, **wanted)
    assert world.states()[FileState.SCHEDULED] == [f"file-{number:05}" for number in range(4)]
    assert "no hold names one of these files" in operator.post("/do/release_some_files", status=409, **wanted).text


def test_of_several_files_all_or_none_are_changed(console: Console) -> None:
    world, operator = console.api.world, console.operator
    world.keep("30d")
    world.add(2)
    world.send("late", now=world.clock() - timedelta(hours=2))
    operator.get("/files")
    for name, files in (("confirm_files", ["1", "3"]), ("retry_files", ["1"]), ("hold_some_files", ["2", "9"])):
        assert operator.post(f"/do/{name}", files=files, reason="x").status_code in (404, 409)
        assert "no file is named" in operator.post(f"/do/{name}", reason="x", status=409).text
    assert console.api.walk("/holds") == []
    assert world.state("late") is FileState.UNCONFIRMED
    assert operator.post("/do/hold_some_files", files=[*map(str, range(1, 102))], reason="x").status_code == 422
    operator.post("/do/confirm_files", files=["3"], status=303)
    assert world.state("late") is FileState.SCHEDULED


def test_all_of_a_stream_is_held_from_one_file(console: Console) -> None:
    world, operator = console.api.world, console.operator
    world.keep("30d")
    world.add(3, stream_id="lesson-1")
    assert 'name="stream_pattern" value="lesson-1"' in operator.get("/files/2")
    operator.post("/do/place_new_hold", stream_pattern="lesson-1", app_id=APP, reason="x", back="/files/2", status=303)
    assert len(world.states()[FileState.HELD]) == 3


def test_an_order_that_cannot_be_is_refused_in_words(console: Console) -> None:
    console.api.world.keep("1d")
    refused = console.operator.post("/do/place_new_hold", file="7", reason="x", back="/holds", status=409)
    assert "there is no file 7" in refused.text
    assert "That was not done" in refused.text
    wrong = console.operator.post("/do/place_new_hold", stream_pattern="*", reason="")
    assert wrong.status_code == 422
    assert "reason" in wrong.text
    assert console.operator.post("/do/no_such_thing").status_code == 404


def test_a_sweep_asked_for_is_shown(console: Console) -> None:
    world = console.api.world
    world.keep("1d")
    world.add(3)
    answer = console.operator.post("/do/request_run", back="/runs", status=303)
    assert "recorded, not applied yet" in console.operator.get(answer.location)
    world.sweep()
    assert len(world.states()[FileState.DELETED]) == 3


def test_of_two_orders_in_an_address_the_last_is_shown(console: Console) -> None:
    console.api.world.keep("1d")
    first = console.operator.post("/do/request_run", back="/", status=303).location
    both = console.operator.post("/do/request_run", back=first, status=303).location
    one, two = re.findall("order=([0-9]+)", both)
    page = console.operator.get(both)
    assert f"Order {two}:" in page
    assert f"Order {one}:" not in page


def test_rules_are_changed_with_a_preview_and_the_number_that_was_shown(console: Console) -> None:
    world, admin = console.api.world, console.admin
    world.keep("30d")
    for number in range(3):
        world.send(f"t{number}", stream=f"trial-{number}", age=timedelta(days=2))
    world.send("l", stream="lesson-1", age=timedelta(days=2))
    rows = form_of(RULES, {"rule": "everything", "keep": "30d"})
    tried = admin.post("/rules/try", status=200, **rows).text
    assert "due sooner" in tried
    assert ">3<" in tried.replace("\n", "")
    made = admin.post("/rules/preview", status=303, **rows)
    page = admin.get(made.location)
    assert "3 of 4 files become due sooner" in page
    assert "Each waits until its old date, at most for the cooling-off of 1d" in page
    assert "trial-2" in page
    assert admin.post(f"{made.location}/apply", count="2").status_code == 409
    assert "Revision 1" in admin.get("/rules")
    applied = admin.post(f"{made.location}/apply", count="3", status=303)
    assert "Revision 2" in admin.get(applied.location)
    page = admin.get("/rules")
    assert "3 files became due sooner. Each waits until its old date, at most until 2026-03-02 " in page
    assert "Take back" in page
    taken = admin.post("/do/apply_new_rules", revision="1", back="/rules", status=303)
    assert "Revision 3" in admin.get(taken.location)


def test_rules_that_are_wrong_are_refused_while_one_types(console: Console) -> None:
    tried = console.admin.post("/rules/try", status=200, **form_of({"rule": "x", "keep": "soon"})).text
    assert "is not a duration" in tried
    assert console.admin.post("/rules/preview", **form_of({"rule": "x", "keep": "soon"})).status_code == 422


@pytest.mark.parametrize(
    ("move", "names"),
    [
        ("up 1", "bac"),
        ("down 0", "bac"),
        ("up 0", "abc"),
        ("down 2", "abc"),
        ("remove 1", "ac"),
        ("add", "abc"),
        ("up 9", "abc"),
    ],
)
def test_rules_are_moved_with_buttons(console: Console, move: str, names: str) -> None:
    rows = form_of(*({"rule": name, "keep": "1d", "stream": name} for name in "abc"))
    page = console.admin.post("/rules/edit", status=200, move=move, **rows).text
    shown = re.findall(r'name="rule" value="(\w)"', page)
    assert "".join(shown) == names
    assert page.count('name="rule"') == (4 if move == "add" else len(names))


def test_the_editor_shows_the_rules_in_force_and_gives_the_same_back(console: Console) -> None:
    world = console.api.world
    world.apply(
        '[[rules]]\nname = "a"\nkeep = "7d"\n'
        'match = { stream = ["x-*", "y-*"], vendor = "Ws", adopted = false, min_size = "10MB" }\n'
        '[[rules]]\nname = "b"\nkeep = "30d"\nkeep_latest = 2\n'
    )
    page = console.admin.get("/rules/edit")
    for text in ("x-*, y-*", 'value="Ws"', 'value="10MB"', 'value="7d"', 'value="2"'):
        assert text in page
    rows = form_of(
        {"rule": "a", "stream": "x-*, y-*", "vendor": "Ws", "adopted": "false", "min_size": "10MB", "keep": "7d"},
        {"rule": "b", "keep": "30d", "keep_latest": "2"},
    )
    made = console.admin.post("/rules/preview", status=303, **rows)
    console.admin.post(f"{made.location}/apply", status=303)
    assert "Revision 2" not in console.admin.get("/rules"), "they are in force already"


def test_an_erasure_is_shown_and_then_takes_the_number_that_was_typed(console: Console) -> None:
    world, admin = console.api.world, console.admin
    world.keep("30d")
    for number in range(2):
        world.send(f"e{number}", stream="erase-me")
    wanted: dict[str, Any] = {"stream_pattern": "erase-*", "app_id": APP, "reason": "asked", "back": "/erasures"}
    shown = admin.post("/do/preview_new_erasure", status=200, **wanted).text
    assert "Delete these 2 files" in shown
    assert admin.post("/do/order_erasure", expect="1", **wanted).status_code == 409
    admin.post("/do/order_erasure", expect="2", status=303, **wanted)
    world.sweep()
    assert world.states()[FileState.DELETED] == ["e0", "e1"]


def test_an_erasure_says_how_to_stop_it_and_is_stopped_with_its_button(console: Console) -> None:
    world = console.api.world
    world.keep("365d")
    world.send("a", stream="erase-1")
    wanted: dict[str, Any] = {"stream_pattern": "erase-*", "app_id": APP, "reason": "asked", "back": "/erasures"}
    assert "a hold on the file or its stream stops it" in console.admin.post("/do/preview_new_erasure", **wanted).text
    console.admin.post("/do/order_erasure", expect="1", status=303, **wanted)
    world.catch_up()
    page = console.operator.get("/erasures/1")
    assert "Until then a hold on the file or its stream stops it" in page
    fields = dict(re.findall('type="hidden" name="(app_id|stream_pattern|reason)" value="([^"]*)"', page))
    assert fields == {"app_id": APP, "stream_pattern": "erase-*", "reason": "stops erasure 1"}
    console.operator.post("/do/place_new_hold", back="/erasures/1", status=303, **fields)
    world.sweep()
    assert world.state("a") is FileState.HELD
    console.operator.post("/do/release_one_hold/1", back="/", status=303)
    world.sweep()
    assert world.state("a") is FileState.DELETED
    assert "stops it" not in console.operator.get("/erasures/1")


def test_the_files_that_a_revision_moved_are_listed_from_it(console: Console) -> None:
    world = console.api.world
    world.keep("365d")
    world.send("old", stream="trial-1", age=timedelta(days=40))
    world.send("other", stream="lesson-1", age=timedelta(days=40))
    admin = console.admin
    preview = admin.post("/rules/preview", status=303, **form_of(RULES | {"keep": "50d"})).location
    admin.post(f"{preview}/apply", count="1", status=303)
    world.catch_up()
    assert 'href="/files?moved_by=2"' in admin.get("/revisions/2")
    assert 'href="/files?moved_by=2"' in admin.get("/rules")
    assert 'href="/files?moved_by' not in admin.get("/revisions/1")
    listed = admin.get("/files?moved_by=2")
    assert "trial-1" in listed
    assert "lesson-1" not in listed
    assert "Nothing fits this filter." in admin.get("/files?moved_by=1")


def test_a_token_is_shown_once_and_revoked(console: Console) -> None:
    shown = console.admin.post("/do/make_new_token", name="backup", role="viewer", status=200).text
    assert "zrt_" in shown
    page = console.admin.get("/people")
    assert "backup" in page
    assert "zrt_" not in page
    console.admin.post("/do/revoke_one_token/1", back="/tokens/1", status=303)


def test_people_are_added_and_removed(console: Console) -> None:
    console.admin.post("/people", name="new", password="a long enough one", role="operator", status=303)
    assert console.open().sign_in("new", "a long enough one").status_code == 303
    assert console.operator.post("/people", name="x", password="a long enough one", role="admin").status_code == 403
    assert console.admin.post("/people", name="y", password="a long enough one", role="god").status_code == 409
    console.admin.post("/people/2/remove", status=303)
    assert console.open().sign_in("new", "a long enough one").status_code == 401


def test_an_app_is_tried_at_zego(console: Console) -> None:
    answer = console.operator.post(f"/apps/{APP}/test", status=200).text
    assert "ZEGO accepts the credentials" in answer
    assert "<html" in answer, "without a script the whole page is shown"
    headers = {"HX-Request": "true", "X-CSRFToken": console.operator.csrf}
    part = console.operator.client.post(f"/apps/{APP}/test", headers=headers).text
    assert "ZEGO accepts the credentials" in part
    assert "<html" not in part
    assert console.operator.post("/apps/77/test").status_code == 404
    assert console.viewer.post(f"/apps/{APP}/test").status_code == 403
