from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from service.audit.store import find_head
from service.database import Database, DatabaseUnavailable
from service.health.doctor import list_to_notify
from service.leader.store import set_progress
from service.model import FileState, Vendor
from service.notify.notifier import Notifier
from service.schedule import Cron
from service.settings import SettingsError
from service.sweep.records import Trigger
from service.sweep.store import clear_app_states
from service.worker import Worker
from tests.health.scene import APP, NOW, Scene
from tests.notify.receivers import Mailbox, Webhook, mail_server, webhook
from tests.processes import running, wait_until
from tests.world import environment, open_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EVENING = Cron("0 18 * * *", ZoneInfo("UTC"))


@dataclass
class Watch:
    """Processes that look at one database, under a clock that is set by hand."""

    scene: Scene
    hook: Webhook
    time: datetime = NOW
    tomorrow: list[datetime] = field(default_factory=list)
    _open: list[Notifier] = field(default_factory=list)

    def start(self, *, is_worker: bool = False) -> Notifier:
        """The notifier of one more process, without its thread."""
        settings = self.scene.settings
        now = lambda: self.time  # noqa: E731
        notifier = Notifier(settings, self.scene.database, partial(list_to_notify, settings), now)
        if is_worker:
            notifier._tomorrow = EVENING.last_slot, self.describe
        return notifier

    def describe(self, now: datetime) -> tuple[str, str]:
        self.tomorrow.append(now)
        return "7 files will be deleted", "place a hold"

    def pass_by(self, minutes: float, *notifiers: Notifier, leads: bool = True) -> None:
        """Let time pass, in which a worker leads, and each of them looks every half minute."""
        for _ in range(round(minutes * 2)):
            self.time += timedelta(seconds=30)
            if leads:
                self.scene.database.transact(lambda tx: set_progress(tx, renewed_at=self.time))
            for notifier in notifiers:
                notifier.look()


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as hook:
        yield hook


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with mail_server() as box:
        yield box


@pytest.fixture
def watch(database: Database, hook: Webhook) -> Watch:
    scene = Scene(
        database, variables={"NOTIFY": hook.url, "SWEEP_EVERY": "1d", "PUBLIC_URL": "https://retention.example.com"}
    )
    scene.make_well()
    return Watch(scene, hook)


def test_exactly_one_process_reports_each_finding_once_and_its_recovery_across_restarts(watch: Watch) -> None:
    watch.scene.add_app_state()
    processes = [watch.start() for _ in range(3)]
    watch.pass_by(3, *processes)
    [body] = watch.hook.bodies
    assert body.startswith(f"app {APP} has been blocked since")
    assert "→ " in body
    assert body.endswith("https://retention.example.com")
    watch.pass_by(5, watch.start(), watch.start())  # others: the state is in the database
    assert len(watch.hook.bodies) == 1

    watch.scene.database.transact(lambda tx: clear_app_states(tx, APP, Vendor.TENCENT))
    watch.pass_by(9, watch.start(), *processes)
    assert [title.partition(": ")[2] for title in watch.hook.titles] == ["1 problem", "1 over"]
    assert watch.hook.bodies[1].startswith(f"Over: app {APP} has been blocked since")
    watch.pass_by(10, watch.start())
    assert len(watch.hook.bodies) == 2


def test_a_web_process_says_that_no_worker_leads(watch: Watch) -> None:
    web = watch.start()
    watch.pass_by(1.5, web, leads=False)
    assert watch.hook.bodies == []
    watch.pass_by(4, web, leads=False)  # the last sign of life is older than the lease of two minutes by now
    [body] = watch.hook.bodies
    assert body.startswith("no worker is running: the last sign of life was at 2026-03-01 12:07 UTC")


