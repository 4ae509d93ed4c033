from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from service.callbacks.spool import Spool
from service.callbacks.store import NewCallback
from service.database import Database
from service.health.check import Status
from service.health.doctor import judge_room, list_to_notify
from service.leader.leader import identify_process
from service.leader.store import set_progress
from service.model import FileState, Suspicion, Vendor, Verdict
from service.wiring import open_service
from service.zego.messages import SearchAnswer, Transport
from tests.health.scene import APP, NOW, Scene, Zego, said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def scene(database: Database) -> Scene:
    scene = Scene(database)
    scene.make_well()
    return scene


@pytest.fixture
def sqlite_scene(sqlite_url: str) -> Iterator[Scene]:
    database = Database(sqlite_url)
    scene = Scene(database)
    scene.make_well()
    yield scene
    database.dispose()


def test_where_all_is_well_every_line_is_ok(scene: Scene) -> None:
    scene.add_due(since=timedelta(minutes=3))
    scene.add_callbacks(Verdict.PENDING, age=timedelta(seconds=1))
    assert scene.troubles() == []
    names = [check.name for check in scene.examine()]
    assert names == [
        *("settings", "callback URL", "database", "migrations", "spool", "rules", "callbacks", "worker", "trust"),
        *("orders", "calls", "files", "listings", "notifications", f"app {APP}", "clock"),
    ]


def scheduled(scene: Scene) -> None:
    scene.add_due(9, since=HOUR, call_after=NOW + HOUR, wait_until=NOW + HOUR, wait_reason="cooling_off")


def unconfirmed(scene: Scene) -> None:
    scene.add_files(2, state=FileState.UNCONFIRMED, suspicion=Suspicion.STALE, due_at=NOW - HOUR)


def distrusted(scene: Scene) -> None:
    with scene.database.write() as tx:
        set_progress(tx, refusals={"clock_off_zego": "the clock is 3 hours behind ZEGO's"})


CASES: list[tuple[str, Callable[[Scene], Any], Status, str, str]] = [
    (
        "failed files",
        lambda s: s.add_files(3, state=FileState.FAILED),
        Status.ATTENTION,
        "3 files given up",
        "retry ID",
    ),
    ("unconfirmed", unconfirmed, Status.ATTENTION, "2 files overdue, but unconfirmed", "confirm ID"),
    ("cooling off", scheduled, Status.NOTE, "9 files whose date has come, waiting until", "rules and holds"),
    ("not swept", lambda s: s.add_due(2), Status.ATTENTION, "no sweep has deleted them", "zego-retention sweep"),
    (
        "no such app",
        lambda s: s.add_due(app_id="42"),
        Status.ATTENTION,
        "app 42: 1 file, but the app is not in the",
        "add it",
    ),
    ("kept of no such app", lambda s: s.add_files(2, app_id="43"), Status.ATTENTION, "app 43: 2 files, but", "add it"),
    ("flagged", lambda s: s.add_files(decide_again=True), Status.WARNING, "1 file to be decided", "running worker"),
    ("distrusted", distrusted, Status.PROBLEM, "nothing is deleted: the clock is 3 hours", ""),
    ("blocked", lambda s: s.add_app_state(), Status.ATTENTION, f"app {APP} has been blocked since", "ZEGO's support"),
    ("blocked vendor", lambda s: s.add_app_state(vendor="Huawei"), Status.ATTENTION, "vendor Huawei, has", "tries one"),
    (
        "pausing",
        lambda s: s.add_app_state(vendor="Ws", blocked=False, until=NOW + HOUR),
        Status.WARNING,
        "pauses until 2026-03-01 13:07 UTC",
        "ask ZEGO",
    ),
    (
        "unreachable",
        lambda s: s.add_app_state(
            vendor="Tencent", blocked=False, until=NOW + HOUR, code="not_sent", message="refused"
        ),
        Status.WARNING,
        "1 failure, refused",
        "",
    ),
    ("a plan", lambda s: s.add_plan(), Status.ATTENTION, "the breaker stopped app", "sweep --approve 1"),
    ("failed order", lambda s: s.add_order(failure="x"), Status.ATTENTION, "could not be applied: x", "worker"),
    ("late order", lambda s: s.add_order(failure=None, age=HOUR), Status.WARNING, "not applied yet", "worker"),
    ("forged", lambda s: s.add_callbacks(Verdict.FORGED, 4), Status.WARNING, "4 callbacks refused", "--verdict forged"),
    ("strangers", lambda s: s.add_callbacks(Verdict.UNKNOWN_APP), Status.WARNING, "not configured", "unknown_app"),
    ("odd", lambda s: s.add_callbacks(Verdict.NOT_UNDERSTOOD), Status.WARNING, "not understood", "callbacks list"),
    ("misdirected", lambda s: s.add_callbacks(Verdict.MISDIRECTED), Status.WARNING, "Cloud Recording", "Project →"),
    ("pending", lambda s: s.add_callbacks(Verdict.PENDING), Status.WARNING, "not understood yet", "its log"),
    ("lost", lambda s: s.add_listing(lost=3), Status.WARNING, "3 files whose callback never arrived", "ZEGO reaches"),
    (
        "incomplete",
        lambda s: s.add_listing(state="incomplete", note="why"),
        Status.WARNING,
        "incomplete: why",
        "reconc",
    ),
    (
        "wrong path",
        lambda s: s.add_callbacks(Verdict.WRONG_PATH, 2),
        Status.WARNING,
        f"app {APP}: 2 callbacks refused: they came to another path",
        "register <where ZEGO reaches this service>/zego/callback in ZEGO's console",
    ),
    (
        "not allowed",
        lambda s: s.add_callbacks(Verdict.NOT_ALLOWED, 2, reason="it came from 192.0.2.1: if that is ZEGO, allow it"),
        Status.WARNING,
        "does not have the address that they came from (for example: it came from 192.0.2.1)",
        "restart, then `zego-retention callbacks replay --verdict not_allowed`",
    ),
    (
        "empty",
        lambda s: s.add_listing(note="it shows no file at all", missing=3),
        Status.NOTE,
        "is complete: it shows no file at all",
        "look for them in ZEGO's console",
    ),
    (
        "too many gone",
        lambda s: s.add_listing(note="9 files of 10 would be gone; raise it", listed=1, missing=9),
        Status.WARNING,
        "would be gone; raise it",
        "",
    ),
    ("dead worker", lambda s: s.lead(age=HOUR), Status.ATTENTION, "last sign of life was at 2026-03-01 11:07", ""),
]


