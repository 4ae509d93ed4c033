"""The composition root: the one place that ties ZEGO's wire and the database to the rooms."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from service.audit.order import OrderKind
from service.callbacks.pruning import prune_inbox
from service.callbacks.receive import Inbox
from service.callbacks.replay import ReplayHandler
from service.callbacks.understanding import Understanding
from service.callbacks.writer import Writer
from service.database import Database, DatabaseUnavailable
from service.database.migrate import pending_migrations, upgrade_database
from service.files.actions import apply_confirm, apply_erase, apply_retry
from service.files.deciding import DecidingLoop
from service.files.policy import PolicyReader
from service.holds.holds import apply_hold
from service.leader.leader import Leader
from service.listing.reconcile import Reconciler
from service.orders.apply import ApplyOrders
from service.orders.catch_up import CatchUp
from service.orders.take_over import take_over
from service.rules.revisions import apply_revision, ensure_first_rules
from service.sweep.backoff import RetryPolicy
from service.sweep.breaker import Limits
from service.sweep.calling import SweepApp
from service.sweep.pruning import prune_history
from service.sweep.run import Sweeper
from service.zego.client import ZegoClient

if TYPE_CHECKING:
    from service.settings import AppSettings, Settings

Clock = Callable[[], datetime]


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
    sweeper: Sweeper
    reconciler: Reconciler

    @property
    def app_ids(self) -> frozenset[str]:
        """The apps that are configured."""
        return frozenset(self.clients)

    def take_over(self) -> None:
        """Do what a new leader does before anything else."""
        raise NotImplementedError

    def prune(self, stop: threading.Event) -> None:
        """Drop what is older than INBOX_KEEP and HISTORY_KEEP."""
        raise NotImplementedError

    def close(self) -> None:
        """Close connections to ZEGO and to the database; what waits to be stored is stored first."""
        self.writer.stop()
        for client in self.clients.values():
            client.close()
        self.database.dispose()
