"""Whatever surrounds a command: it does its work or says in one line why not, and never asks to be reported."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import click
import pytest

from service.cli import main
from service.cli.commands import cli
from tests.cli.test_cli_frame import clean_environment
from tests.processes import MAX_WAIT_S, answers, running, wait_until
from tests.world import environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG = {"serve", "web", "worker", "demo"}
RUN_ALL = """
import json, os, sys
from service.cli import main
codes = {" ".join(line): main(line) for line in json.loads(sys.argv[1])}
with open(sys.argv[2], "w") as file:
    json.dump(codes, file)
sys.exit(main(["files", "list"]))
"""
SAY_UP = "import sys; from service.cli import main; print('up', flush=True); sys.exit(main())"
TOKEN = "a-token-of-the-tests-0123456789"
NO_TEMPORARY = "import sys, tempfile; tempfile.tempdir = '/nonexistent'; from service.cli import main; sys.exit(main())"


def every_line(command: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[list[str]]:
    """A command line for every command that ends by itself."""
    for name, below in getattr(command, "commands", {}).items():
        yield from every_line(below, (*path, name))
    if not getattr(command, "commands", None) and path[-1] not in LONG:
        words = [word for param in command.params if param.required for word in fill(param)]
        yield [*path, *words]


def fill(param: click.Parameter) -> list[str]:
    value = {"name": "a-token", "role": "viewer"}.get(str(param.name), "1")
    return [param.opts[-1], value] if isinstance(param, click.Option) else [value]


def shell(script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Python in a shell that has done something to its surroundings: `{python}` in the script, with the arguments."""
    environ = clean_environment(**variables)
    environ.pop("PYTHONUNBUFFERED", None)  # what is buffered fails late
    return subprocess.run(
        ["/bin/bash", "-c", script.format(python=f'"{sys.executable}" "$@"'), "bash", *arguments],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * MAX_WAIT_S,
    )


def complains(text: str) -> bool:
    return any(words in text for words in ("Traceback", "unexpected", "Exception ignored", "lost sys.stderr"))


@pytest.mark.parametrize(
    "script",
    [
        "{python} >&-",
        "{python} <&- >&- 2>&-",
        "{python} | head -1 >/dev/null; exit ${{PIPESTATUS[0]}}",
        "{python} >/dev/full 2>/dev/full",
        "unset HOME; LANG=C LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 {python}",
        "PYTHONIOENCODING=ascii {python} 2>&-",
    ],
)
def test_every_command_copes_with_its_surroundings(sqlite_url: str, tmp_path: Path, script: str) -> None:
    lines, codes = list(every_line()), tmp_path / "codes"
    ended = shell(script, "-c", RUN_ALL, json.dumps(lines), str(codes), DATABASE_URL=sqlite_url)
    assert not complains(ended.stdout + ended.stderr), ended.stderr
    assert ended.returncode in {0, 1}
    assert set(json.loads(codes.read_text())) == {" ".join(line) for line in lines}
    assert len(lines) > 30


def test_a_full_disk_behind_the_output_is_one_line(sqlite_url: str) -> None:
    for command in ("doctor", "--help"):
        ended = shell("{python} >/dev/full", "-m", "service", command, DATABASE_URL=sqlite_url)
        assert ended.returncode == 1
        assert ended.stderr == "zego-retention: the system says: No space left on device (standard output)\n"


def test_what_only_shows_something_fails_where_the_output_is_closed(sqlite_url: str) -> None:
    for line in ("audit export", "files list", "tokens add t --role admin"):
        ended = shell("{python} >&-", "-m", "service", *line.split(), DATABASE_URL=sqlite_url)
        text = "zego-retention: standard output is closed, so nothing can be shown: nothing was done\n"
        assert (ended.returncode, ended.stderr) == (1, text), line
    assert shell("{python}", "-m", "service", "tokens", "list", "--json", DATABASE_URL=sqlite_url).stdout == ""


def test_a_token_whose_text_is_lost_is_revoked_again(sqlite_url: str) -> None:
    for number, more in enumerate(([], ["--json"]), start=1):
        line = ["tokens", "add", f"t{number}", "--role", "admin", *more]
        ended = shell("{python} >/dev/full", "-m", "service", *line, DATABASE_URL=sqlite_url)
        assert ended.returncode == 1
        lost = (
            f"token {number} was made and is revoked again: its text could not be written (No space left on device)\n"
        )
        assert ended.stderr.endswith(f"zego-retention: {lost}")
    listed = shell("{python}", "-m", "service", "tokens", "list", "--json", DATABASE_URL=sqlite_url).stdout
    assert [json.loads(each)["revoked_at"] is not None for each in listed.splitlines()] == [True, True]


def test_a_closed_output_leaves_its_place_to_no_database(sqlite_url: str) -> None:
    for name, code in (("doctor", 1), ("migrate", 0)):
        assert shell("{python} <&- >&- 2>&-", "-m", "service", name, DATABASE_URL=sqlite_url).returncode == code
    assert shell("{python}", "-m", "service", "files", "list", DATABASE_URL=sqlite_url).returncode == 0


@pytest.mark.parametrize("line", list(every_line()), ids=" ".join)
def test_an_argument_that_is_no_text_is_refused(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*line, "a\udcff"], environ={}) == 2
    assert capsys.readouterr().err.endswith("Error: an argument is not UTF-8 text: 'a\\udcff'\n")


def test_a_user_whose_name_is_no_text_can_change_something(sqlite_url: str) -> None:
    script = r"LOGNAME=$'ann\xff' USER=$'ann\xff' {python}"
    ended = shell(script, "-m", "service", "tokens", "add", "a", "--role", "viewer", DATABASE_URL=sqlite_url)
    assert (ended.returncode, complains(ended.stderr)) == (0, False)


def test_a_large_body_is_answered_where_no_temporary_file_can_be_made(
    sqlite_url: str, tmp_path: Path, free_port: int
) -> None:
    variables = environment(
        sqlite_url,
        "http://127.0.0.1:9/",
        LISTEN=f"127.0.0.1:{free_port}",
        ADMIN_TOKEN=TOKEN,
    )
    with running("web", variables, tmp_path, code=NO_TEMPORARY) as web:
        wait_until(lambda: answers(free_port) or web.process.poll() is not None)
        connection = http.client.HTTPConnection("127.0.0.1", free_port, timeout=MAX_WAIT_S)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        body = b'{"no such key": "' + b" " * 600_000 + b'"}'
        connection.request("POST", "/api/v1/rules/previews", body, headers)
        assert connection.getresponse().status in {400, 422}
        connection.close()


def test_nothing_is_loaded_before_an_interruption_can_be_taken() -> None:
    script = "import sys; before = set(sys.modules); import service.cli; print(sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert loaded == "['__future__', 'service', 'service.cli']\n"


@pytest.mark.parametrize("command", ["serve", "demo"])
@pytest.mark.parametrize("delay_s", [0.05, 0.4, 0.9])
def test_what_is_interrupted_before_it_runs_says_one_line(
    sqlite_url: str, tmp_path: Path, free_port: int, command: str, delay_s: float
) -> None:
    variables = environment(sqlite_url, "http://127.0.0.1:9/", LISTEN=f"127.0.0.1:{free_port}")
    with running(command, variables, tmp_path, code=SAY_UP) as process:
        wait_until(lambda: "up\n" in process.log())
        time.sleep(delay_s)
        code = process.end(signal.SIGINT)
        assert "Traceback" not in process.log()
        if "serve_running" not in process.log():  # (from then on it stops, as it is meant to)
            assert (code, process.log().splitlines()[-1]) == (1, "zego-retention: interrupted")
