from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from service.core.model import Vendor, Verdict
from service.core.slots import Every
from service.db.engine import Database
from service.db.inbox import find_callback
from service.db.leases import take_lease
from service.db.migrate import upgrade_database
from service.db.models import Trigger
from service.usecases.access import AppAccess
from service.usecases.claiming import SWEEP_LEASE
from service.usecases.diagnosis import Check, Status
from service.usecases.doctor import Examined, examine
from service.usecases.health import beat_worker
from service.usecases.ingest import receive_callback
from service.zego.sandbox_callbacks import cloud_recording_fields, encode_body, merge_fields, sign_fields
from service.zego.sandbox_faults import answer_code, answer_html
from tests.world import APP, CALLBACK_SECRET, START, open_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.world import World

LOOKS = ["rules", "callbacks", "worker", "sweeps", "calls", "files", "listings", "cache"]


def examined(
    world: World,
    keep: str | None = None,
    apps: tuple[str, ...] = (APP,),
    *,
    reconcile_every: timedelta | None = timedelta(hours=24),
    confirm_all: bool = False,
) -> list[Check]:
    clients = world.service.clients
    subject = Examined(
        database=world.database,
        apps=[AppAccess(app_id, app_id, world.sandbox.url, clients[app_id].search_media) for app_id in apps],
        keep=keep,
        slots=Every(timedelta(minutes=15)),
        patience=timedelta(minutes=2),
        reconcile_every=reconcile_every,
        now=world.clock,
        confirm_all=confirm_all,
    )
    return list(examine(subject))


def of(checks: list[Check], name: str) -> list[Check]:
    return [check for check in checks if check.name == name]


def one(checks: list[Check], name: str) -> Check:
    [check] = of(checks, name)
    return check


def make_well(world: World) -> None:
    world.keep("30d")
    world.sweep()
    beat_worker(world.database, "host/1", None, world.clock())


def test_where_all_is_well_every_line_is_ok(world: World) -> None:
    make_well(world)
    world.send("file")
    world.sweep(Trigger.SCHEDULE)
    checks = [check for check in examined(world) if check.name != "worker"]
    assert {check.status for check in checks} == {Status.OK}
    assert [check.name for check in checks] == [
        "database", "migrations", "rules", "callbacks", "sweeps", "calls", "files", "listings", "lost callbacks",
        "cache", f"app {APP}", "clock",
    ]  # fmt: skip


def test_it_changes_nothing(world: World) -> None:
    def dump() -> list[object]:
        tables = ("callbacks", "media_files", "rule_revisions", "runs", "leases", "gates", "paces", "attempts")
        with world.database.read() as session:
            return [session.execute(text(f"SELECT * FROM {table} ORDER BY 1")).all() for table in tables]  # noqa: S608

    world.send("file")
    before = dump()
    examined(world, keep="1d")
    assert dump() == before


def test_rules_that_delete_nothing_or_differ_from_keep_are_named(world: World) -> None:
    assert "nothing is ever deleted" in one(examined(world), "rules").text
    assert "KEEP=1d becomes the first rule set" in one(examined(world, keep="1d"), "rules").text
    world.keep("30d")
    in_force, differs = of(examined(world, keep="1d"), "rules")
    assert (in_force.status, differs.status) == (Status.OK, Status.WARNING)
    assert "KEEP=1d is not in force" in differs.text


def test_one_check_that_breaks_hides_none_of_the_others(world: World) -> None:
    make_well(world)
    with world.database.write() as session:
        session.execute(text("UPDATE rule_revisions SET rules = 'not TOML at all ['"))
    checks = examined(world)
    assert one(checks, "rules").status is Status.PROBLEM
    looks = [*LOOKS[:-1], "lost callbacks", LOOKS[-1]]
    assert [check.name for check in checks] == ["database", "migrations", *looks, f"app {APP}", "clock"]


def take_in(world: World, fields: dict[str, object]) -> None:
    signed = sign_fields(fields, secret=CALLBACK_SECRET, now=world.clock())
    receive_callback(world.service.ingest, *encode_body(signed))


