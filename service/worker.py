"""The worker as a process: it leads, or stands by to lead, and does the jobs of the leader (docs/operations.md)."""

from __future__ import annotations

import logging
import os
import signal
import threading
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, JobExecutionEvent
from apscheduler.schedulers.background import BackgroundScheduler

from service.audit.order import Order, OrderKind
from service.audit.store import Head, find_head, finish_order, list_run_requests
from service.callbacks.understanding import prune_inbox
from service.database import DatabaseUnavailable, Transaction, UnfitDatabase
from service.files.policy import PolicyReader
from service.health.checks import describe_waiting
from service.leader.leader import LeadLost
from service.leader.store import find_leader, set_progress
from service.schedule import Cron
from service.settings import Settings
from service.stopping import StopSignals, follow_lifeline, stop_signals
from service.sweep.dry_run import DryRun, dry_run
from service.sweep.records import Trigger
from service.sweep.store import find_last_schedule, prune_history
from service.sweep.trust import MAX_OFF
from service.units import count_of, describe_moment
from service.wiring import Clock, Service, utc_now

_TRY_DATABASE_S: Final = 3.0
_LOOK_AT_CLOCK_S: Final = 5.0
_EVENING: Final = "0 18 * * *"
_AHEAD: Final = timedelta(days=1)

log = structlog.get_logger(__name__)


def run_worker(settings: Settings, *, now: Clock = utc_now) -> None:
    """Work until SIGTERM or SIGINT, finish the calls in flight, record them.

    A second signal ends the process at once. A database that goes away is waited for; what was under way when it did is
    repaired afterwards.
    """
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)  # what a job raises is logged by the worker itself
    follow_lifeline(os.environ)
    service = Service(settings, now=now)
    marks = {"callback": settings.callback_mark, "secrets": settings.secrets_mark}
    service.leader.settings = settings.write_down() | marks | {"notify": "on" if settings.notify else "off"}
    try:
        with stop_signals(second_ends=True) as signals:
            if _wait_for_database(service, signals):
                Worker(service).run(signals)
    finally:
        service.close()


