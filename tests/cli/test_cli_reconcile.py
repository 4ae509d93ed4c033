from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from service.cli import main
from service.core.model import Vendor
from service.zego.sandbox_faults import answer_code, answer_late, hide_ids
from tests.world import APP, environment

if TYPE_CHECKING:
    from pathlib import Path

    from service.zego.sandbox import Call
    from tests.cli.conftest import Run
    from tests.world import World

DAY = timedelta(days=1)


def store(world: World, count: int, vendor: Vendor = Vendor.HUAWEI) -> None:
    for number in range(count):
        made = world.clock() - (number + 1) * DAY
        world.sandbox.add_file(APP, vendor, f"record/{number:04}.mp4", created_at=made)


def test_it_shows_a_row_for_each_app_and_vendor_and_what_happens_to_adopted_files(run: Run, world: World) -> None:
    store(world, 3)
    world.sandbox.next(answer_code(4, vendor=Vendor.WANGSU))
    ended = run("reconcile", "--app", APP)
    rows = [line.split()[:5] for line in ended.out.splitlines()[1:4]]
    assert rows == [
        [APP, "Tencent", "complete", "0", "0"],
        [APP, "Ws", "unused", "0", "0"],
        [APP, "Huawei", "complete", "3", "3"],
    ]
    assert "3 files adopted: the rules decide them like any other, but delete none for 24 hours." in ended.out
    assert "doctor" not in ended.out
    assert (ended.code, ended.err) == (0, "")


def test_json_is_one_object_for_each(run: Run, world: World) -> None:
    store(world, 2)
    told = run("reconcile", "--json", "--vendor", "Huawei", "--since", "2026-02-28").objects
    assert [(each["vendor"], each["adopted"], each["since"]) for each in told] == [
        ("Huawei", 1, "2026-02-28T00:00:00Z")
    ]


def test_an_incomplete_listing_says_why_and_ends_with_3(run: Run, world: World) -> None:
    store(world, 2)
    world.sandbox.always(hide_ids("record/0001.mp4"))
    ended = run("reconcile", "--app", APP)
    assert ended.code == 3
    assert "Huawei: nothing is marked gone: " in ended.out
    assert "without a name" in ended.out


def test_an_app_that_may_list_nothing_is_told_so_and_ends_with_3(run: Run, world: World) -> None:
    world.sandbox.always(answer_code(3, "no permission", action="SearchMedia"))
    ended = run("reconcile", "--app", APP)
    assert ended.code == 3
    [told] = [line for line in ended.out.splitlines() if line.startswith("App ")]
    assert told == (
        f"App {APP}, every vendor: ZEGO refuses to list: 3 no permission → ask ZEGO's support to enable SearchMedia for"
        " this AppID, or set RECONCILE_EVERY=off."
    )


def test_a_vendor_asked_for_by_name_that_the_app_does_not_use_is_told_and_needs_nobody(run: Run, world: World) -> None:
    world.sandbox.always(answer_code(4, "no such CDN", action="SearchMedia"))
    ended = run("reconcile", "--app", APP, "--vendor", "Ws")
    assert ended.code == 0
    assert f"App {APP}, Ws: ZEGO refuses to list: 4 no such CDN: the app does not seem to use Ws." in ended.out


def test_a_wrong_secret_is_told_once_with_its_fix(run: Run, world: World) -> None:
    world.sandbox.always(answer_code(7, "wrong signature"))
    ended = run("reconcile", "--app", APP)
    assert ended.code == 3
    [told] = [line for line in ended.out.splitlines() if line.startswith("App ")]
    assert told.startswith(f"App {APP}, every vendor: ZEGO refuses to list: 7 wrong signature → copy AppID and")


def test_what_since_means_is_said_once(run: Run, world: World) -> None:
    store(world, 1)
    ended = run("reconcile", "--app", APP, "--since", "2026-02-01")
    said = "Of what was made since 2026-02-01 00:00:00 UTC: nothing is marked gone."
    assert (ended.code, ended.out.count("nothing is marked gone"), said in ended.out) == (0, 1, True)


def test_a_sweep_tells_that_adopted_files_cool_off(run: Run, world: World) -> None:
    world.keep("1d")
    store(world, 3)
    run("reconcile", "--app", APP)
    said = (
        "3 more files wait for a cooling-off (of a change of rules, or of their adoption),"
        " the last until 2026-03-02 12:00:00 UTC (in a day)."
    )
    assert said in run("sweep", "--dry-run").out
    assert said in run("sweep").out


def test_a_slip_in_the_command_line_leaves_no_new_database_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new.db"
    assert main(["reconcile", "--app", "42"], environ=environment(f"sqlite:///{path}", "https://127.0.0.1/")) == 1
    assert "app 42 is not in the settings: add it, or correct --app" in capsys.readouterr().err
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--app", "42"], 1, "app 42 is not in the settings"),
        (["--vendor", "Tencnt"], 2, "Tencent"),
        (["--since", "yesterday"], 2, "Invalid value for '--since': 'yesterday'"),
        (["--since", "2027-01-01"], 2, "Invalid value for --since: 2027-01-01 00:00 UTC lies ahead"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_asked(
    run: Run, world: World, arguments: list[str], code: int, says: str
) -> None:
    ended = run("reconcile", *arguments)
    assert (ended.code, says in ended.err) == (code, True), ended.err
    assert not world.sandbox.calls


def test_it_names_the_lost_callbacks(run: Run, world: World) -> None:
    world.send("first")
    world.clock.move(days=2)
    store(world, 2)
    run("reconcile", "--app", APP)
    world.clock.move(hours=1)
    ended = run("reconcile", "--app", APP)
    assert "2 callbacks lost so far: `zego-retention doctor` tells the days." in ended.out
    told = {line["check"]: line for line in run("doctor", "--json").objects}
    assert told["lost callbacks"]["status"] == "warning"
    assert "2 callbacks of app 1234567890 never came: 2026-03-02 (1), 2026-03-01 (1)" in told["lost callbacks"]["text"]


def test_ctrl_c_ends_it_after_the_call_in_flight_and_the_next_one_goes_on(
    run: Run, world: World, database_url: str
) -> None:
    store(world, 1_500, Vendor.WANGSU)
    world.sandbox.always(answer_late(0.5))
    variables = os.environ | environment(database_url, world.sandbox.url)
    command = [sys.executable, "-m", "service", "reconcile", "--vendor", "Ws", "--vendor", "Huawei", "--app", APP]
    world.clock.time = world.clock.time.now(world.clock.time.tzinfo)
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        interrupted = threading.Event()

        def interrupt(_: Call) -> None:
            if not interrupted.is_set():
                interrupted.set()
                process.send_signal(signal.SIGINT)

        world.sandbox.on_request = interrupt
        _, err = process.communicate(timeout=60)
    world.sandbox.on_request = None
    assert process.returncode == 1
    assert "stopping after the calls in flight" in err
    assert f"app {APP}: stopped before Huawei; the next `zego-retention reconcile` reads them" in err
    told = run("reconcile", "--vendor", "Ws", "--app", APP, "--json").object
    assert (told["id"], told["state"], told["listed"]) == (1, "complete", 1_500)