def test_callbacks_of_another_product_name_the_console_field_until_it_is_corrected(world: World) -> None:
    take_in(world, cloud_recording_fields(APP))
    world.clock.move(days=1)
    take_in(world, cloud_recording_fields(APP))
    world.clock.move(days=7)
    check = one(examined(world), "callbacks")
    assert check.status is Status.WARNING
    assert check.text.startswith("2 callbacks of Cloud Recording")
    assert check.fix.startswith("in ZEGO's console this service's URL is entered under Cloud Recording's callback")
    assert "enter it under Project → Server callback → Recording file, and take it out there" in check.fix
    world.clock.move(seconds=1)
    assert one(examined(world), "callbacks").status is Status.OK


def test_callbacks_that_were_set_aside_want_a_look_after_two_days(world: World) -> None:
    take_in(world, merge_fields(APP, "https://media.invalid/1"))
    world.clock.move(days=2)
    take_in(world, merge_fields(APP, "https://media.invalid/2"))
    check = one(examined(world), "callbacks")
    assert (check.status, check.text) == (Status.OK, "2 callbacks stored, 2 set aside until the next listing")
    world.clock.move(seconds=1)
    check = one(examined(world), "callbacks")
    assert check.status is Status.WARNING
    assert check.text.startswith("2 callbacks set aside: some for more than two days")
    assert "callbacks list --verdict set_aside" in check.fix


def test_callbacks_that_want_a_look_are_counted(world: World) -> None:
    world.send("a")
    world.send("b", secret="wrong")
    world.send("c", secret="wrong")
    world.send("d", app_id="55")
    world.send("e", extra_params={})

    def forget(session: object) -> None:
        row = find_callback(session, 1)  # type: ignore[arg-type]
        assert row is not None
        row.verdict = Verdict.PENDING

    world.database.transact(forget)
    checks = of(examined(world), "callbacks")
    assert {check.status for check in checks} == {Status.WARNING}
    said = [check.text for check in checks]
    assert said[0] == "1 callback stored, not understood yet"
    assert said[1].startswith("2 callbacks refused: the signature")
    assert said[2].startswith("1 callback refused: of an app")
    assert said[3] == "1 callback authentic, but not understood"
    assert "callbacks replay --verdict forged" in checks[1].fix


def test_passes_that_stopped_are_a_problem(world: World) -> None:
    assert one(examined(world), "sweeps").status is Status.WARNING
    world.sweep()
    assert one(examined(world), "sweeps").status is Status.OK
    world.clock.move(minutes=25)
    assert one(examined(world), "sweeps").status is Status.OK
    world.clock.move(minutes=10)
    late = one(examined(world), "sweeps")
    assert late.status is Status.PROBLEM
    assert "too long ago" in late.text


def test_retries_alone_are_no_sweep(world: World) -> None:
    world.sweep(Trigger.RETRY)
    assert one(examined(world), "sweeps").text == "none has finished yet"


def test_a_worker_that_is_silent_is_named(world: World) -> None:
    silent = one(examined(world), "worker")
    assert silent.status is Status.WARNING
    assert "no worker is running" in silent.text
    beat_worker(world.database, "host/1", None, world.clock())
    assert "host/1" in one(examined(world), "worker").text


def test_what_waits_for_a_person_is_attention(world: World) -> None:
    world.keep("1d")
    world.send("bad", age=timedelta(days=2))
    world.send("stale", age=timedelta(days=2), now=world.clock() - timedelta(hours=1))
    world.sandbox.fail_file("bad", "AccessDenied")
    world.sandbox.search = False
    world.sweep()
    world.send("blocked", age=timedelta(days=2))
    world.sandbox.next(answer_code(7, action="DeleteMedia"))
    world.sweep()
    said = [check.text for check in of(examined(world), "files") if check.status is Status.ATTENTION]
    assert len(said) == 3
    assert said[0].startswith(f"app {APP} is blocked since")


def test_due_files_of_an_app_that_is_not_configured_are_attention(world: World) -> None:
    world.keep("1d")
    world.send("old", age=timedelta(days=2))
    [check] = of(examined(world, apps=()), "files")
    assert check.status is Status.ATTENTION
    assert "not in the settings" in check.text


