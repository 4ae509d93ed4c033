"""The worker as a process: sweeps at their slots, retries at their time, leftovers once a minute (docs/worker.md)."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MISSED
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.interval import IntervalTrigger

from service.db.engine import DatabaseUnavailable
from service.db.models import Trigger
from service.lifeline import follow_lifeline
from service.logs import configure_logging
from service.setting_report import describe_settings
from service.stopping import StopSignals, stop_signals
from service.usecases.auditing import chain_entries, record_start
from service.usecases.deciding import decide_older
from service.usecases.health import beat_worker, end_beats, judge_worker
from service.usecases.ingest import finish_callbacks
from service.usecases.listing_reports import find_due_lanes
from service.usecases.policy import keep_differs
from service.usecases.pruning import Keeping, prune
from service.usecases.reconcile import reconcile_lane
from service.usecases.requesting import take_requests
from service.usecases.schedule import broke_off, find_open_slot, has_open_retries
from service.usecases.sweep import run_pass
from service.wiring import MigrationsPending, build_service, prepare_database, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from apscheduler.events import JobExecutionEvent

    from service.core.slots import Slots
    from service.settings import Settings
    from service.wiring import Clock, Service

_BEAT: Final = timedelta(seconds=10)
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_CATCH_UP: Final = timedelta(seconds=10)
_RETRIES: Final = timedelta(seconds=5)
_REQUESTS: Final = timedelta(seconds=5)
_RETRIES_AT_LEAST: Final = timedelta(seconds=1)
_TRY_DATABASE_S: Final = 3.0
_LOOK_AT_CLOCK_S: Final = 5.0

log = structlog.get_logger(__name__)


def run_worker(settings: Settings, *, now: Clock = utc_now) -> int:
    """Work until SIGTERM or SIGINT, finish the calls in flight, record them. Returns the exit code.

    A second signal ends the process at once. A database that goes away is waited for; what was under way when it did is
    repaired afterwards.
    """
    configure_logging(settings.log_format, settings.log_level)
    # Its warnings and errors are told by our listener, once.
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)
    follow_lifeline(os.environ)
    service = build_service(settings, now=now)
    try:
        with stop_signals(second_ends=True) as signals:
            if _wait_for_database(service, signals):
                Worker(service).run(signals)
    except DatabaseUnavailable as error:
        sys.stderr.write(f"zego-retention: {error}\n")
        return 1
    finally:
        service.close()
    return 0


def check_worker(service: Service) -> tuple[bool, str]:
    """Whether some worker, on whatever machine, is alive and its sweeps are in time, and that in a sentence.

    Raises:
        DatabaseUnavailable: the database cannot be asked.
    """
    settings = service.settings
    health = judge_worker(service.database, settings.sweep_slots, settings.claim_lease, service.now())
    return health.is_well, health.detail


class SlotTrigger(BaseTrigger):  # type: ignore[misc]  # the library ships no types
    """Fires at every slot."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        """The first slot after `now`: slots that were slept through are one."""
        return self._slots.next_slot(now)


class Worker:
    """The jobs of one worker process. At most one pass of this process runs at a time."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stopping = False
        self._passing = threading.Lock()
        self._stop_pass = threading.Event()
        self._stop_listing = threading.Event()
        self._fence: int | None = None
        self._troubles: Counter[str] = Counter()

    def run(self, signals: StopSignals) -> None:
        """Do the jobs until a signal comes, then wait for the calls in flight."""
        name = self._service.sweeper.name
        _guarded("record_start", self._record_start)()
        _guarded("report_keep", self._report_keep)()
        scheduler = self._schedule()
        scheduler.start()
        log.info("worker_started", worker=name, apps=len(self._service.app_ids))
        signum = self._wait(signals, scheduler)
        log.info("worker_stopping", signal=signal.Signals(signum or 0).name)
        self._stopping = True
        self._stop_pass.set()
        self._stop_listing.set()
        scheduler.shutdown(wait=True)
        self._end_beats()
        log.info("worker_stopped", worker=name)

    def _wait(self, signals: StopSignals, scheduler: BackgroundScheduler) -> int | None:
        """Wait for a signal. The scheduler lives by the clock on the wall: set back, it would stop for as long."""
        ahead = time.time() - time.monotonic()
        while True:
            signum = signals.wait(_LOOK_AT_CLOCK_S)
            if signum is not None:
                return signum
            now_ahead = time.time() - time.monotonic()
            if now_ahead < ahead - _LOOK_AT_CLOCK_S:
                log.warning("clock_set_back", seconds=round(ahead - now_ahead))
                for job in scheduler.get_jobs():
                    job.modify(next_run_time=datetime.now(UTC))
            ahead = now_ahead

    def _schedule(self) -> BackgroundScheduler:
        settings = self._service.settings
        scheduler = BackgroundScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        scheduler.add_listener(self._count_trouble, EVENT_JOB_MISSED | EVENT_JOB_ERROR)
        retries = min(_RETRIES, max(settings.retry_first / 2, _RETRIES_AT_LEAST))
        # An interval first fires one interval after the start: here every job looks at once whether it is overdue.
        now = datetime.now(UTC)
        for name, job, trigger in (
            ("beat", self._beat, _every(_BEAT)),
            ("sweep", self._sweep_slot, SlotTrigger(settings.sweep_slots)),
            ("catch_up", self._catch_up, _every(_CATCH_UP)),
            ("retries", self._sweep_retries, _every(retries)),
            ("requests", self._sweep_on_request, _every(_REQUESTS)),
            ("tidy", self._tidy, _every(_MINUTE)),
            ("chain", self._chain, _every(_MINUTE)),
            ("reconcile", self._reconcile, _every(_MINUTE)),
            ("prune", self._prune, _every(_HOUR)),
        ):
            scheduler.add_job(_guarded(name, job), trigger, id=name, next_run_time=now)
        return scheduler

    def _sweep_slot(self) -> None:
        service = self._service
        with self._one_pass(wait=True) as mine:
            slot = find_open_slot(service.database, service.settings.sweep_slots, service.now()) if mine else None
            if slot is not None:
                run_pass(service.sweeper, Trigger.SCHEDULE, slot_at=slot, stop=self._stop_pass)

    def _catch_up(self) -> None:
        service = self._service
        with self._one_pass(wait=False) as mine:
            if mine and broke_off(service.database, service.settings.claim_lease, service.now()):
                log.info("sweep_taken_up_again")
                run_pass(service.sweeper, Trigger.SCHEDULE, stop=self._stop_pass)

    def _sweep_retries(self) -> None:
        service = self._service
        with self._one_pass(wait=False) as mine:
            if mine and has_open_retries(
                service.database, service.app_ids, service.settings.claim_lease, service.now()
            ):
                run_pass(service.sweeper, Trigger.RETRY, stop=self._stop_pass)

    def _sweep_on_request(self) -> None:
        service = self._service
        with self._one_pass(wait=False) as mine:
            for request in take_requests(service.database) if mine else ():
                run_pass(service.sweeper, request.trigger, approved_run=request.approved_run, stop=self._stop_pass)

    def _tidy(self) -> None:
        service = self._service
        if finished := finish_callbacks(service.ingest):
            log.info("callbacks_finished", count=finished)
        if decided := decide_older(service.database, service.now):
            log.info("files_decided", count=decided)

    def _reconcile(self) -> None:
        service, every = self._service, self._service.settings.reconcile_every
        if every is None:
            return
        for lane in find_due_lanes(service.database, service.app_ids, every, service.now()):
            if self._stopping:
                return
            try:
                reconcile_lane(service.reconciler, lane, self._stop_listing)
            except DatabaseUnavailable:
                raise
            except Exception:  # the listings behind it are read all the same
                log.exception("listing_failed", app=lane[0], vendor=lane[1].value)

    def _chain(self) -> None:
        if linked := chain_entries(self._service.database):
            log.info("audit_chained", count=linked)

    def _prune(self) -> None:
        service, settings = self._service, self._service.settings
        keeping = Keeping(settings.inbox_keep, settings.history_keep)
        pruned = prune(service.database, keeping, service.now, lambda: self._stopping)
        if pruned.any:
            log.info(
                "pruned",
                callbacks_pruned=pruned.callbacks,
                attempts_pruned=pruned.attempts,
                calls_pruned=pruned.calls,
                runs_pruned=pruned.runs,
                listings_pruned=pruned.listings,
            )

    @contextmanager
    def _one_pass(self, *, wait: bool) -> Iterator[bool]:
        """Whether a pass may run now. A slot waits for its turn; who only looks for work comes back anyway."""
        mine = self._passing.acquire(blocking=False)
        while wait and not mine and not self._stopping:
            mine = self._passing.acquire(timeout=0.2)
        try:
            if mine:
                # A pass that loses its lease sets the event: every pass gets its own.
                self._stop_pass = threading.Event()
            yield mine and not self._stopping
        finally:
            if mine:
                self._passing.release()

    def _beat(self) -> None:
        service = self._service
        self._fence = beat_worker(service.database, service.sweeper.name, self._fence, service.now())

    def _end_beats(self) -> None:
        service = self._service
        try:
            if self._fence is not None:
                end_beats(service.database, service.sweeper.name, self._fence, service.now())
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", detail=str(error))

    def _record_start(self) -> None:
        service = self._service
        record_start(service.database, "worker", describe_settings(service.settings), service.now())

    def _report_keep(self) -> None:
        difference = keep_differs(self._service.database, self._service.settings.keep)
        if difference is not None:
            log.warning("keep_differs", detail=difference)

    def _count_trouble(self, event: JobExecutionEvent) -> None:
        kind = "missed" if event.code == EVENT_JOB_MISSED else "failed"
        self._troubles[f"{event.job_id}_{kind}"] += 1
        times = self._troubles[f"{event.job_id}_{kind}"]
        log.error("job_went_wrong", job=event.job_id, kind=kind, times=times, exc_info=event.exception)


def _wait_for_database(service: Service, signals: StopSignals) -> bool:
    """Make the database ready, waiting for one that is away; False when a signal came first.

    Raises:
        DatabaseUnavailable: waiting would not help: a migration is pending, or the file cannot be used.
    """
    while True:
        try:
            prepare_database(service)
        except MigrationsPending:
            raise
        except DatabaseUnavailable as error:
            if service.database.is_sqlite:
                raise
            log.error("database_unavailable", detail=str(error))
            if signals.wait(_TRY_DATABASE_S) is not None:
                return False
        else:
            return True


def _guarded(name: str, job: Callable[[], None]) -> Callable[[], None]:
    """A job that outlives a database that is away. Any other error is the scheduler's to tell."""

    def run() -> None:
        try:
            job()
        except DatabaseUnavailable as error:
            log.error("database_unavailable", job=name, detail=str(error))

    return run


def _every(period: timedelta) -> IntervalTrigger:
    return IntervalTrigger(seconds=period.total_seconds(), timezone=UTC)
