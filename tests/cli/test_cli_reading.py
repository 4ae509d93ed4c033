"""Every command that shows something: its table, its JSON, its filters, what it says where there is nothing."""

from __future__ import annotations

import base64
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.audit.order import OrderKind
from service.cli.show import relative
from service.filters import AUDIT_ACTIONS
from service.model import Vendor
from tests.cli.terminal import type_into
from tests.world import APP, START

if TYPE_CHECKING:
    from tests.cli.conftest import Run
    from tests.world import World

LISTS = {
    "files list": ("no files", "id"),
    "holds list": ("no holds", "id"),
    "erasures list": ("no erasures", "id"),
    "callbacks list": ("no callbacks", "id"),
    "runs list": ("no runs", "id"),
    "listings list": ("no listings", "id"),
    "audit list": ("no audit entries", "number"),
    "tokens list": ("no tokens", "id"),
    "previews list": ("no previews", "id"),
    "rules history": ("no revisions", "number"),
}
SHOWN = {
    "files show": "trial-1",
    "files explain": "everything",
    "erasures show": "she asked",
    "callbacks show": '"stream_alias": "trial-1"',
    "runs show": "AccessDenied",
    "listings show": "complete",
    "audit order": "applied",
    "previews show": "cooling-off of 1d",
}


def test_no_sweep_is_promised_while_no_worker_is_running(run: Run, world: World) -> None:
    world.keep("1d")
    world.send("due", age=timedelta(days=2))
    said = " ".join(run("files", "explain", 1).out.split())
    assert "next step the first sweep after" in said
    assert "obstacles no worker is running" in said
    assert "obstacles" not in run("files", "explain", 1, SWEEP_EVERY="off").out