def test_a_wrong_secret_and_a_wrong_clock_are_named(world: World) -> None:
    world.sandbox.apps = {APP: "another secret"}
    assert "copy AppID and ServerSecret again" in one(examined(world), f"app {APP}").fix
    world.sandbox.now = lambda: START + timedelta(minutes=11)
    checks = examined(world)
    assert "set this machine's clock" in one(checks, f"app {APP}").fix
    assert one(checks, "clock").status is Status.PROBLEM


def test_a_zego_that_knows_delete_only_is_a_warning(world: World) -> None:
    world.sandbox.search = False
    assert one(examined(world), f"app {APP}").status is Status.WARNING


@pytest.fixture
def sqlite_world(sqlite_url: str) -> Iterator[World]:
    with open_world(sqlite_url) as world:
        yield world


def test_an_sqlite_file_that_is_missing_is_not_created(sqlite_world: World, tmp_path: Path) -> None:
    missing = tmp_path / "sub" / "missing.db"
    checks = examined_at(sqlite_world, f"sqlite:///{missing}")
    assert one(checks, "database").status is Status.PROBLEM
    assert f"{missing} does not exist" in one(checks, "database").text
    assert [one(checks, name).status for name in LOOKS] == [Status.SKIPPED] * len(LOOKS)
    assert one(checks, f"app {APP}").status is Status.OK
    assert not missing.parent.exists()


def test_an_sqlite_file_that_cannot_be_is_a_problem(sqlite_world: World, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check = one(examined_at(sqlite_world, f"sqlite:///{tmp_path / 'file' / 'x.db'}"), "database")
    assert check.status is Status.PROBLEM
    assert "cannot be created" in check.text


def test_a_file_that_is_no_database_is_a_problem_and_the_rest_still_appears(
    sqlite_world: World, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.db"
    broken.write_text("this is a letter to my aunt, not a database" * 30)
    checks = examined_at(sqlite_world, f"sqlite:///{broken}")
    assert one(checks, "database").status is Status.PROBLEM
    assert "not a database" in one(checks, "database").text
    assert "move that file away" in one(checks, "database").fix
    assert one(checks, f"app {APP}").status is Status.OK


def test_an_sqlite_file_out_of_reach_is_told_with_the_user_who_cannot_reach_it(
    sqlite_world: World, tmp_path: Path
) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    with nobody(folder):
        check = one(examined_at(sqlite_world, f"sqlite:///{folder / 'x.db'}"), "database")
    assert check.status is Status.PROBLEM
    assert check.text.startswith(f"no permission for {folder / 'x.db'} as user ")
    assert check.fix == "run it as the user of the service"


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


def test_a_database_that_is_away_is_a_problem_without_its_password(sqlite_world: World) -> None:
    checks = examined_at(sqlite_world, "postgresql+psycopg://user:hidden@127.0.0.1:9/x")
    assert one(checks, "database").status is Status.PROBLEM
    assert not any("hidden" in check.text for check in checks)


def test_pending_migrations_are_named_and_left_pending(
    request: pytest.FixtureRequest, sqlite_world: World, tmp_path: Path
) -> None:
    (tmp_path / "empty.db").touch()
    sqlite = examined_at(sqlite_world, f"sqlite:///{tmp_path / 'empty.db'}")
    assert one(sqlite, "migrations").status is Status.WARNING
    url = request.getfixturevalue("postgres_url")
    for _ in range(2):
        checks = examined_at(sqlite_world, url)
        assert one(checks, "migrations").status is Status.PROBLEM
        assert one(checks, "migrations").fix == "run `zego-retention migrate`"


def test_a_database_that_takes_no_writes_is_a_problem(sqlite_world: World, postgres_url: str) -> None:
    database = Database(postgres_url)
    upgrade_database(database)
    with database.write() as session:
        name = database.url.database
        session.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    database.dispose()
    check = one(examined_at(sqlite_world, postgres_url), "database")
    assert check.status is Status.PROBLEM
    assert "read-only" in check.text


def test_a_pass_under_way_is_not_late(world: World) -> None:
    world.sweep()
    world.clock.move(hours=2)
    world.database.transact(
        lambda session: take_lease(session, SWEEP_LEASE, "host/2", world.clock(), timedelta(minutes=2))
    )
    with world.database.write() as session:
        session.execute(text("UPDATE runs SET state = 'running', heartbeat_at = :now"), {"now": as_stored(world)})
    assert one(examined(world), "sweeps").text == "run 1 is under way"


def as_stored(world: World) -> object:
    now = world.clock()
    return now.replace(tzinfo=None).isoformat(" ", "microseconds") if world.database.is_sqlite else now


def examined_at(world: World, url: str) -> list[Check]:
    """Look over another database in the world's surroundings."""
    database = Database(url)
    try:
        client = world.service.clients[APP]
        apps = [AppAccess(APP, APP, world.sandbox.url, client.search_media)]
        every, patience = Every(timedelta(minutes=15)), timedelta(minutes=2)
        return list(examine(Examined(database, apps, None, every, patience, None, world.clock)))
    finally:
        database.dispose()


def test_an_app_that_pauses_is_told_with_its_trouble(world: World) -> None:
    world.keep("1d")
    world.add(1)
    world.sandbox.next(answer_html(502))
    world.sweep()
    told = one(examined(world), "calls")
    assert told.status is Status.WARNING
    for words in (APP, "1 call in a row failed", "http 502", "2026-03-01T12:00"):
        assert words in told.text


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        (3, "ask ZEGO's support to enable SearchMedia for this AppID, or set RECONCILE_EVERY=off"),
        (4, "ask ZEGO's support which CDN stores"),
        (7, "copy AppID and ServerSecret again"),
        (100_000_005, "copy AppID and ServerSecret again"),
        (100_000_007, "or set RECONCILE_EVERY=off"),
    ],
)
def test_listings_that_zego_refuses_alike_are_one_line_with_the_fix(world: World, code: int, fix: str) -> None:
    world.sandbox.always(answer_code(code, "no"))
    world.reconcile()
    told = one(examined(world), "listings")
    assert told.status is Status.WARNING
    assert told.text.startswith(f"app {APP}, every vendor: ")
    assert f"ZEGO refuses to list: {code} no" in told.text
    assert "doctor" not in told.text
    assert fix in told.fix


