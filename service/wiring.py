"""The composition root: the one place that ties ZEGO's wire and the database to the rooms."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from service.audit.order import OrderKind
from service.callbacks.receive import Inbox
from service.callbacks.replay import ReplayHandler
from service.callbacks.understanding import Understanding
from service.callbacks.writer import Writer
from service.database import Database, DatabaseUnavailable
from service.database.migrate import pending_migrations, upgrade_database
from service.files.actions import apply_confirm, apply_retry
from service.files.deciding import DecidingLoop
from service.files.erase import apply_erase
from service.files.policy import PolicyReader
from service.holds.holds import apply_hold, flag_ended_holds
from service.leader.leader import Leader
from service.listing.asking import ListingApp
from service.listing.reconcile import Reconciler
from service.orders.apply import ApplyOrders, Handler
from service.orders.catch_up import CatchUp
from service.orders.take_over import take_over
from service.rules.revisions import apply_revision, ensure_first_rules
from service.settings import AppSettings, Settings
from service.sweep.backoff import RetryPolicy
from service.sweep.breaker import Limits
from service.sweep.calling import SweepApp
from service.sweep.run import Sweeper
from service.units import count_of
from service.zego.client import ZegoClient

Clock = Callable[[], datetime]

log = structlog.get_logger(__name__)


class MigrationsPending(DatabaseUnavailable):
    """The database's schema is behind this release; the text names the command that cures it."""


class NoDatabase(DatabaseUnavailable):
    """The SQLite file does not exist; the text names it and says which commands create one."""


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Service:
    """Everything that web, worker and command line work with, put together from one set of settings."""

    settings: Settings
    database: Database
    now: Clock
    clients: dict[str, ZegoClient]
    writer: Writer
    inbox: Inbox
    leader: Leader
    reader: PolicyReader
    catch_up: CatchUp
    retry_policy: RetryPolicy
    sweeper: Sweeper
    reconciler: Reconciler
    sleep: Callable[[float], None]

    @property
    def app_ids(self) -> frozenset[str]:
        """The apps that are configured."""
        return frozenset(self.clients)

    def take_over(self, *, makes_calls: bool = True) -> None:
        """Do what a new leader does before anything else; calls may be made afterwards, if `makes_calls`.

        Raises:
            LeadLost: another process leads.
            DatabaseUnavailable: the database refused or could not be reached.
        """
        take_over(
            self.leader,
            retry_policy=self.retry_policy,
            jitter=random.random,
            confirm=self.settings.confirm,
            cooling_off=self.settings.cooling_off,
            catch_up=self.catch_up.run,
            now=self.now,
            sleep=self.sleep if makes_calls else _go_on,
        )
        self.leader.is_ready = makes_calls

    def close(self) -> None:
        """Store what waits to be stored, lead no more, close connections to ZEGO and to the database."""
        self.writer.stop()
        with suppress(DatabaseUnavailable):
            self.leader.release()
        for client in self.clients.values():
            client.close()
        self.database.dispose()