@pytest.mark.parametrize(("arrange", "status", "says", "fix"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_what_is_not_well_is_one_line_with_its_fix(
    sqlite_scene: Scene, arrange: Callable[[Scene], Any], status: Status, says: str, fix: str
) -> None:
    arrange(sqlite_scene)
    trouble = sqlite_scene.trouble()
    assert trouble.status is status
    assert says in trouble.text
    assert fix in trouble.fix


def test_which_path_and_which_app_were_wrong_is_said(scene: Scene) -> None:
    scene.add_callbacks(Verdict.WRONG_PATH, reason="it came to the path /zego: correct the URL in ZEGO's console")
    scene.add_callbacks(Verdict.UNKNOWN_APP, app_id="42", reason="no app 42 is configured: add it to the settings")
    texts = [check.text for check in scene.troubles()]
    assert texts[0].endswith("not configured (for example: no app 42 is configured)")
    assert texts[1].endswith("another path than the callback URL's (for example: it came to the path /zego)")


def test_every_trouble_is_found_on_both_databases(scene: Scene) -> None:
    together = [case for case in CASES if case[0] != "a plan"]  # (it explains what was not swept)
    for _, arrange, *_ in together:
        arrange(scene)
    texts = [check.text for check in scene.troubles()]
    listed = ("lost", "incomplete", "empty", "too many gone")  # (only the newest listing is shown)
    assert [case[0] for case in together if not any(case[3] in text for text in texts)] == list(listed[1:3])


def test_what_the_breaker_stopped_is_reported_once(scene: Scene) -> None:
    scene.add_run()
    scene.add_due(7, since=timedelta(days=3))
    assert "no sweep has deleted them" in scene.trouble().text
    scene.add_plan()
    assert "the breaker stopped app" in scene.trouble().text


REFUSED = (Verdict.FORGED, Verdict.WRONG_PATH, Verdict.NOT_ALLOWED)


@pytest.mark.parametrize("verdict", REFUSED)
def test_what_was_refused_is_a_note_once_a_good_callback_of_the_app_has_come(scene: Scene, verdict: Verdict) -> None:
    scene.add_callbacks(verdict, 3, age=3 * HOUR)
    scene.add_callbacks(Verdict.STALE, app_id="42")
    assert scene.trouble().status is Status.WARNING
    scene.add_callbacks(Verdict.STALE, age=2 * HOUR)
    over = scene.trouble()
    assert (over.status, over.name) == (Status.NOTE, "callbacks")
    assert over.text.startswith(f"app {APP}: 3 callbacks refused")
    assert over.text.endswith("good ones have come since")
    scene.add_callbacks(verdict, age=HOUR)
    assert scene.trouble().status is Status.WARNING


OF_A_DAY = (*REFUSED, Verdict.UNKNOWN_APP, Verdict.NOT_UNDERSTOOD, Verdict.MISDIRECTED)


@pytest.mark.parametrize("verdict", OF_A_DAY)
def test_trouble_with_callbacks_is_a_note_after_a_day(sqlite_scene: Scene, verdict: Verdict) -> None:
    sqlite_scene.add_callbacks(verdict, 5, age=DAY + HOUR)
    assert sqlite_scene.trouble().status is Status.NOTE
    sqlite_scene.add_callbacks(verdict, age=DAY - HOUR)
    assert sqlite_scene.trouble().status is Status.WARNING
    assert "6 callbacks" in sqlite_scene.trouble().text


def test_lost_callbacks_are_a_note_once_a_day_has_passed(sqlite_scene: Scene) -> None:
    sqlite_scene.add_listing(id=-1, lost=2, started_at=NOW - 2 * DAY)
    assert sqlite_scene.trouble().status is Status.NOTE


def test_an_app_that_no_callback_has_come_from_is_named_with_the_url(database: Database) -> None:
    scene = Scene(database, variables={"PUBLIC_URL": "https://keep.example.com"})
    scene.make_well()
    with database.write() as tx:
        at = f"{NOW - 30 * DAY:%Y-%m-%d %H:%M:%S}"
        tx.execute(text("UPDATE callbacks SET verdict = 'forged', received_at = :at"), {"at": at})
    trouble = scene.trouble()
    assert (trouble.status, trouble.text) == (Status.NOTE, f"app {APP}: no callback has arrived yet")
    assert trouble.fix.startswith("register https://keep.example.com/zego/callback in ZEGO's console")


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        ("3", "ask ZEGO's support to enable"),
        ("4", "ask ZEGO's support which CDN"),
        ("5", "ask ZEGO's support to enable"),
        ("7", "copy AppID and ServerSecret again"),
        ("8", "ask ZEGO's support to enable"),
        ("100000004", "set this machine's clock"),
        ("100000016", "is_test"),
        ("100000099", "ZEGO_RETENTION_API_URL"),
    ],
)
def test_a_blocked_app_is_named_with_what_helps(sqlite_scene: Scene, code: str, fix: str) -> None:
    sqlite_scene.add_app_state(code=code)
    assert fix in sqlite_scene.trouble().fix
    assert sqlite_scene.trouble().fix.endswith("; the next sweep tries one file")