def test_of_a_vendor_that_alone_is_refused_the_listing_is_named(world: World) -> None:
    world.add(1)
    world.sandbox.next(answer_code(4, "no"))
    world.reconcile()
    told = one(examined(world), "listings").text
    assert told == f"app {APP}, Tencent: listing 1 of 2026-03-01T12:00:00Z is incomplete: ZEGO refuses to list: 4 no"


def test_with_listings_off_old_ones_are_no_trouble(world: World) -> None:
    off = one(examined(world, reconcile_every=None), "listings")
    assert (off.status, off.text.endswith("not read by themselves (RECONCILE_EVERY=off)")) == (Status.OK, True)
    world.add(1)
    world.sandbox.next(answer_code(7, "no"))
    world.reconcile()
    off = one(examined(world, reconcile_every=None), "listings")
    assert off.status is Status.OK
    assert off.text.endswith("(RECONCILE_EVERY=off); the newest ones: Tencent incomplete, Ws complete, Huawei complete")


def test_where_every_file_waits_for_a_listing_that_does_not_come_a_person_is_told(world: World) -> None:
    assert one(examined(world, confirm_all=True), "listings").status is Status.OK
    _, told = of(examined(world, reconcile_every=None, confirm_all=True), "listings")
    assert (told.status, "CONFIRM=all, but RECONCILE_EVERY=off" in told.text) == (Status.WARNING, True)
    world.sandbox.always(answer_code(3, "no"))
    world.reconcile()
    for every in (timedelta(hours=24), None):
        _, told = of(examined(world, reconcile_every=every, confirm_all=True), "listings")
        assert (told.status, "CONFIRM=all, but ZEGO lets no vendor be listed" in told.text) == (Status.WARNING, True)
        assert "`zego-retention files confirm ID`" in told.fix


def test_files_that_go_when_they_have_cooled_off_are_counted(world: World) -> None:
    world.keep("1d")
    for number in range(3):
        world.sandbox.add_file(APP, Vendor.TENCENT, str(number), created_at=world.clock() - timedelta(days=9))
    world.reconcile(Vendor.TENCENT)
    _, told = of(examined(world), "files")
    assert told.status is Status.OK
    assert told.text == "3 files whose date has come: waiting for a cooling-off, the last until 2026-03-02T12:00:00Z"
    assert "zego-retention files list" in told.fix