def test_processes_that_look_at_once_send_one_message(watch: Watch) -> None:
    watch.scene.add_files(3, state=FileState.FAILED)
    watch.pass_by(0.5, watch.start())
    watch.time += timedelta(minutes=5)
    barrier = threading.Barrier(4)

    def look() -> None:
        notifier = watch.start()
        notifier.load()
        barrier.wait()
        notifier.look()

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [body] = watch.hook.bodies
    assert "3 files given up" in body


def test_a_channel_that_fails_is_retried_logged_once_and_seen_by_the_doctor(watch: Watch) -> None:
    with webhook() as other:
        watch.scene.variables["NOTIFY"] = f"{watch.hook.url}\n{other.url}"
        watch.scene.add_files(3, state=FileState.FAILED)
        other.status = 500
        notifier = watch.start(is_worker=True)
        with capture_logs() as logs:
            watch.pass_by(5, notifier)
        assert [line["event"] for line in logs if line["log_level"] == "error"] == ["not_notified"]
        assert len(watch.hook.bodies) == 2, "the other channel gets its message, and that this one fails"
        assert "nothing could be sent through json 2 since" in watch.hook.bodies[1]
        assert 3 <= len(other.posted) <= 5, "with a backoff"
        [check] = [check for check in watch.scene.troubles() if check.name == "notifications"]
        assert "json 2" in check.text
        assert "it answered 500" in check.text
        assert "notify test" in check.fix
        other.status, other.posted = 200, []
        watch.pass_by(10, notifier)
        [body] = other.bodies[:1]
        assert "3 files given up" in body
        assert len([body for body in other.bodies if "3 files given up" in body]) == 1
        assert [check for check in watch.scene.troubles() if check.name == "notifications"] == []
        said = repr(logs) + repr(watch.scene.examine())
        assert "hush-" not in said


def test_a_database_that_is_away_is_reported_from_memory_by_web_processes_only(
    sqlite_url: str, hook: Webhook, tmp_path: Path
) -> None:
    database = Database(sqlite_url)
    scene = Scene(database, variables={"NOTIFY": hook.url, "SWEEP_EVERY": "1d"})
    scene.make_well()
    watch = Watch(scene, hook)
    web, worker = watch.start(), watch.start(is_worker=True)
    watch.pass_by(1, worker, web)
    file = Path(sqlite_url.removeprefix("sqlite:///"))
    file.rename(tmp_path / "away.db")
    watch.pass_by(5, worker, web, leads=False)
    [body] = hook.bodies
    assert "cannot reach the database" in body
    (tmp_path / "away.db").rename(file)
    watch.pass_by(7, worker, web)
    assert [body.partition(":")[0] for body in hook.bodies if "cannot reach" in body][1:] == ["Over"]
    database.dispose()


def test_a_worker_says_each_evening_what_is_deleted_within_a_day_and_what_is_still_wrong(watch: Watch) -> None:
    watch.scene.add_files(3, state=FileState.FAILED)
    watch.pass_by(2, watch.start(is_worker=True))
    watch.time = NOW.replace(hour=17, minute=59)
    watch.pass_by(0.5, watch.start(), watch.start(is_worker=True))
    assert watch.tomorrow == []
    watch.pass_by(3, watch.start(is_worker=True), watch.start(is_worker=True))  # both restarted
    assert len(watch.tomorrow) == 1
    lines = watch.hook.bodies[-1].splitlines()
    assert lines[:3] == ["7 files will be deleted", "Still: 3 files given up", "→ place a hold"]
    watch.time += DAY
    watch.pass_by(1, watch.start(), watch.start(is_worker=True))
    assert len(watch.tomorrow) == 2


def test_the_digest_counts_what_a_pass_would_delete(database_url: str) -> None:
    with open_world(database_url, COOLING_OFF="1m") as world:
        world.keep("1d")
        world.add(3, prefix="soon", age=timedelta(0))
        world.add(2, prefix="later", age=timedelta(hours=-3))
        text, fix = Worker(world.service).describe_tomorrow(world.clock())
        with world.database.read() as tx:
            head = find_head(tx)
        lines = ["3 files will be deleted until 2026-03-02 12:00 UTC as things stand (everything: 3)"]
        assert text.splitlines() == [*lines, f"The head of the audit is {head}"]
        assert "hold" in fix


