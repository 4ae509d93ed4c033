"""A leader that stood still for longer than its lease: it changes nothing any more, and ZEGO sees no request of it."""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.engine import Engine

from service.database.columns import metadata
from service.leader.leader import LeadLost
from service.rules.store import Shown, find_revision
from service.sweep.backoff import RetryPolicy
from service.sweep.record import close_open_attempts
from tests.children import be_silent, start_child
from tests.sweep.stage import APP, DAY, Stage, open_actor, open_stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

    from service.model import Vendor
    from service.zego.messages import DeleteAnswer

LEASE = timedelta(seconds=1)
POLICY = RetryPolicy(timedelta(minutes=1), timedelta(hours=6), timedelta(days=7))


def sweep_and_stop(report: Connection, url: str, sandbox_url: str, number: int, when: str) -> None:
    """A pass that comes to a standstill right after it has written down its n-th call, or recorded it."""
    be_silent()
    begins = "INSERT INTO calls" if when == "claimed" else "UPDATE calls"
    count, writer = 0, None

    def watch(_connection: object, cursor: Any, statement: str, *_: object) -> None:
        nonlocal count, writer
        count += statement.startswith(begins)
        if count == number and writer is None:
            writer = cursor.connection

    def stop(connection: object, *_: object) -> None:
        nonlocal writer
        if connection is writer:  # its own commit is done; another thread may have read something meanwhile
            writer = object()
            # To this thread: a signal to the process may reach another one first, and this one open a transaction.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

    with open_actor(url, sandbox_url) as stage:
        assert stage.leader.try_to_lead()
        event.listen(Engine, "before_cursor_execute", watch)
        event.listen(Engine, "checkin", stop)
        try:
            stage.sweep()
        except LeadLost:
            report.send("lost the lead")
        else:
            report.send("done")


def read_everything(stage: Stage) -> dict[str, list[Any]]:
    with stage.database.read() as tx:
        return {table.name: sorted(map(tuple, tx.execute(select(table))), key=repr) for table in metadata.sorted_tables}


def take_over(stage: Stage) -> None:
    """As a standby does: watch the lease run out, and close what the one before has left open."""
    deadline = time.monotonic() + 10
    while not stage.leader.try_to_lead():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    stage.leader.transact(lambda tx: close_open_attempts(tx, stage.clock(), POLICY, lambda: 0.0))


@pytest.mark.parametrize(("number", "when"), [(1, "claimed"), (3, "claimed"), (2, "recorded")])
def test_a_leader_that_wakes_up_after_its_lease_does_nothing(postgres_url: str, number: int, when: str) -> None:
    with open_stage(postgres_url, lease=LEASE) as stage:
        stage.keep("1d")
        stage.add(*[f"f{n:04}" for n in range(1_500)])
        stage.leader.release()
        child = start_child(sweep_and_stop, postgres_url, stage.sandbox.url, number, when)
        try:
            assert child.wait_until_stopped()
            take_over(stage)
            stage.hold("*", applied=True)
            calls, everything, stored = len(stage.sandbox.calls), read_everything(stage), stage.stored()
            assert len(stored) >= 250
            assert set(stage.states().values()) <= {"held", "deleted"}
            os.kill(child.pid, signal.SIGCONT)
            assert child.receive(20) == "lost the lead"
            child.wait()
        finally:
            child.end()
        assert read_everything(stage) == everything
        assert len(stage.sandbox.calls) == calls
        assert stage.stored() == stored


class SlowToConnect:
    """A way to ZEGO whose connection stands only after a while."""

    calls_per_second = 20

    def __init__(self, client: Any, meanwhile: Callable[[], object]) -> None:
        self._client, self._meanwhile = client, meanwhile

    def url_overhead(self, vendor: Vendor) -> int:
        return int(self._client.url_overhead(vendor))

    def delete_media(self, vendor: Vendor, file_ids: Sequence[str], *, may_send: Any = None) -> DeleteAnswer:
        def connected() -> bool:
            self._meanwhile()
            return bool(may_send())

        answer: DeleteAnswer = self._client.delete_media(vendor, file_ids, may_send=connected)
        return answer


def test_a_call_whose_look_is_old_is_held_back_if_an_order_came_meanwhile(database_url: str) -> None:
    """Then it leaves no trace: no attempt, no use of what a preview covers, no use of the breaker's room."""
    with open_stage(database_url) as stage:
        stage.keep("9d")
        stage.add("held", "moved", stream="held")
        stage.add("counted", stream="free", age=10 * DAY)
        revision = stage.keep("1d", preview=Shown(preview_id=1, highest_id=2, sooner_count=2))
        stage.add("free", stream="free")
        held_back: list[bool] = []

        def meanwhile() -> None:
            if not held_back:
                held_back.append(True)
                stage.hold("held")
                time.sleep(1.1)

        client: Any = SlowToConnect(stage.sweeper.apps[APP], meanwhile)
        stage.sweeper.apps = {APP: client}
        stage.sweep()
        assert stage.states() == {"held": "held", "moved": "held", "free": "deleted", "counted": "deleted"}
        assert [set(call.file_ids) for call in stage.sandbox.calls] == [{"counted", "free"}]
        assert stage.attempts("held") == []
        assert stage.file("held").last_attempt_id is None
        assert stage.attempts("free") == [("deleted", True)]
        with stage.database.read() as tx:
            used = find_revision(tx, revision)
        assert used is not None
        assert (used.moved_count, used.moved_called) == (2, 0)


def test_a_call_whose_look_is_old_is_sent_if_nothing_has_changed(sqlite_url: str) -> None:
    with open_stage(sqlite_url) as stage:
        stage.keep("1d")
        stage.add("file")
        client: Any = SlowToConnect(stage.sweeper.apps[APP], lambda: time.sleep(1.1))
        stage.sweeper.apps = {APP: client}
        stage.sweep()
        assert stage.states() == {"file": "deleted"}
        assert stage.attempts("file") == [("deleted", True)]
