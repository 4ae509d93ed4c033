"""A customer's world after 30 days, the same each time: for screenshots, and for what a person reads on every page."""

from __future__ import annotations

import random
import tempfile
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from service.audit.tokens import make_token
from service.files.actions import ErasureRequest, erase_files
from service.holds.holds import place_hold, release_hold
from service.model import Actor, Role, Vendor
from service.people.people import add_person
from service.preview.apply import apply_rules
from service.preview.make import Candidate, make_preview
from service.rules.file import parse_rules
from service.sandbox import Trouble
from service.settings import load_settings
from service.sweep.records import Trigger
from service.web.app import create_app
from service.wiring import Service
from tests.console.console_scene import PASSWORD, Console
from tests.faults import FaultySandbox, answer_code
from tests.web.api_scene import ADMIN_TOKEN, Api
from tests.world import APP, CALLBACK_SECRET, OTHER_APP, SERVER_SECRET, START, Clock, World, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

SHOP = OTHER_APP
_CONFIG = """
[[apps]]
app_id = "{app_id}"
name = "{name}"
server_secret = "{secret}"
callback_secrets = ["{callback_secret}"]
api_url = "{api_url}"
"""
_APPS = {APP: "Lark Classroom", SHOP: "Lark Live Shopping", "1987650001": "Lark Meetings (new)"}
_RULES = """
[[rules]]
name = "trial lessons"
match = {{ stream = ["trial-*", "demo-*"] }}
keep = "{trial}"

[[rules]]
name = "paid lessons"
match = {{ stream = ["lesson-*", "exam-*"] }}
keep = "365d"

[[rules]]
name = "live shopping, short streams"
match = {{ app = "987654321", max_duration = "10m" }}
keep = "3d"

[[rules]]
name = "only in a listing"
match = {{ adopted = true }}
keep = "14d"

[[rules]]
name = "everything else"
keep = "21d"
keep_latest = 1
"""
_STREAMS = ("trial-{}", "lesson-{}", "room-{}", "demo-{}", "exam-2026-spring-group-{}", "town-hall")
_LONG = "lesson-grade7-mathematics-quadratic-functions-and-their-graphs-teacher-li-wei-2026-03-29-afternoon-session"
_BY = Actor("li.wei", "console")
_DAY = timedelta(days=1)


@contextmanager
def open_customer(database_url: str) -> Iterator[Console]:
    """The console on this world; the web side is a process of its own, which does not lead."""
    clock = Clock(START - 30 * _DAY)
    secrets = dict.fromkeys(_APPS, SERVER_SECRET)
    with (
        FaultySandbox(secrets, clock, calls_per_second=1_000_000) as sandbox,
        tempfile.NamedTemporaryFile("w", suffix=".toml") as config,
    ):
        given: dict[str, Any] = {"secret": SERVER_SECRET, "callback_secret": CALLBACK_SECRET, "api_url": sandbox.url}
        config.write("".join(_CONFIG.format(app_id=app_id, name=name, **given) for app_id, name in _APPS.items()))
        config.flush()
        plain = environment(database_url, sandbox.url)
        of_one_app = {f"ZEGO_RETENTION_{name}" for name in ("APP_ID", "SERVER_SECRET", "CALLBACK_SECRET", "API_URL")}
        variables = {name: value for name, value in plain.items() if name not in of_one_app} | {
            "ZEGO_RETENTION_CONFIG": config.name,
            "ZEGO_RETENTION_PUBLIC_URL": "https://retention.lark.example",
            "ZEGO_RETENTION_ADMIN_TOKEN": ADMIN_TOKEN,
            "ZEGO_RETENTION_BREAKER_FILES": "50",
            "ZEGO_RETENTION_RECONCILE_EVERY": "24h",
        }
        service = Service(
            load_settings(variables),
            now=clock,
            sleep=lambda _s: None,
            steady=lambda: clock().timestamp(),
            calls_per_second=2_000,
        )
        try:
            assert service.leader.try_to_lead()
            service.take_over()
            world = World(service, sandbox, clock)
            _live(world)
            api = Api(world, {})
            api.app = create_app(service.settings, now=clock, sleep=api.sleep)
            yield Console(api)
            api.app.extensions["zego-retention"].close()
        finally:
            service.close()


def _apply(world: World, trial: str, cooling_off: timedelta) -> None:
    """Change how long trial lessons are kept, with a preview."""
    service = world.service
    candidate = Candidate(parse_rules(_RULES.format(trial=trial)), "the console")
    given = (service.database, service.reader, candidate, _BY, cooling_off)
    preview = make_preview(*given, world.clock(), known_apps=service.app_ids)
    apply_rules(*given, world.clock, preview_id=preview.id, expect=preview.sooner_count, known_apps=service.app_ids)
    world.catch_up()