class Worker:
    """The jobs of one worker process; those that change files do nothing while another process leads."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stop = threading.Event()
        self._away: set[str] = set()  # the jobs that the database failed
        self._defects: dict[str, str] = {}
        self._evening: datetime | None = None
        self._stands_by = False

    def run(self, signals: StopSignals) -> None:
        """Do the jobs until a signal comes, then wait for the calls in flight."""
        leader = self._service.leader
        scheduler = BackgroundScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        scheduler.add_listener(self._report, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)
        # How often each job looks whether there is something to do; the first time at once, as it may be overdue.
        for job, seconds in (
            (self.tick, 0.3),
            (self.sweep, 1),
            (self.reconcile, 5),
            (self.announce, 30),
            (self.prune, 3_600),
        ):
            scheduler.add_job(job, "interval", seconds=seconds, id=job.__name__, next_run_time=datetime.now(UTC))
        scheduler.start()
        self._service.notifier.start(self._find_evening, self.describe_tomorrow)
        log.info("worker_started", worker=leader.name, apps=len(self._service.clients))
        signum = self._wait(signals, scheduler)
        log.info("worker_stopping", signal=signal.Signals(signum).name)
        self._stop.set()
        scheduler.shutdown(wait=True)
        try:
            leader.release()
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", detail=str(error))
        log.info("worker_stopped", worker=leader.name)

    def tick(self) -> None:
        """Lead if nobody does; apply orders, understand callbacks, decide about files."""
        service = self._service
        if service.leader.is_ready:
            service.leader.renew()
            service.catch_up.run()
        elif service.leader.leads or service.leader.try_to_lead():  # (leads already: taking over has failed before)
            log.info("leading", worker=service.leader.name)
            self._stands_by = False
            service.take_over()
            self._report_waiting()
        else:
            service.database.transact(self._stand_by)

    def _stand_by(self, tx: Transaction) -> None:
        set_progress(tx, wanted_at=self._service.now())
        if not self._stands_by and (leader := find_leader(tx)):
            log.info("standing_by", worker=self._service.leader.name, leader=leader.holder)
            self._stands_by = True

    def sweep(self) -> None:
        """Start what people asked for, the sweep of a slot that has come (or came while nobody led), and retries."""
        service, slots = self._service, self._service.settings.sweep_slots
        for order in self._find_requests(OrderKind.SWEEP, OrderKind.APPROVE):
            trigger = Trigger.COMMAND if order.kind is OrderKind.SWEEP else Trigger.APPROVAL
            service.run_pass(trigger, self._stop, request=order.number)
        if slots is None or not self._may_run:
            return
        with service.database.read() as tx:
            last = find_last_schedule(tx)
        now = service.now()
        # (One in the future was begun by a clock that was ahead: no reason to wait until then.)
        if last is None or last < slots.last_slot(now) or last > now + MAX_OFF:
            service.run_pass(Trigger.SCHEDULE, self._stop)
        elif service.sweeper.gate.refusals and service.sweeper.gate.open():
            return
        elif service.sweeper.find_due_retries():
            service.run_pass(Trigger.RETRY, self._stop)

    def reconcile(self) -> None:
        """Read the listings that people asked for, and those that are due."""
        service, every = self._service, self._service.settings.reconcile_every
        for order in self._find_requests(OrderKind.RECONCILE):
            result = {"listing_ids": service.reconciler.run_request(order, self._stop)}
            self._report_waiting()
            if not self._stop.is_set():  # what is cut short is not done: the next worker starts over
                service.leader.transact(lambda tx: finish_order(tx, order.number, service.now(), result))  # noqa: B023
        if every is None or not self._may_run:
            return
        due = service.reconciler.find_due(every)
        for app_id, vendor in due:
            if self._may_run:
                service.reconciler.run(app_id, vendor, self._stop)
        if due:
            self._report_waiting()

    def announce(self) -> None:
        """Log in the evening what is deleted within a day, as things stand: the time to place a hold."""
        settings, now = self._service.settings, self._service.now()
        evening = self._find_evening(now)
        before, self._evening = self._evening, evening
        if before in (None, evening) or not self._may_run:
            return
        found = self._look_ahead(now)
        by_rule = _name_rules(found)
        stopped = {"stopped_by_breaker": sorted(stop.app_id for stop in found.stops)} if found.stops else {}
        off = {} if settings.sweep_slots else {"note": "sweeps are off: nothing is deleted by itself"}
        head = str(self._find_audit_head())
        log.info("deletions_within_24h", files=found.total, by_rule=by_rule, audit_head=head, **stopped, **off)

    def describe_tomorrow(self, now: datetime) -> tuple[str, str]:
        """What `announce` logs, for people: what happens, and what to do."""
        found = self._look_ahead(now)
        text = f"{count_of(found.total, 'file')} will be deleted until {describe_moment(now + _AHEAD)} as things stand"
        if found.by_rule:
            text += f" ({', '.join(f'{rule}: {count:,}' for rule, count in _name_rules(found).items())})"
        text += "".join(f"; the breaker will stop app {stop.app_id}" for stop in found.stops)
        if self._service.settings.sweep_slots is None:
            text = f"sweeps are off, so nothing is deleted; else: {text}"
        text += f"\nThe head of the audit is {self._find_audit_head()}"
        return text, "place a hold on what has to stay" if found.total else ""

    def _look_ahead(self, now: datetime) -> DryRun:
        service, sweeper = self._service, self._service.sweeper
        ahead = (service.app_ids, sweeper.limits, now + _AHEAD)
        return dry_run(service.database, PolicyReader(), *ahead, confirm_all=sweeper.confirm_all, limit=0)

    def _find_audit_head(self) -> Head:
        """Said where it is kept outside of the database: a restored one cannot show that entries are lost."""
        with self._service.database.read() as tx:
            return find_head(tx)

    def _find_evening(self, now: datetime) -> datetime:
        return Cron(_EVENING, self._service.settings.timezone).last_slot(now)

    def prune(self) -> None:
        """Drop what is older than INBOX_KEEP and HISTORY_KEEP."""
        leader, settings, now = self._service.leader, self._service.settings, self._service.now()
        if leader.leads and settings.inbox_keep is not None:
            prune_inbox(leader, now - settings.inbox_keep, self._stop)
        if leader.leads and settings.history_keep is not None:
            prune_history(leader, now - settings.history_keep)

    def _report_waiting(self) -> None:
        """Log how many adopted files wait until a person has applied rules."""
        with self._service.database.read() as tx:
            waiting = describe_waiting(tx)
        if waiting is not None:
            log.warning("adopted_files_wait", detail=waiting[0], fix=waiting[1])

    @property
    def _may_run(self) -> bool:
        """This process leads, has caught up, and is not about to stop."""
        return self._service.leader.is_ready and not self._stop.is_set()

    def _find_requests(self, *kinds: OrderKind) -> list[Order]:
        """What people asked for; nothing while it may not run."""
        if not self._may_run:
            return []
        with self._service.database.read() as tx:
            return [order for order in list_run_requests(tx) if order.kind in kinds]

    def _report(self, event: JobExecutionEvent) -> None:
        """Log how a job ended: a database that is away once for all jobs, until it is back, a defect once."""
        job, error, was_away = event.job_id, event.exception, bool(self._away)
        if isinstance(error, DatabaseUnavailable):
            if not was_away:
                log.error("database_unavailable", detail=str(error))
            self._away |= {job} - {self.prune.__name__}  # (that one asks again only in an hour)
            return
        self._away.discard(job)
        if was_away and not self._away:
            log.info("database_back")
        if isinstance(error, LeadLost):
            log.warning("lead_lost", job=job, detail=str(error))
        elif error is not None and repr(error) != self._defects.get(job):
            log.error("job_failed", job=job, exc_info=error)
        self._defects[job] = repr(error)

    def _wait(self, signals: StopSignals, scheduler: BackgroundScheduler) -> int:
        """Wait for a signal. The scheduler lives by the clock on the wall: set back, it would stop for as long.

        So it is woken now and then, and what is planned for later than it can be runs at once: a clock that was wrong
        may be right again by now.
        """
        while (signum := signals.wait(_LOOK_AT_CLOCK_S)) is None:
            scheduler.wakeup()
            now, jobs = datetime.now(UTC), scheduler.get_jobs()
            far_s = max((job.next_run_time - now - job.trigger.interval).total_seconds() for job in jobs)
            if far_s > _LOOK_AT_CLOCK_S:
                log.warning("clock_set_back", seconds=round(far_s))
                for job in jobs:
                    job.modify(next_run_time=now)
        return signum


def _name_rules(found: DryRun) -> dict[str, int]:
    return {rule or "(an erasure)": count for rule, count in found.by_rule.items()}


def _wait_for_database(service: Service, signals: StopSignals) -> bool:
    """Make the database ready, waiting for a server that is away; False when a signal came first."""
    trouble = ""
    while True:
        try:
            service.prepare_database(creates_database=True)
        except DatabaseUnavailable as error:
            if service.database.is_sqlite or isinstance(error, UnfitDatabase):
                raise  # waiting would not help
            if str(error) != trouble:
                log.error("database_unavailable", detail=str(error))
            trouble = str(error)
            if signals.wait(_TRY_DATABASE_S) is not None:
                return False
        else:
            return True