NOTHING: list[tuple[str, Callable[[Scene], Any]]] = [
    ("a pause that is over", lambda s: s.add_app_state(blocked=False, until=NOW - HOUR)),
    ("callbacks refused long ago", lambda s: s.add_callbacks(Verdict.FORGED, age=8 * DAY)),
    ("callbacks lost long ago", lambda s: s.add_listing(lost=1, id=-1, started_at=NOW - 8 * DAY)),
    ("an unconfirmed file before its date", lambda s: s.add_files(state=FileState.UNCONFIRMED, due_at=NOW + HOUR)),
    ("an old file that came just now", lambda s: s.add_due(since=9 * DAY, received_at=NOW)),
    ("a retry that waits", lambda s: s.add_due(call_after=NOW + HOUR, wait_reason="retry")),
    ("a listing in progress", lambda s: s.add_listing(state="running", finished_at=None)),
    ("a run in progress since long", lambda s: s.add_run(state="running", started_at=NOW - DAY, finished_at=None)),
    ("an order of this moment", lambda s: s.add_order(failure=None)),
]


@pytest.mark.parametrize("arrange", [pytest.param(case[1], id=case[0]) for case in NOTHING])
def test_what_needs_nobody_is_ok(sqlite_scene: Scene, arrange: Callable[[Scene], Any]) -> None:
    arrange(sqlite_scene)
    assert sqlite_scene.troubles() == []