def _live(world: World) -> None:
    """Thirty days: recordings come, become due, and are deleted; then the last day, on which much happens."""
    chance, service, clock, number = random.Random(7), world.service, world.clock, 0
    for name, role in (("li.wei", Role.ADMIN), ("anna.schmidt", Role.OPERATOR), ("audit@lark.example", Role.VIEWER)):
        add_person(service.database, name, role, PASSWORD, Actor("ADMIN_TOKEN", "console"), clock())
    _apply(world, "10d", timedelta(0))
    for day in range(30):
        if day == 20:
            _hold_and_release(world)
        for _ in range(chance.randrange(8, 22)):
            number += 1
            app_id = chance.choice((APP, APP, SHOP))
            stream = chance.choice(_STREAMS).format(chance.randrange(1, 60))
            length = timedelta(minutes=chance.randrange(4, 110))
            age = timedelta(minutes=chance.randrange(1, 1000))
            began = clock() - age - length
            options: dict[str, Any] = {
                "vendor": chance.choice(list(Vendor)),
                "app_id": app_id,
                "secret": CALLBACK_SECRET,
            }
            size = int(length.total_seconds()) * 250_000
            world.announce(f"rec-{number:05}", age=age, began=began, stream=stream, size_bytes=size, **options)
        if day == 12:
            world.sandbox.troubles["rec-00050"] = Trouble("InvalidParameter.FileId", "the id is malformed")
        world.catch_up()
        world.sweep(Trigger.SCHEDULE)
        clock.move(hours=23, minutes=50 + day % 20)
    _end(world, chance)


def _hold_and_release(world: World) -> None:
    service, now = world.service, world.clock()
    given: dict[str, Any] = {"now": now, "known_apps": service.app_ids, "app_id": APP}
    place_hold(service.database, _BY, reason="case 2026/114: complaint of a parent", stream_pattern="room-1*", **given)
    until = now + 400 * _DAY
    reason = "exam board keeps these until the appeals are over"
    place_hold(service.database, _BY, reason=reason, stream_pattern="exam-2026-*", until=until, **given)
    released, _ = place_hold(service.database, _BY, reason="a mistake", stream_pattern="trial-*", **given)
    release_hold(service.database, Actor("anna.schmidt", "console"), released, now + timedelta(hours=2))
    world.clock.move(hours=3)


def _end(world: World, chance: random.Random) -> None:
    service, sandbox, clock = world.service, world.sandbox, world.clock
    secret: dict[str, Any] = {"secret": CALLBACK_SECRET}
    world.announce("rec-90001", stream=_LONG, age=2 * _DAY, size_bytes=1_900_000_000, vendor="Huawei")
    # What cannot be trusted: a conflict, one too late, and the quarantine.
    world.announce("rec-90002", stream="trial-60", age=_DAY, nonce="777")
    world.announce("rec-90002", stream="trial-61", age=_DAY, nonce="778")
    world.announce("rec-90003", stream="trial-62", age=9 * _DAY, now=clock() - timedelta(hours=3))
    for count in range(3):
        world.announce(f"rec-9001{count}", stream=f"lesson-{count}", secret="an old secret", stored=False)
    world.announce("rec-90020", stream="room-3", app_id="555000111", stored=False)
    world.announce("rec-90021", stream="room-4", event="publish", stored=False)
    # Trouble of single files, and files that no callback announced.
    for number, trouble in {
        1: Trouble("FileNotExist", "not found"),
        2: Trouble(None, times=1),
        3: Trouble("InternalError", "try again later"),
        4: Trouble("InvalidParameter.FileId", "the id is malformed"),
        5: Trouble("InvalidParameter.FileId", "the id is malformed"),
    }.items():
        file_id = f"rec-9003{number}"
        sandbox.troubles[file_id] = trouble
        world.announce(file_id, stream=f"demo-9{number}", age=12 * _DAY)
    world.announce("rec-90040", stream="demo-99", age=15 * _DAY, stored=False)
    for number in range(6):
        sandbox.add_file(APP, Vendor.HUAWEI, f"record/town-hall/{number}.mp4", created_at=clock() - number * _DAY)
    world.catch_up()
    world.sweep()
    world.reconcile()
    sandbox.next(answer_code(4, "vendor not enabled", vendor=Vendor.WANGSU, action="SearchMedia", app_id=SHOP))
    world.reconcile(Vendor.WANGSU, app_id=SHOP)
    # More than usual becomes due: the breaker stops the app. Another app is blocked.
    world.add(140, prefix="backlog", age=40 * _DAY, app_id=SHOP, stream_id="", vendor=Vendor.TENCENT)
    world.add(90, prefix="import", age=60 * _DAY, app_id=SHOP, stream_id="show-archive-2025", duration_s=300)
    world.sweep()
    with service.database.read() as tx:
        first = tx.exec_driver_sql("SELECT min(id) FROM media_files WHERE state = 'scheduled'").scalar_one()
    given: dict[str, Any] = {"now": clock(), "known_apps": service.app_ids}
    place_hold(service.database, _BY, reason="looked at by support", file=first, **given)
    request = ErasureRequest("request 4711 of a former student", files=(first + 1,))
    erase_files(service.database, _BY, request, expect=1, **given)
    make_token(service.database, "nightly report", Role.VIEWER, clock() + 90 * _DAY, _BY, clock())
    make_token(service.database, "support desk", Role.OPERATOR, None, _BY, clock())
    world.catch_up()
    _apply(world, "5d", service.settings.cooling_off)
    candidate = Candidate(parse_rules(_RULES.format(trial="2d")), "the console")
    made = (service.database, service.reader, candidate, _BY, service.settings.cooling_off)
    make_preview(*made, clock(), known_apps=service.app_ids)
    for hour in range(40):
        if chance.random() < 0.8:
            world.announce(f"rec-95{hour:03}", stream=f"lesson-{hour}", **secret)
        clock.move(minutes=17)
    world.catch_up()
    world.sweep(Trigger.SCHEDULE)
    service.leader.release()  # and lead anew: a sign of life
    assert service.leader.try_to_lead()
    service.take_over()
