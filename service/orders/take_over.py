"""What a process does when it becomes the leader, before anything else (docs/operations.md)."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from service.database import Transaction
from service.files.actions_store import list_unconfirmed_by_setting
from service.files.store import save_files
from service.leader.leader import Leader
from service.leader.store import find_leader, set_progress
from service.listing.store import interrupt_running
from service.model import MediaFile, WaitReason
from service.sweep.backoff import RetryPolicy
from service.sweep.record import close_open_attempts

PAUSE_S: Final = 1.0
"""As long as a call may be sent after a look: what the last leader still sends arrives before our calls."""

_CONFIRM_ALL: Final = "all"
_BATCH: Final = 500

log = structlog.get_logger(__name__)


def take_over(
    leader: Leader,
    *,
    retry_policy: RetryPolicy,
    jitter: Callable[[], float],
    confirm: str,
    cooling_off: timedelta,
    catch_up: Callable[[], None],
    now: Callable[[], datetime],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Repair what the last leader left open, then catch up, then wait until nothing of it can be under way.

    Open attempts become `unknown`, running runs and listings are marked as such that were not finished. It can be
    killed and started again at any point.

    Args:
        leader: this process, which leads.
        retry_policy: when files with an open attempt are asked for again.
        jitter: a random number from 0 to 1.
        confirm: the setting CONFIRM.
        cooling_off: how long files wait that were kept only because CONFIRM was `all`.
        catch_up: applies orders, understands callbacks and decides about files.
        now: the time.
        sleep: waits for seconds.

    Raises:
        LeadLost: another process leads.
        DatabaseUnavailable: the database refused or could not be reached.
    """
    leader.transact(lambda tx: close_open_attempts(tx, now(), retry_policy, jitter))
    leader.transact(lambda tx: interrupt_running(tx, now()))
    _note_confirm(leader, confirm, now(), cooling_off)
    catch_up()
    sleep(PAUSE_S)


def _note_confirm(leader: Leader, confirm: str, now: datetime, cooling_off: timedelta) -> None:
    """Let files that only CONFIRM=all kept wait, if it was switched off; and remember the setting."""
    after: int | None = 0
    while after is not None:
        after = leader.transact(lambda tx: _let_wait(tx, confirm, after or 0, now, cooling_off))  # noqa: B023


def _let_wait(tx: Transaction, confirm: str, after: int, now: datetime, cooling_off: timedelta) -> int | None:
    row = find_leader(tx)
    if row is None or row.confirm == confirm:
        return None
    was_switched_off = row.confirm == _CONFIRM_ALL
    files = list_unconfirmed_by_setting(tx, now, after, _BATCH) if was_switched_off else []
    save_files(tx, [_wait(file, now + cooling_off) for file in files])
    if len(files) == _BATCH:
        return files[-1].id
    set_progress(tx, confirm=confirm)
    log.info("confirm_changed", before=row.confirm, now=confirm)
    return None


def _wait(file: MediaFile, wait_until: datetime) -> MediaFile:
    if file.wait_until is None or file.wait_until < wait_until:
        file = file._replace(wait_until=wait_until, wait_reason=WaitReason.COOLING_OFF)
    return file._replace(decide_again=True)
