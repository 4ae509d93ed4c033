from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from service.cli import main
from tests.world import APP, environment

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.cli.conftest import Run
    from tests.world import World


def test_all_well_or_only_warnings_end_with_0(run: Run, world: World) -> None:
    world.keep("30d")
    ended = run("doctor", PUBLIC_URL="https://retention.example.com")
    assert (ended.code, ended.err) == (0, "")
    assert "https://retention.example.com/zego/callback" in ended.out
    assert f"ok         app {APP}  ZEGO takes the credentials" in ended.out
    assert all(line.split()[0] in {"ok", "warning"} for line in ended.out.splitlines())


def test_a_check_that_fails_ends_with_1(run: Run, world: World) -> None:
    world.sandbox.apps = {APP: "another secret"}
    ended = run("doctor", "--json")
    assert ended.code == 1
    [problem] = [check for check in ended.objects if check["status"] == "problem"]
    assert problem["check"] == f"app {APP}"
    assert problem["fix"].startswith("copy AppID and ServerSecret again")


def test_what_only_waits_for_a_person_ends_with_3(run: Run, world: World) -> None:
    world.keep("1d")
    world.send("stale", age=timedelta(days=2), now=world.clock() - timedelta(hours=1))
    ended = run("doctor")
    assert ended.code == 3
    assert "attention  files" in ended.out


def test_settings_that_cannot_be_read_are_a_line_of_their_own(run: Run) -> None:
    ended = run("doctor", RETRY_FIRST="soon")
    assert (ended.code, ended.err) == (1, "")
    assert ended.out.startswith("problem    settings")
    assert "ZEGO_RETENTION_RETRY_FIRST" in ended.out


def test_without_apps_and_database_every_line_still_appears(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none" / "x.db"
    code = main(["doctor"], environ={"ZEGO_RETENTION_DATABASE_URL": f"sqlite:///{path}"})
    lines = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert code == 1
    assert lines == [
        ["problem", "settings"],
        ["ok", "callback"],
        ["problem", "database"],
        ["skipped", "rules"],
        ["skipped", "callbacks"],
        ["skipped", "worker"],
        ["skipped", "sweeps"],
        ["skipped", "calls"],
        ["skipped", "files"],
        ["skipped", "listings"],
        ["skipped", "cache"],
    ]
    assert not path.parent.exists()


def test_doctor_puts_no_rules_in_force(run: Run) -> None:
    assert "KEEP=1d becomes the first rule set" in run("doctor", KEEP="1d").out
    assert run("rules", "list", "--json").out == ""


def test_a_zego_that_is_away_is_named(database_url: str, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    environ = environment(database_url, "http://127.0.0.1:9/")
    assert main(["doctor"], environ=environ, now=world.clock) == 1
    assert "http://127.0.0.1:9/ cannot be reached: no connection to ZEGO" in capsys.readouterr().out
