from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from service.cli import main
from tests.world import CALLBACK_SECRET, SERVER_SECRET, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Run


def start(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("ZEGO_RETENTION_")}
    command = [sys.executable, "-m", "service", *arguments]
    return subprocess.run(command, cwd=cwd, env=plain | variables, capture_output=True, text=True, check=False)


def is_one_line(text: str) -> bool:
    return text.startswith("zego-retention: ") and text.count("\n") == 1 and "Traceback" not in text


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"ZEGO_RETENTION_DATBASE_URL": "sqlite:///x.db"}, "did you mean ZEGO_RETENTION_DATABASE_URL?"),
        ({"ZEGO_RETENTION_SWEEP_EVERY": "soon"}, "ZEGO_RETENTION_SWEEP_EVERY"),
        ({"ZEGO_RETENTION_DATABASE_URL": "sqlite:////proc/no/such/place.db"}, "/proc/no/such"),
        ({"ZEGO_RETENTION_DATABASE_URL": "postgresql://u:hidden@127.0.0.1:9/x"}, "127.0.0.1"),
    ],
)
def test_what_fails_before_the_work_is_one_line(tmp_path: Path, variables: dict[str, str], says: str) -> None:
    ended = start("files", "list", cwd=tmp_path, **variables)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert is_one_line(ended.stderr)
    assert says in ended.stderr
    assert "hidden" not in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("no-such-command",),
        ("files", "list", "--state", "odd"),
        ("files", "list", "--due-before", "tomorrow"),
        ("files", "show"),
        ("files", "show", "0"),
        ("files", "show", str(2**63)),
        ("files", "retry"),
        ("files", "retry", "1", "--all-failed"),
        ("callbacks", "replay"),
        ("callbacks", "replay", "1", "--all"),
        ("files", "list", "--limit", "0"),
        ("rules", "preview"),
        ("rules", "apply", "rules.toml", "--keep"),
    ],
)
def test_wrong_usage_ends_with_2(run: Run, arguments: tuple[str, ...]) -> None:
    ended = run(*arguments)
    assert ended.code == 2
    assert ended.out == ""
    assert "Error: " in ended.err
    assert "integer" not in ended.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("files", "list", "--limit", "0"), "0 is too small; write a whole number from 1 on"),
        (("rules", "rollback", "0"), "0 is too small; write a whole number from 1 on"),
        (("files", "show", "--", "-5"), "-5 is too small; write a whole number from 1 on"),
        (("files", "show", str(2**63)), f"{2**63} is too large"),
        (("files", "show", "two"), "'two' is not a number; write a whole number from 1 on, for example 17"),
        (("files", "retry", "--all-failed", "--by", ""), "the name is empty"),
        (("tokens", "revoke", "1", "--by", " "), "the name is empty"),
    ],
)
def test_wrong_usage_is_told_in_plain_words(run: Run, arguments: tuple[str, ...], says: str) -> None:
    ended = run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err