@pytest.fixture
def busy(world: World, run: Run, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world in which something of everything has happened; nothing of each has a number above 9."""
    world.keep("1d")
    world.send("bad", stream="trial-1", age=timedelta(days=2))
    world.send("good", age=timedelta(days=2), vendor=Vendor.HUAWEI)
    world.send("young", stream="课堂")
    world.announce("forged", secret="guessed")
    world.sandbox.fail_file("bad", "AccessDenied", "not yours")
    world.sweep()
    world.reconcile(Vendor.TENCENT)
    assert run("holds", "add", "--stream", "trial-*", "--reason", "a court asks", "--app", APP).code == 0
    assert run("files", "delete", 3, "--count", 1, "--reason", "she asked").code == 0
    assert run("tokens", "add", "dashboard", "--role", "viewer").code == 0
    shorter = tmp_path_factory.mktemp("rules") / "shorter.toml"
    shorter.write_text('[[rules]]\nname = "all"\nkeep = "1h"\n')
    assert run("rules", "preview", shorter).code == 0
    return world


@pytest.mark.usefixtures("busy")
def test_every_list_and_everything_in_it(run: Run) -> None:
    for command, (_, key) in LISTS.items():
        table = run(*command.split())
        assert (table.code, table.err) == (0, ""), command
        listed = run(*command.split(), "--json")
        assert (listed.code, listed.err) == (0, ""), command
        assert listed.out.isascii()
        header, *lines = table.out.splitlines()
        assert len(lines) == len(listed.objects) > 0, command
        numbers = [line.split()[0] for line in lines]
        assert numbers == [str(item[key]) for item in listed.objects], (command, header)
        assert len(run(*command.split(), "--json", "--limit", 1).objects) == 1
    for command, words in SHOWN.items():
        shown = run(*command.split(), 1)
        assert (shown.code, shown.err) == (0, ""), (command, shown.err)
        assert words in shown.out, (command, shown.out)
        assert run(*command.split(), 1, "--json").object


def test_every_action_of_the_audit_can_be_asked_for() -> None:
    text = "".join(
        path.read_text() for path in (Path(__file__).parents[2] / "service").rglob("*.py") if path.name != "filters.py"
    )
    found = set(
        re.findall(r'"((?:rules|hold|files|callbacks|sweep|plan|reconcile|token|person)\.(?!html)[a-z_]+)"', text)
    )
    kinds = {f"files.{kind}" for kind in (OrderKind.CONFIRM, OrderKind.RETRY, OrderKind.ERASE)}
    assert found | kinds == set(AUDIT_ACTIONS)


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("command", "whole"), [("listings", "adopted"), ("runs", "rejected")])
def test_a_terminal_of_80_columns_shows_whole_words(world: World, database_url: str, command: str, whole: str) -> None:
    code, seen = type_into(world, database_url, b"no question", b"", command, "list")
    assert code == 0
    assert whole in seen
    assert "…" not in seen


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_on_a_terminal_an_entry_of_the_audit_takes_one_line(run: Run, world: World, database_url: str) -> None:
    assert run("holds", "add", "--file", 1, "--reason", "x", "--by", "mei of the legal department " * 3).code == 0
    numbers = [str(entry["number"]) for entry in run("audit", "list", "--json").objects]
    code, seen = type_into(world, database_url, b"no question", b"", "audit", "list")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", seen).splitlines()
    first = next(number for number, line in enumerate(lines) if line.split()[:1] == numbers[:1])
    assert code == 0
    assert [line.split()[0] for line in lines[first : first + len(numbers)]] == numbers, seen
    assert len(numbers) > 3
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_terminal_names_what_it_has_no_space_for_and_wide_shows_it(world: World, database_url: str) -> None:
    world.keep("1d")
    long_id = "record/app/" + "lesson-7-" * 12 + ".mp4"
    world.send(long_id, vendor=Vendor.WANGSU, stream="课堂-" + "s" * 30)
    code, seen = type_into(world, database_url, b"no question", b"", "files", "list")
    assert (code, "课堂-" + "s" * 30 in seen, long_id in seen) == (0, True, False)
    assert "no space for all of: file, " in " ".join(seen.split())
    assert "--wide or --json shows" in " ".join(seen.split())
    world.add(1, size_bytes=3_000_000)
    code, seen = type_into(world, database_url, b"no question", b"", "files", "list", "--wide")
    assert (code, long_id in seen, "3.0 MB" in seen, "no space" in seen) == (0, True, True, False)
    headers = re.sub(r"\x1b\[[0-9;]*m", "", seen).splitlines()[0].split()
    assert headers == ["id", "stream", "file", "age", "size", "state", "due", "why", "vendor", "app", "rule"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_terminal_of_80_columns_says_why_rather_than_which_file(world: World, database_url: str) -> None:
    world.keep("1d")
    world.send("record/app/lesson-7/2026-03-01/part.mp4", vendor=Vendor.WANGSU, stream="lesson-7")
    _, seen = type_into(world, database_url, b"no question", b"", "files", "list")
    assert 'rule "everything"' in seen


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_date_that_is_shown_is_the_one_that_is_filtered(run: Run, world: World) -> None:
    world.keep("30d")
    world.send("a", age=timedelta(days=20))
    world.apply('[[rules]]\nname = "all"\nkeep = "1d"\n', cooling_off=timedelta(days=2))
    header, line = (re.split("  +", each) for each in run("files", "list", "--due-before", "1s").out.splitlines())
    shown = dict(zip(header, line, strict=False))
    assert (shown["due"], shown["waits until"]) == ("19 days ago", "in 2 days")
    assert "waits: cooling off" in run("files", "list", "--wide").out
    world.clock.move(days=3)
    for command in (("files", "list", "--wide"), ("sweep", "--dry-run")):
        seen = " ".join(run(*command).out.split())
        assert 'rule "all"' in seen
        assert "waits" not in seen, "its wait is over"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_where_there_is_nothing_it_says_so(run: Run) -> None:
    for command, (words, _) in LISTS.items():
        empty = run(*command.split())
        assert (empty.code, empty.out, empty.err) == (0, "", f"{words}\n")
        assert run(*command.split(), "--json").out == ""
    assert "nothing is ever deleted" in run("rules", "list").out
    assert run("rules", "list", "--json").out == ""
    for command in SHOWN:
        missing = run(*command.split(), 99)
        assert (missing.code, missing.out) == (1, ""), command
        assert missing.err.startswith("zego-retention: there is no "), missing.err
        assert "see `zego-retention " in missing.err or "make one with `zego-retention " in missing.err


def test_filters_narrow_a_list(run: Run, world: World) -> None:
    world.keep("30d")
    world.send("a", stream="trial-1")
    world.send("b", stream="lesson-1", vendor=Vendor.WANGSU, age=timedelta(days=20))
    world.send("c", stream="trial-2", now=world.clock() - timedelta(hours=1))
    world.announce("forged", secret="guessed")

    def listed(*filters: str) -> list[str]:
        return [file["file_id"] for file in run("files", "list", "--json", *filters).objects]

    assert listed() == ["a", "b", "c"]
    assert listed("--state", "scheduled") == ["a", "b"]
    assert listed("--state", "unconfirmed") == ["c"]
    assert listed("--vendor", "Ws") == ["b"]
    assert listed("--stream", "trial-?") == ["a", "c"]
    assert listed("--stream", "trial-?", "--limit", "1") == ["a"]
    assert listed("--app", "987654321") == []
    assert listed("--text", "lesson") == ["b"]
    assert listed("--due-before", "2026-03-15") == ["b"]
    assert listed("--due-before", "20d") == ["b"]
    assert listed("--due-before", "2026-03-31T14:00:01+02:00", "--state", "scheduled") == ["a", "b"]
    assert listed("--adopted") == listed("--unknown-stream") == []
    assert [item["file"] for item in run("callbacks", "list", "--json", "--verdict", "stale").objects] == [3]
    assert len(run("callbacks", "list", "--json", "--verdict", "forged").objects) == 1
    assert len(run("audit", "list", "--json", "--action", "rules.apply", "--by", "a tester").objects) == 1
    assert run("audit", "list", "--json", "--by", "nobody").objects == []
    assert run("audit", "list", "--action", "rules.aply").code == 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("command", ["files list", "listings list", "reconcile"])
def test_an_everyday_name_of_a_vendor_is_answered_with_the_right_one(run: Run, command: str) -> None:
    refused = run(*command.split(), "--vendor", "Wangsu")
    assert (refused.code, """'Wangsu' is none of Tencent, Ws, Huawei: write "Ws\"""" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (29.9 * 86_400, "in 30 days"),
        (-29.4 * 86_400, "29 days ago"),
        (36 * 3_600, "in 36 hours"),
        (-119.7 * 60, "2 hours ago"),
        (90, "in 90 seconds"),
        (-1, "now"),
        (1_000 * 86_400, "in 3 years"),
    ],
)
def test_distances_are_rounded_not_cut(seconds: float, words: str) -> None:
    assert relative(START + timedelta(seconds=seconds), START) == words


