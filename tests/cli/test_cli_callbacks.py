from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import TYPE_CHECKING

from service.usecases.ingest import receive_callback
from service.usecases.pruning import Keeping, prune
from service.zego.sandbox_callbacks import cloud_recording_fields, encode_body, sign_fields, transcoding_fields
from tests.world import APP, CALLBACK_SECRET

if TYPE_CHECKING:
    from tests.cli.conftest import Run
    from tests.world import World


def test_list_shows_the_newest_first_with_verdict_and_reason(run: Run, world: World) -> None:
    world.send("good")
    world.send("forged", secret="wrong")
    world.send("stale", now=world.clock() - timedelta(hours=1))
    listed = run("callbacks", "list", "--json").objects
    assert [callback["verdict"] for callback in listed] == ["stale", "forged", "accepted"]
    assert [callback["id"] for callback in listed] == [3, 2, 1]
    assert listed[2]["file"] == 1
    assert [c["id"] for c in run("callbacks", "list", "--json", "--verdict", "forged").objects] == [2]
    assert run("callbacks", "list", "--json", "--app", "1").objects == []
    table = run("callbacks", "list", "--limit", 2)
    assert "fits none of this app's callback secrets" in table.out
    assert table.err == "1 more: see them with --limit or --json\n"


def take_in(world: World, fields: dict[str, object]) -> None:
    receive_callback(world.service.ingest, *encode_body(sign_fields(fields, secret=CALLBACK_SECRET, now=world.clock())))


def test_one_of_another_product_is_listed_with_the_console_field_to_correct(run: Run, world: World) -> None:
    take_in(world, cloud_recording_fields(APP))
    [told] = run("callbacks", "list", "--verdict", "misdirected", "--json").objects
    assert (told["verdict"], told["file"]) == ("misdirected", None)
    assert "take this URL out of Cloud Recording's callback" in told["reason"]
    assert "Project → Server callback → Recording file" in told["reason"]
    assert "Cloud Recording" in run("callbacks", "list").out


def test_what_was_set_aside_is_replayed_like_any_other(run: Run, world: World) -> None:
    take_in(world, transcoding_fields(APP, "f1"))
    told = run("callbacks", "replay", "--verdict", "set_aside", "--json").object
    assert (told["old"], told["new"]) == ("set_aside", "set_aside")
    world.send("f1")
    told = run("callbacks", "replay", "--verdict", "set_aside", "--json").object
    assert (told["old"], told["new"], told["reason"]) == ("set_aside", "accepted", "noted renditions of media file 1")
    assert [each["height"] for each in run("files", "show", 1, "--json").object["renditions"]] == [360, 720]


def test_show_gives_the_body_back_as_it_came_without_steering_the_terminal(run: Run, world: World) -> None:
    world.send("odd", stream="a\x9b31m\u202eb", shape="percent")
    shown = run("callbacks", "show", 1)
    assert shown.code == 0
    assert "accepted" in shown.out
    assert '"FileID": "odd"' in shown.out
    assert "%7B%22" in shown.out
    assert all(character.isprintable() or character == "\n" for character in shown.out)
    told = run("callbacks", "show", 1, "--json").object
    assert base64.b64decode(told["raw_base64"]).startswith(b"%7B%22")
    assert told["fields"]["extra_params"]["FileID"] == "odd"


def test_show_gives_back_bytes_that_are_no_text(run: Run, world: World) -> None:
    raw = b'{"appid": "%s", "signature": "aa", "timestamp": "1", "nonce": "1", "x": "\xff"}' % APP.encode()
    receive_callback(world.service.ingest, raw, "application/json")
    shown = run("callbacks", "show", 1)
    assert shown.code == 0
    assert "\\xff" in shown.out


def test_a_quarantined_callback_is_taken_in_once_its_secret_is_known(run: Run, world: World) -> None:
    world.keep("30d")
    world.send("first", secret="rotated")
    world.send("second", secret="rotated")
    assert world.files() == {}
    both = f"{CALLBACK_SECRET},rotated"
    one = run("callbacks", "replay", 1, "--json", CALLBACK_SECRET=both).object
    assert (one["old"], one["new"]) == ("forged", "accepted")
    world.clock.move(hours=5)
    rest = run("callbacks", "replay", "--verdict", "forged", CALLBACK_SECRET=both)
    assert rest.code == 0
    assert rest.out.split() == [
        "old",
        "new",
        "callbacks",
        "forged",
        "accepted",
        "1",
        "1",
        "callback",
        "judged",
        "again.",
    ]
    # Freshness is judged by when they arrived.
    assert world.states() == {"scheduled": ["first", "second"]}


def test_replaying_everything_doubles_nothing(run: Run, world: World) -> None:
    world.keep("30d")
    world.send("a")
    world.send("b", now=world.clock() - timedelta(hours=1))
    world.send("c", secret="wrong")
    before = world.files()
    replayed = run("callbacks", "replay", "--all", "--json").objects
    assert [(each["old"], each["new"]) for each in replayed] == [
        ("accepted", "accepted"),
        ("stale", "stale"),
        ("forged", "forged"),
    ]
    assert world.files() == before
    table = run("callbacks", "replay", 1, 2)
    assert "announced media file 1" in table.out


def test_what_is_replayed_is_json_in_a_list_too(run: Run, world: World) -> None:
    world.send("a")
    assert json.loads(run("callbacks", "replay", "--all", "--json").out)["reason"] == "announced media file 1"


def test_who_replays_is_in_the_audit(run: Run, world: World) -> None:
    world.send("a")
    run("callbacks", "replay", "--verdict", "accepted", "--by", "alice")
    entries = run("audit", "list", "--json").objects
    assert [(e["action"], e["actor"], e["through"]) for e in entries] == [
        ("finish_replay", "alice", "command line"),
        ("replay_callbacks", "alice", "command line"),
    ]
    assert run("callbacks", "replay", 7).code == 1
    assert len(run("audit", "list", "--json").objects) == 2


def test_a_body_that_was_dropped_is_told_and_never_judged_again(run: Run, world: World) -> None:
    world.send("old")
    world.send("forged", secret="wrong")
    world.clock.move(days=100)
    prune(world.database, Keeping(timedelta(days=90), None), world.clock)
    shown = run("callbacks", "show", 1)
    assert "Its body was dropped 2026-06-09 12:00" in shown.out
    assert "INBOX_KEEP" in shown.out
    told = run("callbacks", "show", 1, "--json").object
    assert (told["pruned_at"], told["raw_base64"], told["fields"]) == ("2026-06-09T12:00:00Z", "", None)
    refused = run("callbacks", "replay", 2, 1)
    assert (refused.code, refused.out) == (1, "")
    assert (
        "callback 1 cannot be judged again: its body was dropped after INBOX_KEEP; nothing was replayed" in refused.err
    )
    passed = run("callbacks", "replay", "--all")
    assert passed.code == 0
    assert "1 callback judged again." in passed.out
    assert "1 callback passed over" in passed.err
    assert [c["verdict"] for c in run("callbacks", "list", "--json").objects] == ["forged", "accepted"]
