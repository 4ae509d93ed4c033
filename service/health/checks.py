"""What a check of the doctor says, and the checks that ask the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, TypeAlias

from service.audit.store import list_failed_orders
from service.database import Transaction
from service.files.store import count_by_state
from service.health import store
from service.leader.process import is_dead
from service.leader.store import find_leader
from service.listing.record import ListingState
from service.model import FileState, Verdict
from service.rules.revisions import keep_differs
from service.rules.store import find_current
from service.schedule import Slots
from service.settings import Settings
from service.sweep.claim_store import count_overdue
from service.sweep.records import RunState
from service.sweep.store import list_plans
from service.units import count_of, describe_moment


class Status(StrEnum):
    """How a check ended.

    `warning`: something may be wrong. `attention`: the service works, but files or an app wait for a person. `problem`:
    it does not work. `skipped`: it could not be looked at.
    """

    OK = "ok"
    WARNING = "warning"
    ATTENTION = "attention"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor: what was looked at, how it stands, and (if not well) the fix."""

    name: str
    status: Status
    text: str
    fix: str = ""


_RECENT: Final = timedelta(days=7)
"""Trouble with callbacks that is older stays on record, but needs nobody any more."""

_AT_ONCE: Final = timedelta(minutes=1)
"""Longer than the worker takes to do what it does at once."""

COMMAND: Final = " (a command)"
"""How the name of a leader ends that is no worker, but a command that leads for as long as it runs."""

_START_ONE: Final = "start one with `zego-retention worker` (or `serve`)"

_OK, _WARNING, _ATTENTION = Status.OK, Status.WARNING, Status.ATTENTION


def _check_rules(settings: Settings, tx: Transaction, _now: datetime) -> Iterator[Check]:
    revision, leader = find_current(tx), find_leader(tx)
    behind, adopted = store.count_flagged(tx), store.count_adopted_kept(tx)
    difference = keep_differs(tx, settings.keep)
    if revision is None and settings.keep is not None:
        text = f"none yet: ZEGO_RETENTION_KEEP={settings.keep} becomes the first rule set when the service starts"
        yield Check("rules", _ATTENTION, text, "start `zego-retention serve`, `web` or `worker`")
        return
    if revision is None:
        fix = "set ZEGO_RETENTION_KEEP (for example 30d), or `zego-retention rules apply FILE`"
        yield Check("rules", _ATTENTION, "none are in force, so nothing is ever deleted", fix)
        return
    text = f"revision {revision.number} from {revision.source}, {count_of(len(revision.rules), 'rule')}"
    yield Check("rules", _OK, text)
    if difference:
        yield Check("rules", _WARNING, difference)
    if adopted and not revision.by_person and any(rule.keep is not None for rule in revision.rules):
        text = f"{count_of(adopted, 'file')} that only a listing shows, kept until a person has applied rules"
        yield Check("rules", _ATTENTION, text, "see `zego-retention rules preview --keep`, then `rules apply --keep`")
    if behind or leader is None or leader.decided_revision != revision.number:
        text = f"{count_of(behind, 'file')} to be decided again" if behind else "not every file is decided under them"
        yield Check("rules", _WARNING, text, "a running worker does that at once")


_CALLBACKS: Final = {
    Verdict.FORGED: "refused: the signature fits none of the app's callback secrets",
    Verdict.UNKNOWN_APP: "refused: of an app that is not configured",
    Verdict.NOT_UNDERSTOOD: "authentic, but not understood",
    Verdict.MISDIRECTED: "of Cloud Recording, whose files are in your own storage and not deleted by this service",
}
_REPLAY: Final = "then `zego-retention callbacks replay --verdict"
_CALLBACK_FIXES: Final = {
    Verdict.FORGED: f"if ZEGO sent them, correct ZEGO_RETENTION_CALLBACK_SECRET, {_REPLAY} forged`",
    Verdict.UNKNOWN_APP: f"if it is yours, add it to the settings, {_REPLAY} unknown_app`",
    Verdict.NOT_UNDERSTOOD: "see `zego-retention callbacks list --verdict not_understood`",
    Verdict.MISDIRECTED: (
        "in ZEGO's console, take this service's URL out of Cloud Recording's callback and enter it under Project →"
        " Server callback → Recording file"
    ),
}


