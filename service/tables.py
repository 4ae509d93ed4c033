"""Every table of the schema: importing this declares them all, whatever else a process has loaded."""

from __future__ import annotations

from service.audit import store as audit
from service.callbacks import store as callbacks
from service.database.columns import metadata
from service.files import store as files
from service.health import store as health
from service.holds import store as holds
from service.leader import store as leader
from service.listing import store as listing
from service.notify import store as notify
from service.people import store as people
from service.preview import store as preview
from service.rules import store as rules
from service.sweep import store as sweep

STORES = (audit, callbacks, files, health, holds, leader, listing, notify, people, preview, rules, sweep)

__all__ = ["STORES", "metadata"]