def test_a_table_says_how_many_it_leaves_out_and_json_leaves_out_none(run: Run, world: World) -> None:
    world.add(60)
    table = run("files", "list")
    assert len(table.out.splitlines()) == 1 + 50
    assert table.err == "10 more: see them with --limit or --json\n"
    assert run("files", "list", "--stream", "r*", "--limit", "59").err.startswith("1 more")
    assert len(run("files", "list", "--json").objects) == 60


def test_tables_cut_nothing_and_escape_what_strangers_sent(run: Run, world: World) -> None:
    world.send("a", stream="s" * 250)
    world.send("b", stream="[red]\x1b[2J\u202e:smile:\nnext")
    for command in (("files", "list"), ("files", "show", 1, 2), ("files", "explain", 2), ("callbacks", "show", 2)):
        out = run(*command).out
        assert "\x1b" not in out
        assert "\u202e" not in out
    assert "s" * 250 in run("files", "list").out
    assert "[red]\\x1b[2J\\u202e:smile:\\nnext" in run("files", "list").out


def test_a_file_shows_its_facts_in_full(run: Run, world: World) -> None:
    world.keep("30d")
    file_id = "record/app/" + "x" * 300 + ".mp4"
    world.send(file_id, vendor=Vendor.HUAWEI, age=timedelta(days=1))
    out = run("files", "show", 1).out
    assert file_id in out
    assert "1.0 MB" in out
    assert "2026-03-30 12:00 UTC (in 29 days)" in out
    file = run("files", "show", 1, "--json").object
    assert (file["file_id"], file["due_at"]) == (file_id, "2026-03-30T12:00:00Z")


def test_explain_shows_how_a_date_comes_about_and_what_stands_in_the_way(run: Run, world: World) -> None:
    world.keep("30d")
    world.send("f", age=timedelta(days=1))
    assert "ended 2026-02-28 12:00 UTC + 30d = 2026-03-30 12:00 UTC" in run("files", "explain", 1).out
    run("holds", "add", "--file", 1, "--reason", "a court asks")
    shown = run("files", "explain", 1).out
    assert "a court asks" in shown
    assert "zego-retention holds release 1" in shown
    assert "revision 1, applied 2026-03-01 12:00 UTC" in shown


