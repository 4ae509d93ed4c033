"""The composition root: the one place that ties ZEGO's wire and the database to the use cases."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from service.core.backoff import RetryPolicy
from service.core.breaker import Limits
from service.db import revisions
from service.db.engine import Database, DatabaseUnavailable
from service.db.migrate import pending_migrations, upgrade_database
from service.usecases.calling import App
from service.usecases.confirming import Confirmer
from service.usecases.ingest import Ingest
from service.usecases.lanes import Sweeper
from service.usecases.listing_run import Reconciler
from service.usecases.policy import ensure_first_rules
from service.usecases.recording import Recorder
from service.usecases.replaying import retry_set_aside
from service.zego.client import ZegoClient

if TYPE_CHECKING:
    from service.settings import AppSettings, Settings

Clock = Callable[[], datetime]

log = structlog.get_logger(__name__)


class MigrationsPending(DatabaseUnavailable):
    """The database's schema is behind this release; the text names the command that cures it."""


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Service:
    """Everything that web, worker and command line work with, put together from one set of settings."""

    settings: Settings
    database: Database
    ingest: Ingest
    sweeper: Sweeper
    reconciler: Reconciler
    clients: dict[str, ZegoClient]
    now: Clock

    @property
    def app_ids(self) -> frozenset[str]:
        """The apps that are configured."""
        return frozenset(self.clients)

    def close(self) -> None:
        """Close connections to ZEGO and to the database."""
        for client in self.clients.values():
            client.close()
        self.database.dispose()


def build_service(settings: Settings, *, now: Clock = utc_now) -> Service:
    """Put the service together. Connects to nothing yet."""
    database = Database(settings.database_url)
    clients = {app.app_id: _client(app, now) for app in settings.apps}
    apps = {app.app_id: App(clients[app.app_id], clients[app.app_id], app.calls_per_second) for app in settings.apps}
    name = f"{socket.gethostname()}/{os.getpid()}"
    ingest = Ingest(
        database=database,
        secrets={app.app_id: [s.get_secret_value() for s in app.callback_secrets] for app in settings.apps},
        freshness=settings.callback_freshness,
        now=now,
        confirm_all=settings.confirm == "all",
    )
    return Service(
        settings=settings,
        database=database,
        ingest=ingest,
        sweeper=Sweeper(
            database=database,
            apps=apps,
            recorder=Recorder(
                RetryPolicy(settings.retry_first, settings.retry_last, settings.give_up_after), random.random
            ),
            lease=settings.claim_lease,
            now=now,
            name=name,
            limits=Limits(settings.breaker_files, settings.breaker_share),
            confirmer=Confirmer(database, apps, settings.cooling_off, settings.claim_lease, now),
            confirm_all=settings.confirm == "all",
        ),
        reconciler=Reconciler(
            database=database,
            apps=apps,
            cooling_off=settings.cooling_off,
            patience=settings.claim_lease,
            now=now,
            name=name,
            after_listing=lambda app_id: retry_set_aside(ingest, [app_id]),
        ),
        clients=clients,
        now=now,
    )


def open_service(settings: Settings, *, now: Clock = utc_now) -> Service:
    """Put the service together on a database that is ready: SQLite is migrated, the first rules of KEEP are in force.

    Raises:
        DatabaseUnavailable: the database cannot be used.
        MigrationsPending: a PostgreSQL database has to be migrated first.
    """
    service = build_service(settings, now=now)
    try:
        prepare_database(service)
    except BaseException:
        service.close()
        raise
    return service


def prepare_database(service: Service, *, puts_keep_in_force: bool = True) -> None:
    """Make the database ready for use, or say which command does.

    Raises:
        MigrationsPending: a PostgreSQL database is not migrated by itself: other processes may be using it.
    """
    if service.database.is_sqlite:
        service.database.create_folder()
        if pending_migrations(service.database):
            upgrade_database(service.database)
    else:
        require_migrated(service.database)
    if puts_keep_in_force:
        ensure_first_rules(service.database, service.settings.keep, service.settings.cooling_off, service.now())


def describe_waiting_keep(service: Service) -> str | None:
    """Say in a sentence that KEEP is set but not in force yet, and when it will be; None if rules are in force."""
    keep = service.settings.keep
    with service.database.read() as session:
        is_waiting = keep is not None and revisions.current_number(session) == 0
    if not is_waiting:
        return None
    return (
        f"KEEP={keep} is not in force yet, so no file has a date: it becomes the first rule set when the web side or"
        " the worker starts, or with the next `zego-retention sweep`"
    )


def require_migrated(database: Database) -> None:
    """Refuse to work on a schema that is behind.

    Raises:
        MigrationsPending: it is.
    """
    pending = pending_migrations(database)
    if pending:
        steps = f"{len(pending)} migration{'s' if len(pending) > 1 else ''} pending"
        raise MigrationsPending(f"database {database.name}: {steps}; run `zego-retention migrate` first")


def _client(app: AppSettings, now: Clock) -> ZegoClient:
    return ZegoClient(
        app.app_id, app.server_secret.get_secret_value(), app.api_url, app.is_test, app.clear_cache, now=now
    )
