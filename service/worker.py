"""The worker as a process: it leads, or stands by to lead, and does the jobs of the leader (docs/operations.md)."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from service.audit.order import Order, OrderKind
from service.audit.store import finish_order, list_run_requests
from service.callbacks.pruning import prune_inbox
from service.database import DatabaseUnavailable
from service.leader.leader import LeadLost
from service.leader.store import want_lead
from service.logs import configure_logging
from service.settings import Settings
from service.stopping import StopSignals, follow_lifeline, stop_signals
from service.sweep.pruning import prune_history
from service.sweep.records import Trigger
from service.wiring import Clock, MigrationsPending, Service, build_service, prepare_database, utc_now

# How often each job looks whether there is something to do.
_TICK: Final = timedelta(seconds=0.3)
_SWEEP: Final = timedelta(seconds=1)
_RECONCILE: Final = timedelta(seconds=5)
_PRUNE: Final = timedelta(hours=1)

_TRY_DATABASE_S: Final = 3.0
_LOOK_AT_CLOCK_S: Final = 5.0

log = structlog.get_logger(__name__)


def run_worker(settings: Settings, *, now: Clock = utc_now) -> int:
    """Work until SIGTERM or SIGINT, finish the calls in flight, record them. Returns the exit code.

    A second signal ends the process at once. A database that goes away is waited for; what was under way when it did is
    repaired afterwards.
    """
    configure_logging(settings.log_format, settings.log_level)
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)  # what a job raises is logged by the job itself
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


class Worker:
    """The jobs of one worker process; those that change files do nothing while another process leads."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stop = threading.Event()

    def run(self, signals: StopSignals) -> None:
        """Do the jobs until a signal comes, then wait for the calls in flight."""
        service = self._service
        scheduler = self._schedule()
        scheduler.start()
        log.info("worker_started", worker=service.leader.name, apps=len(service.clients))
        signum = self._wait(signals, scheduler)
        log.info("worker_stopping", signal=signal.Signals(signum or 0).name)
        self._stop.set()
        scheduler.shutdown(wait=True)
        try:
            service.leader.release()
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", detail=str(error))
        log.info("worker_stopped", worker=service.leader.name)

    def tick(self) -> None:
        """Lead if nobody does; apply orders, understand callbacks, decide about files."""
        service = self._service
        if service.leader.is_ready:
            service.leader.renew()
            service.catch_up.run()
        elif service.leader.leads or service.leader.try_to_lead():  # (leads already: taking over has failed before)
            log.info("leading", worker=service.leader.name)
            service.take_over()
        else:
            service.database.transact(lambda tx: want_lead(tx, service.now()))

    def sweep(self) -> None:
        """Start what people asked for, the sweep of a slot that has come (or came while nobody led), and retries."""
        service, slots = self._service, self._service.settings.sweep_slots
        if not self._may_run:
            return
        for order in self._find_requests(OrderKind.SWEEP, OrderKind.APPROVE):
            trigger = Trigger.COMMAND if order.kind is OrderKind.SWEEP else Trigger.APPROVAL
            service.sweeper.run(trigger, self._stop, request=order.number)
        if slots is None or not self._may_run:
            return
        if service.sweeper.is_overdue(slots.last_slot(service.now())):
            service.sweeper.run(Trigger.SCHEDULE, self._stop)
        elif service.sweeper.find_due_retries():
            service.sweeper.run(Trigger.RETRY, self._stop)

    def reconcile(self) -> None:
        """Read the listings that people asked for, and those that are due."""
        service, every = self._service, self._service.settings.reconcile_every
        if not self._may_run:
            return
        for order in self._find_requests(OrderKind.RECONCILE):
            self._reconcile_on_request(order)
        for app_id, vendor in service.reconciler.find_due(every) if every is not None else ():
            if self._may_run:
                service.reconciler.run(app_id, vendor, self._stop)

    def prune(self) -> None:
        """Drop what is older than INBOX_KEEP and HISTORY_KEEP."""
        service = self._service
        inbox_keep, history_keep = service.settings.inbox_keep, service.settings.history_keep
        if service.leader.leads and inbox_keep is not None:
            prune_inbox(service.leader, service.now() - inbox_keep, self._stop)
        if service.leader.leads and history_keep is not None:
            prune_history(service.leader, service.now() - history_keep)

    def _reconcile_on_request(self, order: Order) -> None:
        service = self._service
        numbers = service.reconciler.run_request(order, self._stop)
        if self._stop.is_set():
            return  # what is cut short is not done: the next worker starts over
        service.leader.transact(lambda tx: finish_order(tx, order.number, service.now(), {"listing_ids": numbers}))

    def _find_requests(self, *kinds: OrderKind) -> list[Order]:
        with self._service.database.read() as tx:
            return [order for order in list_run_requests(tx) if order.kind in kinds]

    @property
    def _may_run(self) -> bool:
        """This process leads, has caught up, and is not about to stop."""
        return self._service.leader.is_ready and not self._stop.is_set()

    def _schedule(self) -> BackgroundScheduler:
        scheduler = BackgroundScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        jobs: list[tuple[str, Callable[[], None], timedelta]] = [
            ("tick", self.tick, _TICK),
            ("sweep", self.sweep, _SWEEP),
            ("reconcile", self.reconcile, _RECONCILE),
            ("prune", self.prune, _PRUNE),
        ]
        # An interval first fires one interval after the start: here every job looks at once whether it is overdue.
        first = datetime.now(UTC)
        for name, job, period in jobs:
            trigger = IntervalTrigger(seconds=period.total_seconds(), timezone=UTC)
            scheduler.add_job(_Guarded(name, job), trigger, id=name, next_run_time=first)
        return scheduler

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


class _Guarded:
    """A job that outlives a database that is away and the loss of the lead; each is logged once until it is over."""

    def __init__(self, name: str, job: Callable[[], None]) -> None:
        self._name = name
        self._job = job
        self._trouble = ""

    def __call__(self) -> None:
        try:
            self._job()
        except LeadLost as error:
            log.warning("lead_lost", job=self._name, detail=str(error))
        except DatabaseUnavailable as error:
            if str(error) != self._trouble:
                log.error("database_unavailable", job=self._name, detail=str(error))
            self._trouble = str(error)
        except Exception:
            log.exception("job_failed", job=self._name)
        else:
            if self._trouble:
                log.info("database_back", job=self._name)
            self._trouble = ""


def _wait_for_database(service: Service, signals: StopSignals) -> bool:
    """Make the database ready, waiting for one that is away; False when a signal came first.

    Raises:
        DatabaseUnavailable: waiting would not help: a migration is pending, or the file cannot be used.
    """
    trouble = ""
    while True:
        try:
            prepare_database(service, creates_database=True)
        except MigrationsPending:
            raise
        except DatabaseUnavailable as error:
            if service.database.is_sqlite:
                raise
            if str(error) != trouble:
                log.error("database_unavailable", detail=str(error))
            trouble = str(error)
            if signals.wait(_TRY_DATABASE_S) is not None:
                return False
        else:
            return True