def _check_callbacks(_settings: Settings, tx: Transaction, now: datetime) -> Iterator[Check]:
    total = sum(store.count_callbacks(tx).values())
    recent = store.count_recent_callbacks(tx, _CALLBACKS, now - _RECENT, now)
    pending = store.count_recent_callbacks(tx, [Verdict.PENDING], now - 100 * _RECENT, now - _AT_ONCE)
    lost = store.count_lost_callbacks(tx, now - _RECENT)
    for verdict, count in recent.items():
        text = f"{count_of(count, 'callback')} {_CALLBACKS[verdict]}"
        yield Check("callbacks", _WARNING, text, _CALLBACK_FIXES[verdict])
    for count in pending.values():
        text = f"{count_of(count, 'callback')} stored, not understood yet"
        yield Check("callbacks", _WARNING, text, "a running worker does that at once; its log says why not")
    for app_id, count in lost.items():
        text = f"app {app_id}: {count_of(count, 'file')} whose callback never arrived, found by a listing this week"
        fix = "check that ZEGO reaches the callback URL, and that no secret was changed in ZEGO's console"
        yield Check("callbacks", _WARNING, text, fix)
    if not recent and not pending and not lost:
        yield Check("callbacks", _OK, f"{count_of(total, 'callback')} stored, all understood")


def _check_worker(settings: Settings, tx: Transaction, now: datetime) -> Iterator[Check]:
    yield judge_worker(tx, settings.sweep_slots, settings.claim_lease, now)


def judge_worker(tx: Transaction, slots: Slots | None, lease: timedelta, now: datetime) -> Check:
    """Whether a worker leads, and its sweeps are in time: at most two slots (None: they are off) and `lease` late."""
    leader, last = find_leader(tx), store.find_last_sweep(tx)
    seen_at = leader.renewed_at if leader else None
    is_worker = leader is not None and bool(leader.holder) and not leader.holder.endswith(COMMAND)
    if leader is None or seen_at is None or not is_worker or now - seen_at > lease or is_dead(leader.process):
        silent = f": the last sign of life was at {describe_moment(seen_at)}" if seen_at else ""
        return Check("worker", _ATTENTION, f"no worker is running{silent}; {_START_ONE}")
    alive = f"worker {leader.holder} is running"
    if slots is None:
        return Check("worker", _OK, f"{alive}; sweeps are off (ZEGO_RETENTION_SWEEP_EVERY)")
    if last is None:
        return Check("worker", _ATTENTION, f"{alive}, but no sweep has started yet; its log says why")
    if last.state is RunState.RUNNING:
        return Check("worker", _OK, f"{alive}; run {last.id} is in progress")
    sweep = f"the last sweep began at {describe_moment(last.started_at)}"
    if last.started_at < _find_late_slot(slots, lease, now):
        return Check("worker", _ATTENTION, f"{alive}, but {sweep}, too long ago; its log says why")
    return Check("worker", _OK, f"{alive}; {sweep}")


def _find_late_slot(slots: Slots, lease: timedelta, now: datetime) -> datetime:
    """The slot before the last one: a sweep that began earlier is late.

    One slot may pass while a long sweep is still under way; two without one mean that nobody sweeps.
    """
    return slots.last_slot(slots.last_slot(now - lease) - timedelta(microseconds=1))


def _check_orders(_settings: Settings, tx: Transaction, now: datetime) -> Iterator[Check]:
    failed, late = list_failed_orders(tx), store.count_late_orders(tx, now - _AT_ONCE)
    for order in failed:
        stopped = f"app {order.app_id} is not" if order.app_id else "no app is"
        text = (
            f"order {order.number} ({order.kind}) could not be applied: {order.failure}; until it is, {stopped} called"
        )
        yield Check("orders", _ATTENTION, text, "the worker tries it again")
    if late:
        text = f"{count_of(late, 'order')} recorded, not applied yet"
        yield Check("orders", _WARNING, text, "a running worker does that at once; its log says why not")
    if not failed and not late:
        yield Check("orders", _OK, "all are applied")


def _check_calls(_settings: Settings, tx: Transaction, now: datetime) -> Iterator[Check]:
    states, plans = store.list_app_states(tx, now), list_plans(tx, only_open=True)
    for state in states:
        what = f"app {state.app_id}" + (f", vendor {state.vendor}," if state.vendor else "")
        said = f"ZEGO answered {state.code} {state.message}".rstrip()
        if state.blocked:
            text = f"{what} is blocked since {describe_moment(state.since)}: {said}"
            yield Check("calls", _ATTENTION, text, "correct that; the next sweep tries one file")
        elif state.until is not None:
            text = f"{what} pauses until {describe_moment(state.until)}: {count_of(state.failures, 'failure')}, {said}"
            yield Check("calls", _WARNING, text, "ZEGO's trouble passes by itself; ask ZEGO if it stays")
    for plan in plans:
        text = f"the breaker stopped app {plan.app_id} at {describe_moment(plan.made_at)}: {plan.reason}"
        fix = f"see `zego-retention runs show {plan.run_id}`, then `zego-retention sweep --approve {plan.run_id}`"
        yield Check("calls", _ATTENTION, text, fix)
    if not states and not plans:
        yield Check("calls", _OK, "no app is blocked, paused or stopped by the breaker")


