"""The composition root: the one place that ties ZEGO's wire and the database to the rooms."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Final

import structlog

from service.audit.order import OrderKind
from service.callbacks.receive import Inbox
from service.callbacks.replay import apply_replay
from service.callbacks.spool import Spool
from service.callbacks.understanding import Understanding
from service.callbacks.writer import Writer
from service.database import Database, DatabaseUnavailable, UnfitDatabase
from service.database.migrate import is_blank, pending_migrations, upgrade_database
from service.files.actions import apply_confirm, apply_erase, apply_retry
from service.files.policy import DecidingLoop, PolicyReader
from service.health.doctor import list_to_notify
from service.health.remedies import IF_EMPTY
from service.holds.holds import apply_hold, flag_ended_holds
from service.leader.leader import Leader, LeadLost, read_boot_clock
from service.leader.store import COMMAND, find_leader
from service.listing.reconcile import Reconciler
from service.notify.notifier import Notifier
from service.orders import ApplyOrders, CatchUp, Handler, take_over
from service.rules.store import apply_revision, ensure_first_rules
from service.settings import Settings
from service.sweep.backoff import RetryPolicy
from service.sweep.breaker import Limits
from service.sweep.gate import Gate
from service.sweep.records import RunState, Trigger
from service.sweep.run import Sweeper
from service.sweep.store import find_run
from service.units import count_of
from service.zego.client import ZegoClient

Clock = Callable[[], datetime]

IF_NEW: Final = "it is new and empty; if you expected data there, stop and correct ZEGO_RETENTION_DATABASE_URL"

log = structlog.get_logger(__name__)


class MigrationsPending(UnfitDatabase):
    """The database's schema is behind this release; the text names the command that cures it."""


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


