from __future__ import annotations

import inspect
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import click
import pytest
from rich.console import Console

from service.cli import main
from service.cli.commands import cli
from service.cli.options import load, number
from service.cli.show import make_table
from service.model import Verdict
from tests.health.scene import Scene
from tests.processes import MAX_WAIT_S
from tests.world import environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.cli.conftest import Run
    from tests.world import World

SLOW_TO_LOAD = ("alembic", "flask", "pydantic", "requests", "sqlalchemy", "structlog")
START_AND_SAY_SO = "import sys; from service.cli import main; print('up', flush=True); sys.exit(main())"
SHOW_ALL_HELP = f"""
import sys
from service.cli import main
from service.cli.commands import cli

def show(path, command):
    assert main([*path, "--help"]) == 0
    for name, below in getattr(command, "commands", {{}}).items():
        show([*path, name], below)

show(sys.argv[1:], cli.commands[sys.argv[1]])
print("loaded:", [name for name in {SLOW_TO_LOAD} if name in sys.modules])
"""


def clean_environment(**variables: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("ZEGO_RETENTION_")}
    return plain | {f"ZEGO_RETENTION_{name}": value for name, value in variables.items()}


def start(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service", *arguments]
    environ = clean_environment(**variables)
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)


def is_one_line(text: str) -> bool:
    return text.startswith("zego-retention: ") and text.count("\n") == 1 and "Traceback" not in text


def compare_cpu(*arguments: str, **variables: str) -> float:
    """How many times the CPU of `import flask` a Python process costs: the cheapest of seven each, in turn.

    The first one may compile modules, for the others to load.
    """
    commands, environ = (arguments, ("-c", "import flask")), clean_environment(**variables)
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    costs: list[list[float]] = [[], []]
    for place in [0, 1] * 7:
        command = [sys.executable, *commands[place]]
        process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        assert status == 0
        costs[place].append(usage.ru_utime + usage.ru_stime)
    return min(costs[0]) / min(costs[1])


def test_help_costs_at_most_two_and_a_half_times_an_import_of_flask() -> None:
    assert compare_cpu("-m", "service", "--help") <= 2.5


def test_a_short_command_costs_at_most_five_times_that(sqlite_url: str) -> None:
    assert compare_cpu("-m", "service", "files", "list", DATABASE_URL=sqlite_url) <= 5


@pytest.mark.parametrize("name", cli.commands)
def test_help_of_every_command_loads_nothing_that_takes_long(name: str, tmp_path: Path) -> None:
    script = [sys.executable, "-c", SHOW_ALL_HELP, name]
    shown = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.splitlines()[-1] == "loaded: []"


def test_help_lists_every_command_with_what_it_does() -> None:
    lines = dict(line.split(maxsplit=1) for line in help_text().split("Commands:\n")[1].split("\n\n")[0].splitlines())
    assert list(lines) == list(cli.commands)
    assert all(text.endswith(".") and len(text) < 70 for text in lines.values())


def help_text() -> str:
    return cli.get_help(click.Context(cli, info_name="zego-retention", terminal_width=100))


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"DATBASE_URL": "sqlite:///x.db"}, "did you mean ZEGO_RETENTION_DATABASE_URL?"),
        ({"SWEEP_EVERY": "soon"}, "ZEGO_RETENTION_SWEEP_EVERY"),
        ({"DATABASE_URL": "sqlite:////proc/no/such/place.db"}, "/proc/no/such/place.db"),
        ({"DATABASE_URL": "postgresql://u:hidden@127.0.0.1:9/x"}, "127.0.0.1:9/x"),
    ],
)
def test_what_fails_before_the_work_is_one_line(tmp_path: Path, variables: dict[str, str], says: str) -> None:
    ended = start("worker", "--check", cwd=tmp_path, **variables)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert is_one_line(ended.stderr)
    assert says in ended.stderr
    assert "hidden" not in ended.stderr