def _check_files(settings: Settings, tx: Transaction, now: datetime) -> Iterator[Check]:
    found = [*_find_stuck_files(tx, now), *_find_due_files(tx, settings, now)]
    yield from found or [Check("files", _OK, "none waits for a person, none is overdue")]


def _find_stuck_files(tx: Transaction, now: datetime) -> Iterator[Check]:
    if failed := count_by_state(tx).get(FileState.FAILED, 0):
        fix = "see `zego-retention files list --state failed`, then `zego-retention files retry ID`"
        yield Check("files", _ATTENTION, f"{count_of(failed, 'file')} given up", fix)
    if overdue := count_overdue(tx, FileState.UNCONFIRMED, now):
        fix = "see `zego-retention files list --state unconfirmed`, then `zego-retention files confirm ID`"
        yield Check("files", _ATTENTION, f"{count_of(overdue, 'file')} overdue, but unconfirmed", fix)
    waiting, until = store.count_waiting(tx, now)
    if waiting and until is not None:
        text = f"{count_of(waiting, 'file')} whose date has come, waiting until {describe_moment(until)} at most"
        fix = "see `zego-retention files list --state scheduled`; rules and holds can still keep them"
        yield Check("files", _WARNING, text, fix)


def _find_due_files(tx: Transaction, settings: Settings, now: datetime) -> Iterator[Check]:
    slots = settings.sweep_slots
    late = now if slots is None else _find_late_slot(slots, settings.claim_lease, now)
    stopped = {plan.app_id for plan in list_plans(tx, only_open=True)}
    for due in store.list_due(tx, now):
        what = f"app {due.app_id}: {count_of(due.count, 'file')} whose date has come"
        if settings.app(due.app_id) is None:
            yield Check("files", _ATTENTION, f"{what}, but the app is not in the settings", "add it")
        elif due.app_id in stopped:
            continue  # by the breaker: that is reported with the calls
        elif slots is None:
            text = f"{what} would be deleted by now, were sweeps not off"
            fix = "set ZEGO_RETENTION_SWEEP_EVERY, or run `zego-retention sweep`, to delete them"
            yield Check("files", _ATTENTION, text, fix)
        elif due.oldest < late:
            text = f"{what}, and no sweep has deleted them since {describe_moment(due.oldest)}"
            fix = "the other checks or the worker's log say why; `zego-retention sweep` deletes them now"
            yield Check("files", _ATTENTION, text, fix)


def _check_listings(settings: Settings, tx: Transaction, now: datetime) -> Iterator[Check]:
    every = settings.reconcile_every
    if every is None:
        confirms = settings.confirm == "all"
        text = "off (ZEGO_RETENTION_RECONCILE_EVERY)" + (", so no listing ever confirms a file" if confirms else "")
        fix = "`zego-retention reconcile` reads them once; or set ZEGO_RETENTION_RECONCILE_EVERY"
        yield Check("listings", _ATTENTION if confirms else _OK, text, fix if confirms else "")
        return
    newest = store.list_listings(tx)
    found = []
    for app in settings.apps:
        listings = [listing for (app_id, _), listing in newest.items() if app_id == app.app_id]
        if not listings:
            found.append(Check("listings", _WARNING, f"app {app.app_id}: none was read yet", _READ_LISTINGS))
        for listing in listings:
            what = f"app {listing.app_id}, vendor {listing.vendor}"
            if now - listing.started_at > 2 * every:
                text = f"{what}: overdue, the last began at {describe_moment(listing.started_at)}"
                found.append(Check("listings", _ATTENTION, text, _READ_LISTINGS))
            elif listing.needs_person or listing.state is ListingState.INTERRUPTED:
                text = f"{what}: listing {listing.id} is {listing.state}: {listing.note or 'no reason is on record'}"
                found.append(Check("listings", _WARNING, text, _READ_LISTINGS))
    yield from found or [Check("listings", _OK, "complete and in time")]


_READ_LISTINGS: Final = "a running worker reads them; or run `zego-retention reconcile`"

Look: TypeAlias = "Callable[[Settings, Transaction, datetime], Iterator[Check]]"

CHECKS: Final[dict[str, Look]] = {
    "rules": _check_rules,
    "callbacks": _check_callbacks,
    "worker": _check_worker,
    "orders": _check_orders,
    "calls": _check_calls,
    "files": _check_files,
    "listings": _check_listings,
}
"""What is looked at, by name."""