@pytest.mark.parametrize("command", [("files", "list"), ("rules", "apply"), ("audit", "list")])
def test_help_shows_no_ranges_of_numbers(run: Run, command: tuple[str, ...]) -> None:
    shown = run(*command, "--help").out
    assert "NUMBER" in shown
    assert "<=" not in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("files", "show", "7"), "there is no file 7"),
        (("files", "explain", "7"), "there is no file 7"),
        (("files", "retry", "7"), "there is no file 7"),
        (("files", "confirm", "7"), "there is no file 7"),
        (("callbacks", "show", "7"), "there is no callback 7"),
        (("callbacks", "replay", "7"), "there is no callback 7"),
        (("runs", "show", "7"), "there is no run 7"),
        (("rules", "export"), "nothing to export"),
        (("rules", "apply", "--keep"), "KEEP is not set"),
        (("rules", "apply", "/no/such/rules.toml"), "cannot read /no/such/rules.toml: No such file"),
        (("rules", "preview", "/"), "cannot read /: Is a directory"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(run: Run, arguments: tuple[str, ...], says: str) -> None:
    ended = run(*arguments)
    assert ended.code == 1
    assert ended.out == ""
    assert is_one_line(ended.err)
    assert says in ended.err


def test_a_pending_migration_is_named_with_its_cure(postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    environ = environment(postgres_url, "http://127.0.0.1:9/")
    for command in (["files", "list"], ["sweep"], ["runs", "list"], ["rules", "list"], ["callbacks", "list"]):
        assert main(command, environ=environ) == 1
        assert "run `zego-retention migrate` first" in capsys.readouterr().err
    assert main(["migrate"], environ=environ) == 0
    assert main(["files", "list"], environ=environ) == 0
    capsys.readouterr()
    assert main(["migrate"], environ=environ) == 0
    assert "up to date already" in capsys.readouterr().out


def test_sqlite_is_migrated_by_itself_and_its_folder_created(tmp_path: Path) -> None:
    ended = start("files", "list", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    path = tmp_path / "data" / "zego-retention.db"
    assert path.exists()
    assert f"created a new database: {path}\n" in ended.stderr
    assert start("files", "list", cwd=tmp_path).stderr == "no files\n"


@pytest.mark.parametrize("command", [["migrate"], ["web"]])
def test_every_command_says_that_it_makes_a_new_database(tmp_path: Path, command: list[str]) -> None:
    # The address cannot be had, so the process ends by itself.
    ended = start(*command, cwd=tmp_path, ZEGO_RETENTION_LISTEN="192.0.2.1:80")
    assert str(tmp_path / "data" / "zego-retention.db") in ended.stderr


def test_a_file_that_cannot_be_used_is_told_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("not a database" * 99)
    for path, remedy in (
        ("letter", "move that file away"),
        (".", "as the user of the service"),
        ("letter/x.db", "another place"),
    ):
        ended = start("files", "list", cwd=tmp_path, ZEGO_RETENTION_DATABASE_URL=f"sqlite:///{path}")
        assert (ended.returncode, is_one_line(ended.stderr)) == (1, True), ended.stderr
        assert remedy in ended.stderr
        assert str(tmp_path) in ended.stderr


def test_a_file_out_of_reach_is_told_with_the_user(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    with nobody(folder):
        ended = run("files", "list", DATABASE_URL=f"sqlite:///{folder / 'x.db'}")
    assert (ended.code, is_one_line(ended.err)) == (1, True)
    assert f"no permission for {folder / 'x.db'} as user " in ended.err
    assert "run it as the user of the service" in ended.err


@contextmanager
def nobody(folder: Path) -> Iterator[None]:
    """Within the block this process cannot look into the folder, even if it runs as root."""
    user = os.geteuid()
    folder.chmod(0)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        folder.chmod(0o700)


def test_help_speaks_of_cdn_recordings(run: Run) -> None:
    assert "CDN recordings" in run("--help").out


def test_a_defect_is_one_line_and_its_traceback_can_be_had(tmp_path: Path) -> None:
    folder = tmp_path / "as-a-file"
    folder.mkdir()
    # A stored rule set that no release wrote stands for a defect.
    url = f"sqlite:///{tmp_path / 'x.db'}"
    assert start("migrate", cwd=tmp_path, ZEGO_RETENTION_DATABASE_URL=url).returncode == 0
    break_stored_rules(tmp_path / "x.db")
    quiet = start("rules", "list", cwd=tmp_path, ZEGO_RETENTION_DATABASE_URL=url)
    assert (quiet.returncode, quiet.stdout) == (1, "")
    assert is_one_line(quiet.stderr)
    assert "ZEGO_RETENTION_LOG_LEVEL=DEBUG" in quiet.stderr
    loud = start("rules", "list", cwd=tmp_path, ZEGO_RETENTION_DATABASE_URL=url, ZEGO_RETENTION_LOG_LEVEL="DEBUG")
    assert "command_failed" in loud.stderr
    assert "rules.py" in loud.stderr


def break_stored_rules(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO rule_revisions (number, applied_at, applied_by, source, rules)"
            " VALUES (1, '2026-01-01 00:00:00.000000', 'x', 'x', 'a = [')"
        )
    connection.close()


@pytest.mark.parametrize("command", ["rules export", "rules list", "rules list --json"])
def test_a_reader_that_goes_early_is_no_error(tmp_path: Path, command: str) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rules]]\nname = "all"\nkeep = "1d"\n')
    assert start("rules", "apply", str(rules), cwd=tmp_path).returncode == 0
    line = f"{sys.executable} -m service {command} | true; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["/bin/bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_an_odd_encoding_is_survived(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rules]]\nname = "课堂"\nkeep = "1d"\n', encoding="utf-8")
    assert start("rules", "apply", str(rules), cwd=tmp_path).returncode == 0
    ended = start("rules", "list", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert ended.returncode == 0, ended.stderr
    assert "\\u8bfe\\u5802" in ended.stdout


def test_no_secret_is_ever_shown(run: Run) -> None:
    for command in (["doctor"], ["doctor", "--json"], ["sweep"], ["rules", "list"], ["files", "list"]):
        ended = run(*command, LOG_LEVEL="DEBUG")
        assert SERVER_SECRET not in ended.out + ended.err
        assert CALLBACK_SECRET not in ended.out + ended.err


def test_a_setting_that_means_nothing_is_logged_and_does_no_harm(run: Run) -> None:
    ended = run("files", "list", "--json", SOME_NEWER_THING="1")
    assert (ended.code, ended.out) == (0, "")
    assert "ZEGO_RETENTION_SOME_NEWER_THING is not a setting of this release" in ended.err