def test_a_worker_is_named_dead_at_once_on_its_own_machine(scene: Scene) -> None:
    scene.lead(process=identify_process() | {"pid": 2**22 + 1})
    assert scene.trouble().text.startswith("no worker is running")


def test_a_command_that_leads_for_a_moment_is_no_worker(sqlite_scene: Scene) -> None:
    command = open_service(sqlite_scene.settings, now=lambda: NOW)
    sqlite_scene.lead(command.leader.name)
    assert sqlite_scene.trouble().text.startswith("no worker is running")
    command.close()


def test_a_worker_whose_sweeps_do_not_start_is_named(database: Database) -> None:
    scene = Scene(database)
    scene.make_well()
    with database.write() as tx:
        tx.execute(text("UPDATE runs SET trigger = 'retry'"))
    assert "no sweep has started yet" in scene.trouble().text
    scene.add_run(started_at=NOW - HOUR)
    assert "the last sweep began at 2026-03-01 11:07 UTC, too long ago" in scene.trouble().text


def test_an_empty_database_says_what_to_do_first(database: Database) -> None:
    troubles = {check.name: check for check in Scene(database).troubles()}
    assert set(troubles) == {"rules", "callbacks", "worker", "listings"}
    assert troubles["rules"].text == "none are in force, so nothing is ever deleted"
    assert "zego-retention worker" in troubles["worker"].text
    waiting = {check.name: check for check in Scene(database, variables={"KEEP": "1d"}).troubles()}
    assert "ZEGO_RETENTION_KEEP=1d becomes the first rule set" in waiting["rules"].text
    assert waiting["rules"].fix.startswith("start ")
    running = Scene(database, variables={"KEEP": "1d"})
    running.lead()
    assert "restart it" in next(check.fix for check in running.troubles() if check.name == "rules")


def test_adopted_files_under_keep_wait_for_a_person(database: Database) -> None:
    scene = Scene(database, variables={"KEEP": "30d"})
    scene.keep("30d", by_person=False)
    scene.lead()
    scene.add_run()
    scene.add_listing()
    scene.add_callbacks(Verdict.ACCEPTED)
    assert scene.troubles() == []
    scene.add_files(5, event="")
    trouble = scene.trouble()
    assert (trouble.status, trouble.name) == (Status.ATTENTION, "rules")
    assert trouble.text.startswith("5 files that only a listing shows")
    scene.variables["KEEP"] = "7d"
    assert any("ZEGO_RETENTION_KEEP=7d is not in force" in check.text for check in scene.troubles())


def test_sweeps_that_are_off_say_what_would_be_deleted_by_now(scene: Scene) -> None:
    scene.variables["SWEEP_EVERY"] = "off"
    assert scene.troubles() == []
    scene.add_due(7, since=timedelta(seconds=1))
    assert scene.trouble().text == f"app {APP}: 7 files whose date has come; sweeps are off, so they stay"


def test_a_channel_with_which_the_service_does_not_start_is_a_problem(scene: Scene) -> None:
    scene.variables["NOTIFY"] = "foo://hush"
    [trouble] = [check for check in scene.examine() if check.name == "settings" and check.status is Status.PROBLEM]
    assert "is none that Apprise takes" in trouble.text
    assert "hush" not in trouble.text


def test_whether_the_worker_sends_notifications_is_said_where_they_are_off(scene: Scene) -> None:
    def find() -> list[str]:
        checks = scene.examine()
        assert [check.status for check in checks if check.name == "worker"] == [Status.OK]
        return [check.text for check in checks if check.name == "notifications"]

    assert find() == ["off here (ZEGO_RETENTION_NOTIFY); a worker with other settings may send"]
    worker_has = scene.settings.write_down()
    scene.lead(process=identify_process() | {"settings": worker_has | {"notify": "off"}})
    assert find() == ["off here (ZEGO_RETENTION_NOTIFY)"]
    scene.lead(process=identify_process() | {"settings": worker_has | {"notify": "on"}})
    assert find() == ["off here (ZEGO_RETENTION_NOTIFY), on in the service"]