def build_service(
    settings: Settings,
    *,
    now: Clock = utc_now,
    sleep: Callable[[float], None] = time.sleep,
    calls_per_second: int | None = None,
) -> Service:
    """Put the service together. Connects to nothing yet.

    Args:
        settings: the settings.
        now: the time.
        sleep: waits for seconds.
        calls_per_second: a pace for all apps instead of the settings'.
    """
    database = Database(settings.database_url)
    clients = {app.app_id: _build_client(app, now) for app in settings.apps}
    secrets = {app.app_id: [secret.get_secret_value() for secret in app.callback_secrets] for app in settings.apps}
    apps = {
        app.app_id: SweepApp(clients[app.app_id], calls_per_second or app.calls_per_second) for app in settings.apps
    }
    leader = Leader(database, f"{socket.gethostname()}/{os.getpid()}", settings.claim_lease, now)
    reader = PolicyReader()
    handlers: dict[OrderKind, Handler] = {
        OrderKind.RULES: apply_revision,
        OrderKind.HOLD: apply_hold,
        OrderKind.RELEASE: apply_hold,
        OrderKind.ERASE: apply_erase,
        OrderKind.CONFIRM: apply_confirm,
        OrderKind.RETRY: apply_retry,
        OrderKind.REPLAY: ReplayHandler(secrets),
    }
    catch_up = CatchUp(
        leader,
        ApplyOrders(leader, handlers, now),
        Understanding(leader, reader, settings.callback_freshness, now),
        DecidingLoop(leader, reader, now),
        lambda: flag_ended_holds(leader, now()),
    )
    retry_policy = RetryPolicy(settings.retry_first, settings.retry_last, settings.give_up_after)
    writer = Writer(database)
    return Service(
        settings=settings,
        database=database,
        now=now,
        clients=clients,
        writer=writer,
        inbox=Inbox(database, writer, secrets, now),
        leader=leader,
        reader=reader,
        catch_up=catch_up,
        retry_policy=retry_policy,
        sweeper=Sweeper(
            database=database,
            leader=leader,
            reader=reader,
            apps=apps,
            limits=Limits(settings.breaker_files, settings.breaker_share),
            retry_policy=retry_policy,
            confirm_all=settings.confirm == "all",
            catch_up=catch_up.run,
            now=now,
            sleep=sleep,
            jitter=random.random,
        ),
        reconciler=Reconciler(
            database=database,
            leader=leader,
            reader=reader,
            apps={app_id: ListingApp(clients[app_id], app.calls_per_second) for app_id, app in apps.items()},
            cooling_off=settings.cooling_off,
            breaker_share=settings.breaker_share,
            now=now,
            sleep=sleep,
        ),
        sleep=sleep,
    )


def open_service(settings: Settings, *, now: Clock = utc_now, creates_database: bool = False) -> Service:
    """Put the service together on a database that is ready: SQLite is migrated, the rules of KEEP are in force.

    Raises:
        NoDatabase: the SQLite file does not exist, and is not to be made.
        DatabaseUnavailable: the database cannot be used.
        MigrationsPending: a PostgreSQL database has to be migrated first.
    """
    service = build_service(settings, now=now)
    try:
        prepare_database(service, creates_database=creates_database)
    except BaseException:
        service.close()
        raise
    return service


def prepare_database(service: Service, *, creates_database: bool = False) -> None:
    """Make the database ready for use, or say which command does.

    Raises:
        NoDatabase: the SQLite file does not exist, and is not to be made.
        DatabaseUnavailable: the database cannot be used.
        MigrationsPending: a PostgreSQL database is not migrated by itself: other processes may be using it.
    """
    database = service.database
    path = database.path
    if path is None:
        require_migrated(database)
    else:
        if not path.exists():
            if not creates_database:
                raise NoDatabase(
                    f"there is no database {path}: set ZEGO_RETENTION_DATABASE_URL to the one of the running service,"
                    " or make a new one with `zego-retention migrate` (or `serve`)"
                )
            database.create_folder()
            log.warning("database_created", path=str(path))
        if pending_migrations(database):
            upgrade_database(database)
    ensure_first_rules(database, service.settings.keep, service.settings.cooling_off, service.now())


def require_migrated(database: Database) -> None:
    """Refuse to work on a schema that is behind.

    Raises:
        MigrationsPending: it is.
    """
    pending = pending_migrations(database)
    if pending:
        steps = count_of(len(pending), "migration")
        raise MigrationsPending(f"database {database.name}: {steps} pending; run `zego-retention migrate` first")


def _build_client(app: AppSettings, now: Clock) -> ZegoClient:
    return ZegoClient(
        app.app_id,
        app.server_secret.get_secret_value(),
        app.api_url,
        now=now,
        is_test=app.is_test,
        clear_cache=app.clear_cache,
    )


def _go_on(_seconds: float) -> None:
    """No pause: who makes no calls need not wait for those of the last leader."""