class Service:
    """Everything that web, worker and command line work with. Making it connects to nothing."""

    def __init__(
        self,
        settings: Settings,
        *,
        now: Clock = utc_now,
        sleep: Callable[[float], None] = time.sleep,
        steady: Callable[[], float] = read_boot_clock,
        calls_per_second: int | None = None,
    ) -> None:
        """`sleep` waits for seconds, `steady` counts those that pass, whatever is done to the clock.

        `calls_per_second` is a pace for all apps instead of the settings'.
        """
        self.settings, self.now, self.sleep = settings, now, sleep
        self.database = database = Database(settings.database_url, settings.database_connections)
        self.leader = leader = Leader(database, f"{socket.gethostname()}/{os.getpid()}", settings.claim_lease, now)
        self.reader = reader = PolicyReader()
        self.clients = {
            app.app_id: ZegoClient(
                app.app_id,
                app.server_secret.get_secret_value(),
                app.api_url,
                now=now,
                calls_per_second=calls_per_second or app.calls_per_second,
                is_test=app.is_test,
                clear_cache=app.clear_cache,
                proxy=settings.api_proxy,
                ca_file=settings.api_ca_file,
            )
            for app in settings.apps
        }
        secrets = {app.app_id: [secret.get_secret_value() for secret in app.callback_secrets] for app in settings.apps}
        self.spool = spool = Spool(database, settings.spool_dir, settings.spool_max)
        self.writer = Writer(database, None if spool.folder is None else spool)
        self.inbox = Inbox(database, self.writer, secrets, now)
        self.notifier = Notifier(settings, database, partial(list_to_notify, settings), now)
        handlers: dict[OrderKind, Handler] = {
            OrderKind.RULES: apply_revision,
            OrderKind.HOLD: apply_hold,
            OrderKind.RELEASE: apply_hold,
            OrderKind.ERASE: apply_erase,
            OrderKind.CONFIRM: apply_confirm,
            OrderKind.RETRY: apply_retry,
            OrderKind.REPLAY: partial(apply_replay, secrets),
        }

        def renew() -> bool:
            leader.renew()
            return False

        steps = (
            partial(spool.store, renew),
            ApplyOrders(leader, handlers, now).run,
            lambda: flag_ended_holds(leader, now()),
            Understanding(leader, reader, settings.callback_freshness, now).run,
            DecidingLoop(leader, reader, now).run,
        )
        self.catch_up = CatchUp(leader, steps)
        self.retry_policy = RetryPolicy(settings.retry_first, settings.retry_last, settings.give_up_after)
        self.sweeper = Sweeper(
            database=database,
            leader=leader,
            reader=reader,
            apps=self.clients,
            gate=Gate(database, leader, self.clients, now, steady, lambda: spool.describe_waiting() is not None),
            limits=Limits(settings.breaker_files, settings.breaker_share),
            retry_policy=self.retry_policy,
            confirm_all=settings.confirm == "all",
            catch_up=self.catch_up.run,
            now=now,
            sleep=sleep,
            jitter=random.random,
        )
        self.reconciler = Reconciler(
            database=database,
            leader=leader,
            reader=reader,
            apps=self.clients,
            cooling_off=settings.cooling_off,
            breaker_share=settings.breaker_share,
            now=now,
            sleep=sleep,
        )

    @property
    def app_ids(self) -> frozenset[str]:
        """The apps that are configured."""
        return frozenset(self.clients)

    def find_settings(self) -> Settings:
        """The settings that count: of the worker where it wrote them down, else of this process."""
        with self.database.read() as tx:
            leader = find_leader(tx)
        return self.settings.with_worker(leader.settings if leader else None)

    def prepare_database(self, *, creates_database: bool = False) -> None:
        """Make the database ready for use: SQLite is migrated; who may create it also puts the rules of KEEP in force.

        DatabaseUnavailable says what to do where it does not exist and is not to be made, or cannot be used;
        MigrationsPending that a PostgreSQL database has to be migrated first: other processes may be using it.
        """
        database, path = self.database, self.database.path
        if path is not None and not path.exists():
            self._create_database(allowed=creates_database)
        if pending := pending_migrations(database):
            if path is not None and is_blank(pending):
                raise UnfitDatabase(f"the database {path} is empty: {IF_EMPTY}")
            if not database.is_sqlite:
                steps = count_of(len(pending), "migration")
                text = f"database {database.name}: {steps} pending; run `zego-retention migrate` first"
                raise MigrationsPending(text)
            upgrade_database(database)
        if creates_database:  # a command's shell may have another KEEP than the service
            ensure_first_rules(database, self.settings.keep, self.settings.cooling_off, self.now())

    def _create_database(self, *, allowed: bool) -> None:
        path = self.database.path
        if not allowed:
            raise DatabaseUnavailable(
                f"there is no database {path}: set ZEGO_RETENTION_DATABASE_URL to the one of the running service,"
                " or make a new one with `zego-retention migrate` (or `serve`)"
            )
        if self.spool.has_journals():
            raise UnfitDatabase(
                f"the database {path} is gone, and callbacks of it wait in the spool {self.spool.folder}: put it back;"
                " if it is lost, make a new one with `zego-retention migrate`, and place holds on what has to stay"
            )
        if upgrade_database(self.database):  # (else another process was quicker)
            log.warning("database_created", path=str(path), hint=IF_NEW)

    def take_over(self, *, makes_calls: bool = True) -> None:
        """Do what a new leader does before anything else; calls may be made afterwards, if `makes_calls`."""
        take_over(
            self.leader,
            retry_policy=self.retry_policy,
            jitter=random.random,
            confirm=self.settings.confirm,
            cooling_off=self.settings.cooling_off,
            catch_up=self.catch_up.run,
            now=self.now,
            # Who makes no calls need not wait for those of the last leader.
            sleep=self.sleep if makes_calls else lambda _: None,
        )
        self.leader.is_ready = makes_calls

    def run_pass(self, trigger: Trigger, stop: threading.Event, *, request: int | None = None) -> None:
        """One pass of the sweep, as `Sweeper.run`; the ping URL is requested unless it was for retries or cut short."""
        ping = self.notifier.ping if trigger is not Trigger.RETRY else lambda _path: None
        try:
            run_id = self.sweeper.run(trigger, stop, request=request)
            with self.database.read() as tx:
                run = None if run_id is None else find_run(tx, run_id)
        except LeadLost:
            raise
        except Exception:
            ping("/fail")
            raise
        if run is not None and run.state in (RunState.DONE, RunState.STOPPED):
            ping("" if run.state is RunState.DONE else "/fail")

    def close(self) -> None:
        """Store what waits to be stored, notify and lead no more, close connections to ZEGO and to the database."""
        self.notifier.stop()
        self.writer.stop()
        with suppress(DatabaseUnavailable):
            self.leader.release()
        for client in self.clients.values():
            client.close()
        self.database.dispose()


def open_service(settings: Settings, *, now: Clock = utc_now, creates_database: bool = False) -> Service:
    """The service of a command, on a database that `prepare_database` has made ready, with the worker's settings."""
    service = Service(settings, now=now)
    try:
        service.prepare_database(creates_database=creates_database)
        if not creates_database and (found := service.find_settings()) != settings:
            _report_unused(settings, found)
            service.close()
            service = Service(found, now=now)
    except BaseException:
        service.close()
        raise
    service.leader.name += COMMAND
    return service


def _report_unused(own: Settings, found: Settings) -> None:
    """Name what was set for a command, but does not count."""
    for name, counts in found.write_down().items():
        if name in own.model_fields_set and own.write_down().get(name) != counts:
            hint = f"ZEGO_RETENTION_{name.upper()}={counts} of the worker counts, until one starts with another value"
            log.warning("setting_not_used", note=hint)