def test_a_callback_url_that_is_not_the_services_is_not_said_to_be_the_one_to_register(scene: Scene) -> None:
    worker_has = scene.settings.write_down() | {"callback": scene.settings.callback_mark}
    scene.lead(process=identify_process() | {"settings": worker_has})
    assert not [check for check in scene.examine() if "CALLBACK_TOKEN" in check.text]
    scene.variables["CALLBACK_TOKEN"] = "0123456789abcdef0123"
    [check] = [check for check in scene.examine() if "CALLBACK_TOKEN than is set here" in check.text]
    assert (check.status, check.fix.startswith("run `zego-retention doctor` with")) == (Status.WARNING, True)


def test_a_shell_with_another_callback_secret_than_the_worker_is_pointed_out(scene: Scene) -> None:
    worker_has = scene.settings.write_down() | {"secrets": scene.settings.secrets_mark}
    scene.lead(process=identify_process() | {"settings": worker_has})
    assert not [check for check in scene.examine() if "callback secrets than" in check.text]
    scene.variables["CALLBACK_SECRET"] = "another-secret"
    [check] = [check for check in scene.examine() if "callback secrets than" in check.text]
    assert (check.status, "restart both" in check.fix) == (Status.WARNING, True)


def test_the_settings_are_those_of_the_worker(scene: Scene) -> None:
    scene.variables |= {"SWEEP_EVERY": "off", "CONFIRM": "all"}
    worker_has = scene.settings.write_down()
    scene.lead(process=identify_process() | {"settings": worker_has | {"sweep_every": "10s", "cooling_off": "7d"}})
    worker = [check for check in scene.examine() if check.name == "worker"]
    assert [check.status for check in worker] == [Status.ATTENTION, Status.WARNING], "too late for one every 10s"
    assert "too long ago" in worker[0].text
    assert "other settings than those here: COOLING_OFF 7d / 1d, SWEEP_EVERY 10s / off" in worker[1].text
    scene.add_due(7, since=timedelta(minutes=5))
    assert any("no sweep has deleted them" in check.text for check in scene.troubles())
    scene.lead(process=identify_process() | {"settings": worker_has})
    assert any("7 files whose date has come; sweeps are off, so they stay" in check.text for check in scene.troubles())
    del scene.variables["SWEEP_EVERY"], scene.variables["CONFIRM"]
    scene.variables["RECONCILE_EVERY"] = "off"
    texts = [check.text for check in scene.troubles()]
    assert any("CONFIRM all / off, SWEEP_EVERY off / 15m" in text for text in texts)
    assert any("7 files whose date has come; sweeps are off, so they stay" in text for text in texts)
    assert any("so no listing ever confirms a file" in text for text in texts)


def test_listings_that_are_overdue_or_off_are_named(scene: Scene) -> None:
    scene.variables["RECONCILE_EVERY"] = "1h"
    with scene.database.write() as tx:
        tx.execute(text("UPDATE listings SET started_at = :at WHERE vendor = 'Ws'"), {"at": "2026-03-01 09:00:00"})
    assert "vendor Ws: overdue, the last began at 2026-03-01 09:00 UTC" in scene.trouble().text
    scene.variables["RECONCILE_EVERY"] = "off"
    assert scene.troubles() == []
    scene.variables["CONFIRM"] = "all"
    assert "so no listing ever confirms a file" in scene.trouble().text


