"""The metrics for Prometheus: counters of this process, and figures of database and spool (docs/http.md)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from service.audit.store import list_failed_orders
from service.callbacks.spool import Spool
from service.callbacks.store import find_authentic_at
from service.database import Database, DatabaseUnavailable, Transaction
from service.files.store import count_by_state
from service.health import store
from service.health.check import Check
from service.health.checks import NO_LEADER, NO_SWEEP, check_worker
from service.health.ended import EndedCalls
from service.leader.store import find_leader
from service.listing.store import COMPLETE, ENDED, find_newest
from service.model import FileState, Verdict
from service.notify.store import read_state
from service.rules.store import find_current_number
from service.settings import Settings
from service.sweep.claim_store import count_overdue
from service.sweep.gate import list_refusals
from service.sweep.records import RunState
from service.sweep.store import count_runs, list_plans

_ANSWERS: Final = (
    *("stored", "refused", "unreadable", "too_large", "unavailable", "wrong_path", "wrong_method", "not_allowed"),
)
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_FRESH_S: Final = 10.0
_FRESH_AFTER_FAILURE_S: Final = 1.0
_LARGEST_SHARE: Final = 0.05
"""Of the time that counting may take, however large the inventory is."""

_MAX_WAIT_S: Final = 0.2

_PREFIX: Final = "zego_retention_"
_PROCESS: Final = {
    "callbacks_total": "Requests to the callback URL since this process started, by answer.",
    "callback_duration_seconds": "Seconds from a request to the callback URL until its answer.",
    "commit_duration_seconds": "Seconds that storing a batch of callbacks durably took.",
}
_APP_AND_VENDOR: Final = ("app", "vendor")
_FIGURES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "database_up": ("1 if the database answered; if 0, the figures from the database are missing.", ()),
    "files": ("Media files, by state.", ("state",)),
    "files_due": (
        "Scheduled media files whose date has come; where a rule has keep_latest, the sweep keeps the newest.",
        (),
    ),
    "files_cooling": ("Scheduled media files that are due, but wait for a cooling-off.", ()),
    "files_overdue_unconfirmed": ("Unconfirmed media files that are overdue: confirm them.", ()),
    "oldest_due_age_seconds": ("How long the scheduled media file that is most overdue has been due and known.", ()),
    "worker_leads": ("1 while a worker leads; nothing is deleted while none does.", ()),
    "sweep_missed": ("1 while a worker leads, but no sweep has started in time.", ()),
    "calls_total": ("Calls of DeleteMedia that have ended since this process started.", ("app", "code")),
    "outcomes_total": ("Files in those calls, by outcome and the vendor's code.", ("app", "outcome", "code")),
    "last_callback_timestamp_seconds": ("When the last authentic callback arrived, in Unix time.", ("app",)),
    "notify_failing": ("1 while no notification can be sent through a channel.", ("channel",)),
    "breaker_open": ("1 while the breaker stops an app until somebody approves its plan.", ("app",)),
    "deletion_refused": ("1 while nothing at all is deleted, by why: see the doctor.", ("because",)),
    "clock_skew_seconds": ("ZEGO's clock minus the worker's, as far as ZEGO has sent a time.", ()),
    "gate_blocked": ("1 while nothing is deleted for this app and vendor until somebody acts.", _APP_AND_VENDOR),
    "gate_paused": ("1 while an app backs off.", _APP_AND_VENDOR),
    "inbox_callbacks": ("Stored callbacks, by verdict.", ("verdict",)),
    "spool_callbacks": ("Callbacks that wait in the spool until the database can store them.", ()),
    "inbox_unfinished": ("Stored callbacks that are not understood yet.", ()),
    "lost_callbacks": ("Media files whose callback was lost: only a listing showed them.", ("app",)),
    "runs": ("Runs, by state.", ("state",)),
    "last_pass_finished_timestamp_seconds": ("When the last sweep (retries aside) ended, in Unix time.", ()),
    "last_listing_finished_timestamp_seconds": ("When the last complete listing ended, in Unix time.", _APP_AND_VENDOR),
    "listing_incomplete": ("1 while the newest listing of this app and vendor is not complete.", _APP_AND_VENDOR),
    "rules_revision": ("Number of the rule set in force; 0 while there is none.", ()),
    "orders_failed": ("Orders of people that could not be applied.", ()),
    "leader_renewed_timestamp_seconds": ("When the worker last gave a sign of life, in Unix time.", ()),
}

Figure = tuple[str, tuple[str, ...], float]
"""A name of `_FIGURES`, the values of its labels, and its value."""


def metric_names() -> dict[str, str]:
    """Every metric that this service exposes, with its help text."""
    texts = _PROCESS | {name: text for name, (text, _) in _FIGURES.items()}
    return {f"{_PREFIX}{name}": text for name, text in texts.items()}


class Metrics(Collector):
    """The metrics of one web process, in a registry of their own.

    Figures of the database are remembered for a while: scrapes cost it little however often and many they are. A thread
    counts them; a scrape waits `max_wait_s` for it, if there are earlier ones to show.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
        max_wait_s: float = _MAX_WAIT_S,
    ) -> None:
        self._max_wait_s = max_wait_s
        self._settings, self._ended = settings, EndedCalls()
        self._spool = Spool(database, settings.spool_dir, settings.spool_max)
        self._database, self._now, self._monotonic = database, now, monotonic
        self._lock = threading.Lock()
        self._counting: Future[None] | None = None
        self._fresh_until = 0.0
        self._figures: list[Figure] = []
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        callbacks, seconds, commits = ((f"{_PREFIX}{name}", text) for name, text in _PROCESS.items())
        self._callbacks = Counter(*callbacks, ["answer"], registry=self._registry)
        self._seconds = Histogram(*seconds, buckets=_BUCKETS, registry=self._registry)
        self._commits = Histogram(*commits, buckets=_BUCKETS, registry=self._registry)
        for answer in _ANSWERS:
            self._callbacks.labels(answer=answer)
        self._registry.register(self)

    def count_callback(self, answer: str, seconds: float) -> None:
        """Count a request to the callback URL by its answer, and how long that took."""
        self._callbacks.labels(answer=answer).inc()
        self._seconds.observe(seconds)

    def observe_commit(self, seconds: float) -> None:
        """Note how long it took to store a batch of callbacks."""
        self._commits.observe(seconds)

    def expose(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The figures of the database, as the registry asks for them."""
        families = {
            name: (CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily)(
                f"{_PREFIX}{name}", text, labels=labels
            )
            for name, (text, labels) in _FIGURES.items()
        }
        for name, labels, value in self._count():
            families[name].add_metric(labels, value)
        with suppress(OSError):
            families["spool_callbacks"].add_metric((), self._spool.count_waiting())
        yield from (family for family in families.values() if family.samples)

    def _list_ended(self) -> Iterator[Figure]:
        yield from (("calls_total", labels, count) for labels, count in self._ended.calls.items())
        yield from (("outcomes_total", labels, count) for labels, count in self._ended.outcomes.items())

    def _count(self) -> list[Figure]:
        with self._lock:
            counting = self._counting
            if (counting is None or counting.done()) and self._monotonic() >= self._fresh_until:
                counting = self._counting = Future()
                threading.Thread(target=self._count_anew, args=(counting,), name="metrics", daemon=True).start()
        if counting is not None:
            with suppress(TimeoutError):
                counting.result(self._max_wait_s if self._figures else None)
        return self._figures

    def _count_anew(self, counting: Future[None]) -> None:
        started = self._monotonic()
        try:
            with self._database.read() as tx:
                figures = [("database_up", (), 1), *_count_figures(self._settings, tx, self._now())]
                self._ended.count_on(tx)
            self._figures = [*figures, *self._list_ended()]
            fresh_s = max(_FRESH_S, (self._monotonic() - started) / _LARGEST_SHARE)
        except DatabaseUnavailable:
            self._figures, fresh_s = [("database_up", (), 0)], _FRESH_AFTER_FAILURE_S
        except Exception as error:  # noqa: BLE001  (a defect: whoever waits shows it)
            counting.set_exception(error)
            return
        self._fresh_until = self._monotonic() + fresh_s
        counting.set_result(None)


def _count_figures(settings: Settings, tx: Transaction, now: datetime) -> Iterator[Figure]:
    files, callbacks, runs = count_by_state(tx), store.count_callbacks(tx), count_runs(tx)
    yield from (("files", (state,), files.get(state, 0)) for state in FileState)
    yield from (("inbox_callbacks", (verdict,), callbacks.get(verdict, 0)) for verdict in Verdict)
    yield from (("runs", (state,), runs.get(state, 0)) for state in RunState)
    yield "inbox_unfinished", (), callbacks.get(Verdict.PENDING, 0)
    due = store.list_due(tx, now)
    yield "files_due", (), sum(each.count for each in due)
    yield "oldest_due_age_seconds", (), (now - min((each.oldest for each in due), default=now)).total_seconds()
    [finding] = check_worker(settings, tx, now)
    trouble = Check("worker", *finding).key
    yield "worker_leads", (), int(trouble != NO_LEADER)
    yield "sweep_missed", (), int(trouble == NO_SWEEP)
    for app in settings.apps:
        if (last_at := find_authentic_at(tx, app.app_id, newest=True)) is not None:
            yield "last_callback_timestamp_seconds", (app.app_id,), last_at.timestamp()
    for name, channel in read_state(tx).channels.items():
        yield "notify_failing", (name,), int(channel.failing_since is not None)
    yield "files_cooling", (), store.count_waiting(tx, now)[0]
    yield "files_overdue_unconfirmed", (), count_overdue(tx, FileState.UNCONFIRMED, now)
    yield "rules_revision", (), find_current_number(tx)
    yield "orders_failed", (), len(list_failed_orders(tx))
    yield from (("breaker_open", (plan.app_id,), 1) for plan in list_plans(tx, only_open=True))
    for state in store.list_app_states(tx, now):
        yield "gate_blocked" if state.blocked else "gate_paused", (state.app_id, state.vendor or "*"), 1
    yield from (("lost_callbacks", (app_id,), lost) for app_id, lost in store.count_lost_callbacks(tx).items())
    complete = find_newest(tx, COMPLETE)
    for app_and_vendor, listing in find_newest(tx, ENDED).items():
        yield "listing_incomplete", app_and_vendor, int(complete.get(app_and_vendor) != listing)
    yield from (("deletion_refused", (cause,), 1) for cause in list_refusals(tx, now))
    last, leader = store.find_last_sweep(tx, is_finished=True), find_leader(tx)
    if leader is not None and leader.zego_ahead_s is not None:
        yield "clock_skew_seconds", (), leader.zego_ahead_s
    moments: list[tuple[str, tuple[str, ...], datetime | None]] = [
        ("last_pass_finished", (), last.finished_at if last else None),
        ("leader_renewed", (), leader.renewed_at if leader else None),
        *(("last_listing_finished", names, listing.finished_at) for names, listing in complete.items()),
    ]
    for name, labels, moment in moments:
        if moment is not None:
            yield f"{name}_timestamp_seconds", labels, moment.timestamp()