def test_explain_of_a_deleted_file_speaks_of_then(run: Run, world: World) -> None:
    world.keep("1d")
    world.send("old", age=timedelta(days=2))
    world.sweep()
    world.keep("forever")
    shown = run("files", "explain", 1).out
    assert "What counted then, in this order:" in shown
    assert ["decided", "by", "revision", "1,"] in [line.split()[:4] for line in shown.splitlines()]
    assert ["revision", "in", "force", "2"] in [line.split() for line in shown.splitlines()]


def test_a_callback_is_shown_with_the_very_bytes(run: Run, world: World) -> None:
    world.announce("one")
    shown = run("callbacks", "show", 1, "--json").object
    assert shown["fields"]["stream_alias"] == "room"
    assert run("callbacks", "show", 1, "--raw").out.encode() == base64.b64decode(shown["raw_base64"])
    assert run("callbacks", "show", 1, "--raw", "--json").code == 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_name_in_the_place_of_an_app_id_is_refused_and_finds_not_just_nothing(run: Run) -> None:
    for command in (("files", "list"), ("callbacks", "list"), ("listings", "list"), ("reconcile",)):
        refused = run(*command, "--app", "classroom")
        assert (refused.code, refused.out) == (2, "")
        assert "'classroom' is not an AppID; it is a number as in ZEGO's console" in refused.err


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_is_called_by_the_name_of_an_app_is_refused_with_its_app_id(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    facts = 'server_secret = "0123456789abcdef"\ncallback_secrets = ["s"]\n'
    apps = {"11": "classroom", "12": "spare", "13": "spare"}
    config.write_text(
        "".join(f'[[apps]]\napp_id = "{app_id}"\nname = "{name}"\n{facts}' for app_id, name in apps.items())
    )

    def ask(*command: str) -> str:
        refused = run(*command, CONFIG=str(config))
        assert (refused.code, refused.out) == (2, "")
        return refused.err

    delete = ("files", "delete", "--stream", "*", "--reason", "r", "--count", "1")
    for command in (("files", "list"), delete):
        assert "'classroom' is the name of an app, not its AppID: write 11\n" in ask(*command, "--app", "classroom")
    assert "not its AppID: write 12 or 13" in ask("files", "list", "--app", "spare")
    assert "'nobody' is not an AppID; it is a number" in ask("files", "list", "--app", "nobody")


MISSING = {
    (
        "files",
        "--rule",
        "old",
    ): "no rule is called 'old': those in force are 'everything' (earlier ones: `zego-retention rules history`)",
    ("files", "--moved-by", "9"): "there is no revision 9: see `zego-retention rules history`",
    ("files", "--app", "42"): "app 42 is not configured: known are ",
    ("callbacks", "--file", "9"): "there is no file 9: see `zego-retention files list`",
    ("holds", "--app", "42"): "app 42 is not configured: known are ",
}


def test_a_list_of_what_does_not_exist_is_an_error_and_an_empty_one_is_not(run: Run, world: World) -> None:
    world.keep("30d")
    world.send("a")
    for (group, *wanted), text in MISSING.items():
        for more in ((), ("--json",)):
            found = run(group, "list", *wanted, *more)
            assert (found.code, found.out) == (1, "")
            assert found.err.startswith(f"zego-retention: {text}")
    for name in ("all", "once"):
        world.apply(f'[[rules]]\nname = "{name}"\nkeep = "30d"\n')
    empty = run("files", "list", "--rule", "everything")
    assert (empty.code, "no files" in empty.err) == (0, True), "an earlier revision had it"
    assert run("files", "list", "--moved-by", 1).code == run("callbacks", "list", "--file", 1).code == 0
    assert run("holds", "list", "--json").code == 0


@pytest.mark.parametrize("text", ["9999-12-31", "0001-01-01", "9999-12-31T23:00-10:00", "36525d", "36526d"])
def test_no_date_breaks_a_command(run: Run, world: World, text: str) -> None:
    world.keep("1d")
    world.add(2)
    code = 2 if text in ("9999-12-31T23:00-10:00", "36526d") else 0
    for command in ("files list --due-before", "files list --due-after"):
        found = run(*command.split(), text)
        assert (found.code, "Traceback" in found.err) == (code, False), found.err
    for command in (
        "holds add --file 1 --reason x --until",
        "tokens add x --role viewer --expires",
        "reconcile --since",
    ):
        assert run(*command.split(), text).code in ((2,) if code else (0, 1)), command
    for command in ("files show 1", "files explain 1", "files list", "holds list", "tokens list", "listings list"):
        found = run(*command.split())
        assert (found.code, found.err.count("Traceback")) == (0, 0), (command, found.err)