@pytest.mark.parametrize(
    ("answer", "status", "says", "fix"),
    [
        (said(7, "signature"), Status.PROBLEM, "code 7 signature", "copy AppID and ServerSecret again"),
        (said(100_000_004), Status.PROBLEM, "code 100000004", "set this machine's clock"),
        (said(100_000_099), Status.PROBLEM, "code 100000099", "ZEGO_RETENTION_API_URL"),
        (said(100_000_007), Status.WARNING, "cannot be tried", "the first sweep"),
        (said(3), Status.PROBLEM, "ZEGO refuses every vendor (Tencent: code 3, Ws: code 3, Huawei: code 3)", "enable"),
        (said(6), Status.WARNING, "busy", "in a minute"),
        (said(None, http_status=502), Status.PROBLEM, "HTTP 502", "ZEGO_RETENTION_API_URL"),
        (said(1000, "inner"), Status.WARNING, "code 1000 inner", "ask ZEGO"),
        (
            SearchAnswer(Transport.NOT_SENT, message="no way", date=NOW),
            Status.PROBLEM,
            "cannot be reached: no way",
            "let",
        ),
    ],
)
def test_each_answer_of_zego_has_a_meaning(
    sqlite_scene: Scene, answer: SearchAnswer, status: Status, says: str, fix: str
) -> None:
    sqlite_scene.zego = Zego(answer)
    trouble = sqlite_scene.trouble()
    assert (trouble.name, trouble.status) == (f"app {APP}", status)
    assert says in trouble.text
    assert fix in trouble.fix


def test_one_vendor_that_an_app_does_not_use_is_no_trouble(sqlite_scene: Scene) -> None:
    sqlite_scene.zego = Zego(by_vendor={Vendor.TENCENT: said(4)})
    assert sqlite_scene.troubles() == []


@pytest.mark.parametrize(
    ("ahead", "status", "says"),
    [
        (timedelta(seconds=59), Status.OK, "within 59 s"),
        (timedelta(seconds=61), Status.WARNING, "61 s behind ZEGO's"),
        (timedelta(seconds=-601), Status.PROBLEM, "601 s ahead of ZEGO's"),
        (None, Status.SKIPPED, "ZEGO sent no time"),
    ],
)
def test_the_clock_is_compared_with_zegos(
    sqlite_scene: Scene, ahead: timedelta | None, status: Status, says: str
) -> None:
    sqlite_scene.zego = Zego(said(0, date=None if ahead is None else NOW + ahead))
    clock = sqlite_scene.examine()[-1]
    assert (clock.name, clock.status) == ("clock", status)
    assert says in clock.text


def test_a_database_that_does_not_exist_is_named_and_not_created(tmp_path: Path) -> None:
    path = tmp_path / "none" / "x.db"
    checks = Scene(Database(f"sqlite:///{path}")).examine()
    [database] = [check for check in checks if check.name == "database"]
    assert (database.status, database.text) == (Status.PROBLEM, f"{path} does not exist")
    assert database.fix.startswith("if it was there before, put it back")
    skipped = [check.name for check in checks if check.status is Status.SKIPPED]
    assert skipped == [
        *("rules", "callbacks", "worker", "trust", "orders", "calls", "files", "listings", "notifications")
    ]
    assert checks[-2].name == f"app {APP}"
    assert not path.parent.exists()


def test_pending_migrations_are_named(scene: Scene) -> None:
    with scene.database.write() as tx:
        tx.execute(text("UPDATE zego_retention_version SET version_num = 'zego0001'"))
    migrations = scene.troubles()[0]
    assert (migrations.name, migrations.fix) == ("migrations", "run `zego-retention migrate`")
    assert migrations.status is (Status.WARNING if scene.database.is_sqlite else Status.PROBLEM)