def test_a_database_that_does_not_exist_is_named_and_not_created(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere" / "x.db"
    ended = start("worker", "--check", cwd=tmp_path, DATABASE_URL=f"sqlite:///{path}")
    assert ended.returncode == 1
    assert is_one_line(ended.stderr)
    assert str(path) in ended.stderr
    assert not path.parent.exists()


NEED_NONE = {("notify", "test")}
MAY_CREATE = {("demo",), ("serve",), ("web",), ("worker",), ("migrate",)}


def list_paths(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from list_paths(command, *path, name)
        else:
            yield (*path, name), command


ARGUMENTS: dict[tuple[str, ...], list[str]] = {
    ("rules", "preview"): ["--keep"],
    ("rules", "apply"): ["--keep"],
    ("files", "retry"): ["1"],
    ("files", "confirm"): ["1"],
    ("callbacks", "replay"): ["1"],
    ("files", "delete"): ["1", "--reason", "r", "--count", "1"],
    ("holds", "add"): ["--file", "1", "--reason", "r"],
    ("tokens", "add"): ["name", "--role", "viewer"],
    ("users", "add"): ["name", "--role", "viewer"],
}


@pytest.mark.parametrize("folder", ["one", "another"])
def test_no_command_but_those_that_run_creates_a_database(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / folder)
    path = tmp_path / "data" / "zego-retention.db"
    environ = environment(f"sqlite:///{path}", "http://127.0.0.1:9/", KEEP="1d")
    for names, command in list_paths(cli):
        needs = [each for each in command.params if isinstance(each, click.Argument) and each.required]
        if names not in MAY_CREATE:
            code = main([*names, *ARGUMENTS.get(names, ["1"] * len(needs))], environ=environ)
            said = "".join(capsys.readouterr())
            assert (code, str(path) in said) == (1, names not in NEED_NONE), (names, said)
        assert not list(tmp_path.rglob("*.db*")), names


def test_migrate_creates_a_database_and_says_where(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.db"
    first = start("migrate", cwd=tmp_path, DATABASE_URL=f"sqlite:///{path}")
    assert first.returncode == 0
    assert first.stderr.startswith(f"created a new database: {path}; it is new and empty")
    assert first.stdout.startswith(f"database sqlite:///{path}: migrated, ")
    again = start("migrate", cwd=tmp_path, DATABASE_URL=f"sqlite:///{path}")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout == f"database sqlite:///{path}: up to date already\n"


@pytest.mark.parametrize("arguments", [("no-such-command",), ("worker", "--chek"), ("worker", "now")])
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments, environ={}) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Error: " in shown.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0", "0 is too small; write a whole number from 1 on"),
        ("-5", "-5 is too small"),
        (str(2**63), "is too large; there is no such number"),
        ("two", "'two' is not a number; write a whole number from 1 on, for example 17"),
    ],
)
def test_a_number_that_cannot_be_is_refused_in_plain_words(text: str, says: str) -> None:
    with pytest.raises(click.BadParameter, match=says):
        number(text)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("users password anna", "'anna' is not a number; .*; `zego-retention users list` shows the numbers"),
        (
            "holds add 1 --reason r",
            r"extra argument \(1\): write it after the option .* \(--file, --stream, ",
        ),
        ("doctor now", r"unexpected extra argument \(now\)$"),
    ],
)
def test_what_is_given_in_a_wrong_place_or_form_is_answered_with_the_right_one(
    line: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split(), environ={}) == 2
    assert re.search(says, capsys.readouterr().err.strip())


