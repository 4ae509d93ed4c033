from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from service.core.model import Vendor
from service.zego.sandbox_faults import answer_code, answer_late, hide_ids
from tests.world import APP, environment

if TYPE_CHECKING:
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
    assert "3 files adopted: the rules decide them like any other; none is called before" in ended.out
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
    assert "ZEGO refuses to list: 3 no permission" in ended.out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--app", "42"], 1, "app 42 is not in the settings"),
        (["--vendor", "Tencnt"], 2, "Tencent"),
        (["--since", "yesterday"], 2, "yesterday"),
        (["--since", "2027-01-01"], 2, "lies ahead"),
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
    store(world, 1_500)
    world.sandbox.always(answer_late(0.5))
    variables = os.environ | environment(database_url, world.sandbox.url)
    command = [sys.executable, "-m", "service", "reconcile", "--vendor", "Huawei", "--app", APP]
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
    told = run("reconcile", "--vendor", "Huawei", "--app", APP, "--json").object
    assert (told["id"], told["state"], told["listed"]) == (1, "complete", 1_500)