def test_an_empty_database_may_be_a_lost_one(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    if database.path is not None:
        database.path.touch()
    found = Scene(database).troubles()[0]
    assert (found.name, found.status) == ("database", Status.PROBLEM)
    assert found.text.endswith("is empty")
    assert "if it should hold data, stop every process and put a backup in its place" in found.fix
    assert database.path is None or database.path.stat().st_size == 0, "the doctor changes nothing"
    database.dispose()


def test_a_newer_schema_is_named_without_wrong_advice(scene: Scene) -> None:
    with scene.database.write() as tx:
        tx.execute(text("UPDATE zego_retention_version SET version_num = 'future'"))
    trouble = scene.troubles()[0]
    assert (trouble.status, trouble.fix) == (Status.PROBLEM, "")
    assert "upgrade this program" in trouble.text
    assert "migrate`" not in trouble.text


@pytest.mark.parametrize("content", [b"no database" * 100, None])
def test_a_file_that_cannot_be_used_hides_no_other_check(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.db"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    checks = Scene(Database(f"sqlite:///{path}")).examine()
    [database] = [check for check in checks if check.name == "database"]
    assert database.status is Status.PROBLEM
    assert "ZEGO_RETENTION_DATABASE_URL" in database.text + database.fix
    assert checks[-1].name == "clock"


def test_a_server_that_is_away_is_named_without_its_password() -> None:
    checks = Scene(Database("postgresql+psycopg://ann:hush@127.0.0.1:9/name")).examine()
    [database] = [check for check in checks if check.name == "database"]
    assert database.status is Status.PROBLEM
    assert "127.0.0.1:9/name" in database.text
    assert "hush" not in database.text


def test_a_database_that_takes_no_writes_is_a_problem(scene: Scene) -> None:
    with scene.database.write() as tx:
        tx.execute(text("DROP TABLE readiness"))
    assert [check.name for check in scene.troubles() if check.status is Status.PROBLEM] == ["database"]


@pytest.mark.parametrize(("free", "statuses"), [(10**8, []), (10**8 - 1, ["warning"]), (10**6 - 1, ["problem"])])
def test_a_disk_that_is_nearly_full_is_named(free: int, statuses: list[str]) -> None:
    checks = list(judge_room(Path("/data/x.db"), free))
    assert [check.status for check in checks] == statuses
    assert all("/data/x.db" in check.text for check in checks)


def test_writable_is_what_can_grow(sqlite_scene: Scene) -> None:
    """As where the disk is full but for what the database has taken already."""
    assert "ok database" in examine_with_room(sqlite_scene, 10_000_000)
    said = examine_with_room(sqlite_scene, 60_000)
    assert "problem database" in said
    assert "ok database" not in said
    with sqlite_scene.database.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM readiness WHERE slot < 0")).scalar_one() == 0


def examine_with_room(scene: Scene, limit: int) -> str:
    """What the doctor finds in a process that may let the database's log grow by so many bytes."""
    limit += Path(f"{scene.database.path}-wal").stat().st_size
    code = (
        "import os, resource; from service.database import Database; from service.health.doctor import examine;"
        "from service.settings import load_settings; from datetime import UTC, datetime;"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
        "url = os.environ['URL']; settings = load_settings({'ZEGO_RETENTION_DATABASE_URL': url});"
        "found = examine(settings, Database(url), {}, lambda: datetime.now(UTC));"
        "print(*(f'{check.status} {check.name}' for check in found), sep='; ')"
    )
    url = scene.database.url.render_as_string()
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"URL": url}, capture_output=True, check=True)
    return done.stdout.decode()