def test_mail_is_sent(watch: Watch, mailbox: Mailbox) -> None:
    url = f"mailto://someone:hush-password@example.com:{mailbox.port}?smtp=127.0.0.1&mode=insecure&to=ops@example.com"
    watch.scene.variables["NOTIFY"] = url
    watch.scene.add_plan()
    # (This server knows no AUTH, so it takes only what comes without a user.)
    watch.scene.variables["NOTIFY"] = url.replace("someone:hush-password@", "") + "&from=zego@example.com"
    watch.pass_by(3, watch.start())
    [mail] = mailbox.mails
    assert "zego-retention on " in mail
    assert "To: ops@example.com" in mail


def test_a_url_that_apprise_does_not_know_stops_the_start_and_is_not_repeated(watch: Watch) -> None:
    watch.scene.variables["NOTIFY"] = f"{watch.hook.url}, nosuch://hush-token"
    with pytest.raises(SettingsError, match=r"^ZEGO_RETENTION_NOTIFY: URL 2 \(nosuch://…\)") as caught:
        watch.start().load()
    assert "hush" not in str(caught.value)


def test_nothing_loads_apprise_unless_a_channel_is_set(tmp_path: Path) -> None:
    code = (
        "import sys; from service.settings import load_settings; from service.web.app import create_app;"
        "import service.worker; create_app(load_settings({'ZEGO_RETENTION_DATABASE_URL': sys.argv[1]}));"
        "sys.exit('apprise' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, f"sqlite:///{tmp_path}/z.db"], check=True)


def test_sweeps_go_on_and_are_pinged_while_a_channel_hangs_and_no_secret_is_logged(
    sqlite_url: str, hook: Webhook, tmp_path: Path
) -> None:
    hook.hangs = threading.Event()
    database = Database(sqlite_url)
    scene = Scene(database)
    scene.add_files(3, state=FileState.FAILED)
    database.dispose()
    variables = environment(
        sqlite_url,
        "http://127.0.0.1:9/",
        NOTIFY=hook.url,
        PING_URL=f"http://127.0.0.1:{hook.port}/ping/hush-uuid",
        SWEEP_EVERY="1s",
        KEEP="1d",
        LOG_LEVEL="DEBUG",
    )
    with running("notify", variables, tmp_path, "test") as test, running("worker", variables, tmp_path) as worker:
        wait_until(lambda: len(hook.pings) >= 3)
        assert worker.end() == 0
        assert set(hook.pings) == {"/ping/hush-uuid"}
        wait_until(lambda: test.process.poll() is not None)
        assert test.process.returncode == 1
        assert "json: not sent: it cannot be reached" in test.log()
        assert "hush" not in worker.log() + test.log()


def test_a_pass_that_the_breaker_stops_or_that_breaks_off_is_pinged_as_failed(database_url: str, hook: Webhook) -> None:
    ping = f"http://127.0.0.1:{hook.port}/ping"
    with open_world(database_url, PING_URL=ping, BREAKER_FILES="2", COOLING_OFF="0s") as world:
        world.keep("1d")
        run = partial(world.service.run_pass, stop=threading.Event())
        run(Trigger.SCHEDULE)
        assert hook.pings == ["/ping"]
        run(Trigger.RETRY)
        world.add(3)
        run(Trigger.SCHEDULE)
        assert hook.pings == ["/ping", "/ping/fail"]

        with world.database.write() as tx:
            tx.execute(text("ALTER TABLE plans RENAME TO elsewhere"))
        with pytest.raises(DatabaseUnavailable):
            run(Trigger.SCHEDULE)
        assert hook.pings == ["/ping", "/ping/fail", "/ping/fail"]
        with world.database.write() as tx:
            tx.execute(text("ALTER TABLE elsewhere RENAME TO plans"))