@pytest.mark.parametrize("delay_s", [0.01, 0.05, 0.1, 0.2, 0.4, 0.8])
def test_an_interruption_is_one_line_from_the_first_moment_on(tmp_path: Path, delay_s: float) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a server that never answers
        url = f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/x"
        with subprocess.Popen(
            [sys.executable, "-c", START_AND_SAY_SO, "worker", "--check"],
            cwd=tmp_path,
            env=clean_environment(DATABASE_URL=url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            time.sleep(delay_s)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=MAX_WAIT_S)
    assert (process.returncode, out, err) == (1, "", "zego-retention: interrupted\n")


def test_a_reader_who_has_seen_enough_ends_a_command_quietly(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "service", "doctor", "--json"]
    environ = clean_environment(DATABASE_URL=f"sqlite:///{tmp_path}/none.db")
    ended = subprocess.run(command, env=environ, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_an_encoding_that_lacks_a_character_stops_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service", "--help"]
    environ = clean_environment() | {"PYTHONIOENCODING": "latin-1"}
    ended = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "\\u2026" in ended.stdout


LONG_ID = "record/app/" + "lesson-grade-7-" * 5 + "1764200000000.mp4"
LONG_TEXT = "older than 30d, and a long sentence beside it that no narrow terminal has space for"


def draw(width: int, rows: Sequence[tuple[object, ...]], *, is_list: bool = True) -> tuple[list[str], list[str]]:
    """The lines of a table on a terminal of this width, and what it says it has no space for."""
    out = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    headers = ["id", "file", "age", "state", "why", "vendor", "empty"]
    table, lacking = make_table(out, headers, rows, ["empty", "vendor", "why", "age", "file"], is_list=is_list)
    with out.capture() as captured:
        out.print(table)
    return captured.get().splitlines(), lacking


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("name", ["5285890802359990", "f" * 40, LONG_ID])
@pytest.mark.parametrize("why", ["-", "rule", LONG_TEXT])
def test_a_list_shows_ids_whole_one_line_each_and_names_what_it_leaves_out(width: int, name: str, why: str) -> None:
    rows = [(number, name, "17 days", "unconfirmed", why, "Tencent", None) for number in (9, 1_234_567)]
    lines, lacking = draw(width, rows)
    assert len(lines) == 2 + len(rows)
    assert max(map(len, lines)) <= width
    assert all("1234567" in line or number == 2 for number, line in enumerate(lines[2:], start=2))
    for header, text in (("file", name), ("age", "17 days"), ("why", why), ("vendor", "Tencent")):
        assert text == "-" or (text in lines[-1]) == (header not in lacking), (header, lacking)
        assert lacking.count(header) <= 1
    assert "…" not in lines[-1].replace(" ", "") or "why" in lacking
    assert "empty" not in [*lacking, *lines[0].split()]


def test_a_long_id_takes_no_space_from_what_matters_less() -> None:
    lines, lacking = draw(80, [(1, LONG_ID, "17 days", "held", "a reason", "Ws", None)])
    assert lacking == ["file"]
    assert lines[0].split() == ["id", "age", "state", "why", "vendor"]


def test_beside_a_list_long_text_is_broken_into_lines_and_nothing_is_cut() -> None:
    lines, lacking = draw(80, [(1, "x", "17 days", "held", LONG_TEXT, "Ws", None)], is_list=False)
    assert lacking == []
    assert "…" not in "".join(lines)
    assert len(lines) > 3
    wide, lacking = draw(100_000, [(1, LONG_ID, "17 days", "held", LONG_TEXT, "Ws", None)])
    assert (len(wide), lacking) == (3, [])


def list_commands(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        yield from list_commands(command) if isinstance(command, click.Group) else [command]


def test_what_carries_a_command_out_takes_what_it_declares() -> None:
    for command in list_commands(cli):
        assert isinstance(command.callback, partial)
        given = {str(param.name): None for param in command.params if param.expose_value}
        carry_out = load(f"cli.{command.callback.args[0]}")
        inspect.signature(carry_out).bind(None, **command.callback.keywords, **given)


def test_doctor_ends_with_3_for_whatever_is_not_ok(run: Run) -> None:
    ended = run("doctor", "--json")
    statuses = {check["check"]: check["status"] for check in ended.objects}
    assert ended.code == 3
    assert statuses["rules"] == statuses["worker"] == "attention"
    assert statuses["database"] == "ok"
    assert set(ended.objects[0]) == {"check", "status", "text", "fix"}


def test_doctor_ends_with_0_where_there_are_only_notes(run: Run, world: World) -> None:
    scene = Scene(world.database)
    scene.make_well()
    scene.add_callbacks(Verdict.UNKNOWN_APP, age=timedelta(days=3))
    ended = run("doctor", "--json")
    assert {check["status"] for check in ended.objects} == {"ok", "note"}
    assert ended.code == 0
    scene.add_callbacks(Verdict.UNKNOWN_APP)
    assert run("doctor").code == 3


def test_doctor_ends_with_1_where_something_does_not_work(run: Run) -> None:
    ended = run("doctor", SERVER_SECRET="another")
    assert (ended.code, ended.err) == (1, "")
    assert "problem    app 1234567890" in ended.out
    wrong = run("doctor", RETRY_FIRST="soon")
    assert (wrong.code, wrong.err) == (1, "")
    assert wrong.out.startswith("problem    settings")
    assert "ZEGO_RETENTION_RETRY_FIRST" in wrong.out


def test_a_check_of_the_worker_says_in_one_sentence_whether_one_runs(run: Run) -> None:
    ended = run("worker", "--check")
    assert ended.code == 1
    assert ended.out.startswith("no worker is running")
    assert json.loads(run("doctor", "--json").out.splitlines()[0])["check"] == "settings"