def test_what_waits_in_the_spool_and_what_is_wrong_with_it_is_said(sqlite_scene: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "callbacks"
    sqlite_scene.variables = {"SPOOL_DIR": str(folder)}
    spool = Spool(sqlite_scene.database, folder, 10_000)
    assert sqlite_scene.troubles() == []
    spool.append([NewCallback("a" * 40, APP, "content", b"{}", "application/json", "record", NOW)], "a test")
    waiting = sqlite_scene.trouble()
    assert (waiting.name, waiting.status) == ("spool", Status.ATTENTION)
    assert f"1 callback not stored yet in the spool {folder}; no sweep starts" in waiting.text
    spool.store()
    assert sqlite_scene.troubles() == []
    (folder / "zego-retention.db-1-ab.rejected").touch()
    (folder / "elsewhere-1-ab.journal").touch()
    assert [(each.name, each.status) for each in sqlite_scene.troubles()] == [
        ("spool", Status.NOTE),
        ("spool", Status.ATTENTION),
    ]
    (tmp_path / "file").touch()
    sqlite_scene.variables = {"SPOOL_DIR": str(tmp_path / "file" / "spool")}
    unusable = sqlite_scene.trouble()
    assert unusable.status is Status.WARNING
    assert "lost after 62 s" in unusable.text
    sqlite_scene.variables = {"SPOOL_DIR": "/proc/nope"}
    assert "this user cannot write to /proc: " in sqlite_scene.trouble().text, "which looks writable for root"
    sqlite_scene.variables = {"SPOOL_DIR": "off"}
    assert sqlite_scene.troubles() == []


def test_one_check_that_breaks_hides_none_of_the_others(scene: Scene) -> None:
    scene.add_app_state()
    with scene.database.write() as tx:
        tx.execute(text("ALTER TABLE listings RENAME TO elsewhere"))
    troubles = {check.name: check.status for check in scene.troubles()}
    assert troubles == {"callbacks": Status.PROBLEM, "calls": Status.ATTENTION, "listings": Status.PROBLEM}


def test_without_apps_nothing_is_received(sqlite_url: str) -> None:
    variables = {"APP_ID": "", "SERVER_SECRET": "", "CALLBACK_SECRET": ""}
    settings = Scene(Database(sqlite_url), variables=variables).examine()[0]
    assert settings.status is Status.PROBLEM
    assert "ZEGO_RETENTION_CALLBACK_SECRET" in settings.fix


def keys(scene: Scene) -> set[str]:
    with scene.database.read() as tx:
        return {finding.key for finding in list_to_notify(scene.settings, tx, NOW)}


@pytest.mark.parametrize(
    ("ages", "is_silent"),
    [
        (range(240, 36, -12), True),  # every 12 hours, the last 48 hours ago
        (range(240, 30, -12), False),  # 36 hours ago: three times as long, not longer
        ([*range(300, 167, -12), 106], False),  # a weekend of 62 hours is usual
        (range(144, 95, -12), False),  # two days are too short to know what is usual
        ([1_200, *range(480, 36, -12)], True),  # a long gap, but weeks ago
        (range(204, 4, -1), False),  # every hour, the last 5 hours ago
        (range(204, 6, -1), True),
        ([], False),
    ],
)
def test_no_callback_for_longer_than_usual_is_noticed(scene: Scene, ages: Sequence[int], *, is_silent: bool) -> None:
    with scene.database.write() as tx:
        tx.execute(text("DELETE FROM callbacks"))
    scene.add_callbacks_of([timedelta(hours=age) for age in ages])
    assert (f"no callback {APP}" in keys(scene)) == is_silent
    texts = [check.text for check in scene.troubles() if "longer than usual" in check.text]
    assert len(texts) == is_silent


def test_adopted_files_are_announced_a_day_before_they_are_deleted(scene: Scene) -> None:
    for hours in (-1, 5, 23, 25):
        moment = NOW + timedelta(hours=hours)
        scene.add_files(event="", state=FileState.SCHEDULED, due_at=moment, call_after=moment)
        scene.add_files(state=FileState.SCHEDULED, due_at=moment, call_after=moment)
    [check] = [check for check in scene.troubles() if check.key == "adopted files"]
    assert check.status is Status.NOTE
    assert check.text.startswith(
        "2 files that only a listing shows, to be deleted within a day, the first at 2026-03-01 17"
    )


def test_rules_that_cool_off_are_noticed_until_they_no_longer_do(scene: Scene) -> None:
    scene.keep("7d", cooling_off=DAY, revision=2)
    assert scene.troubles() == [], "nothing waits for it"
    waits = {"wait_until": NOW + DAY, "wait_reason": "cooling_off", "call_after": NOW + DAY}
    scene.add_files(3, state=FileState.SCHEDULED, due_at=NOW + HOUR, revision=2, **waits)
    check = scene.trouble()
    assert (check.status, check.key) == (Status.NOTE, "cooling-off 2")
    assert check.text == "revision 2 by a tester is cooling off until 2026-03-02 12:07 UTC; due sooner by it: 3 files"
    assert check.fix.endswith("`zego-retention rules rollback 1`")
    with scene.database.write() as tx:
        # The others stay for their rank.
        tx.exec_driver_sql("UPDATE rule_revisions SET preview_id = 1, moved_count = 1")
    assert scene.trouble().text.endswith("due sooner by it: 1 file")
    with scene.database.write() as tx:
        tx.exec_driver_sql("UPDATE rule_revisions SET moved_count = 0")  # rules that were taken back
    assert scene.troubles() == []


def test_what_people_are_notified_of_has_keys_that_do_not_change_with_numbers(scene: Scene) -> None:
    scene.add_files(3, state=FileState.FAILED)
    scene.add_plan()
    scene.add_app_state(vendor="Huawei")
    scene.add_listing(lost=2)
    before = keys(scene)
    assert before == {"failed files", f"breaker {APP}", f"blocked {APP} Huawei", f"lost callbacks {APP}"}
    scene.add_files(4, state=FileState.FAILED)
    scene.add_listing(lost=5)
    assert keys(scene) == before
