"""The checks of the doctor that ask the database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from service.audit.store import list_failed_orders
from service.database import Transaction
from service.files.store import IS_FLAGGED, count_by_state
from service.health import store
from service.health.callbacks import check_callbacks
from service.health.check import AT_ONCE, LOG_SAYS_WHY, Findings, Status
from service.leader.leader import is_alive
from service.leader.store import LeaderRow, find_leader
from service.listing.store import ENDED, ListingState, find_newest
from service.model import FileState
from service.notify.store import read_state
from service.rules.store import find_current, find_fault_of_rules, keep_differs
from service.schedule import Slots
from service.settings import Settings
from service.sweep.claim_store import count_overdue
from service.sweep.gate import list_refusals
from service.sweep.records import RunState
from service.sweep.store import list_plans
from service.units import count_of, describe_moment

_AHEAD: Final = timedelta(days=1)
NO_LEADER: Final = "leader"
NO_SWEEP: Final = "sweep"
_READ_LISTINGS: Final = "a running worker reads them; or run `zego-retention reconcile`"
_ONLY_SHOWN: Final = ("notify", "callback", "secrets")
"""What a worker writes down of its settings that commands do not use."""

_LOOK_FOR_THEM: Final = (
    "look for them in ZEGO's console: if somebody deleted them there, each ends as gone when it is due; if they are"
    " there, ask ZEGO's support why SearchMedia lists none"
)
_OK, _NOTE, _WARNING, _ATTENTION = Status.OK, Status.NOTE, Status.WARNING, Status.ATTENTION


def _check_rules(settings: Settings, tx: Transaction, now: datetime) -> Findings:
    if fault := find_fault_of_rules(tx):
        return [(Status.PROBLEM, fault, "")]
    return _check_readable_rules(settings, tx, now)


def _check_readable_rules(settings: Settings, tx: Transaction, now: datetime) -> Findings:
    revision, leader = find_current(tx), find_leader(tx)
    if revision is None:
        text = "none are in force, so nothing is ever deleted"
        fix = "set ZEGO_RETENTION_KEEP (for example 30d), or `zego-retention rules apply FILE`"
        if settings.keep is not None:
            text = f"none yet: ZEGO_RETENTION_KEEP={settings.keep} becomes the first rule set when the service starts"
            fix = "start `zego-retention serve`, `web` or `worker`"
            if leader is not None and _is_alive(leader, settings.claim_lease, now):
                fix = "it runs already, started without that setting: restart it with it"
        yield _ATTENTION, text, fix
        return
    yield _OK, f"revision {revision.number} from {revision.source}, {count_of(len(revision.rules), 'rule')}", ""
    if difference := keep_differs(tx, settings.keep):
        yield _WARNING, difference, ""
    if waiting := describe_waiting(tx):
        yield _ATTENTION, *waiting
    until = revision.cooling_until
    sooner = store.count_cooling(tx, now) if until is not None and now < until else 0
    if sooner and revision.preview_id is not None:  # some stays for its rank, or waits since an earlier revision
        sooner = revision.moved_count
    if until is not None and sooner:
        text = f"revision {revision.number} by {revision.applied_by} is cooling off until {describe_moment(until)}"
        fix = f"if it is wrong, take it back until then: `zego-retention rules rollback {revision.number - 1}`"
        yield _NOTE, f"{text}; due sooner by it: {count_of(sooner, 'file')}", fix, f"cooling-off {revision.number}"
    behind = sum(count_by_state(tx, IS_FLAGGED).values())
    if behind or leader is None or leader.decided_revision != revision.number:
        text = f"{count_of(behind, 'file')} to be decided again" if behind else "not every file is decided under them"
        yield _WARNING, text, "a running worker does that at once"


def describe_waiting(tx: Transaction) -> tuple[str, str] | None:
    """How many adopted files wait until a person has applied rules, and what helps; None where none do."""
    revision = find_current(tx)
    if revision is None or revision.by_person or all(rule.keep is None for rule in revision.rules):
        return None
    if not (count := store.count_adopted_kept(tx)):
        return None
    text = f"{count_of(count, 'file')} that only a listing shows, kept until a person has applied rules"
    return (
        f"{text} (only ZEGO_RETENTION_KEEP did)",
        "see `zego-retention rules preview --keep`, then `rules apply --keep`",
    )


def check_worker(settings: Settings, tx: Transaction, now: datetime) -> Findings:
    """Whether a worker leads, and its sweeps are in time: at most two slots and the lease late."""
    slots, lease, leader, last = (
        find_slots(settings, tx),
        settings.claim_lease,
        find_leader(tx),
        store.find_last_sweep(tx),
    )
    if leader is None or not _is_alive(leader, lease, now):
        seen_at = leader.renewed_at if leader else None
        silent = f": the last sign of life was at {describe_moment(seen_at)}" if seen_at else ""
        text = f"no worker is running{silent}; start one with `zego-retention worker` (or `serve`)"
        return [(_ATTENTION, text, "", NO_LEADER)]
    status, text, key = _OK, f"worker {leader.holder} is running", ""
    if slots is None:
        text += "; sweeps are off (ZEGO_RETENTION_SWEEP_EVERY)"
    elif last is None:
        status, text, key = _ATTENTION, f"{text}, but no sweep has started yet; its log says why", NO_SWEEP
    elif last.state is RunState.RUNNING:
        text += f"; run {last.id} is in progress"
    elif last.started_at < _find_late_slot(slots, lease, now):
        at = describe_moment(last.started_at)
        text = f"{text}, but the last sweep began at {at}, too long ago; its log says why"
        status, key = _ATTENTION, NO_SWEEP
    else:
        text += f"; the last sweep began at {describe_moment(last.started_at)}"
    return [(status, text, "", key)]


def _check_worker(settings: Settings, tx: Transaction, now: datetime) -> Findings:
    """As `check_worker`; and whether sweeps start as these settings say, or as the worker was started with."""
    yield from check_worker(settings, tx, now)
    leader, here = find_leader(tx), settings.write_down()
    there = {name: value for name, value in ((leader and leader.settings) or {}).items() if name not in _ONLY_SHOWN}
    if there and (names := sorted(name for name in here | there if here.get(name) != there.get(name))):
        both = ", ".join(f"{name.upper()} {there.get(name, '-')} / {here.get(name, '-')}" for name in names)
        fix = "those of the worker count, for commands, too: give both the same settings, then restart the worker"
        yield _WARNING, f"the worker was started with other settings than those here: {both}", fix


def _is_alive(leader: LeaderRow, lease: timedelta, now: datetime) -> bool:
    """Whether a worker leads and has given a sign of life in time."""
    return leader.is_worker and is_alive(leader, lease, now)


def find_living_leader(settings: Settings, tx: Transaction, now: datetime) -> LeaderRow | None:
    """The worker that leads and has given a sign of life in time; None: no worker does."""
    leader = find_leader(tx)
    return leader if leader is not None and _is_alive(leader, settings.claim_lease, now) else None


def find_slots(settings: Settings, tx: Transaction) -> Slots | None:
    """When sweeps start by themselves (None: never)."""
    return _find_settings(settings, tx).sweep_slots


def _find_settings(settings: Settings, tx: Transaction) -> Settings:
    """The settings that count: of the worker where it wrote them down, else these."""
    leader = find_leader(tx)
    return settings.with_worker(leader.settings if leader else None)


def _find_late_slot(slots: Slots, lease: timedelta, now: datetime) -> datetime:
    """The slot before the last one: a sweep that began earlier is late.

    One slot may pass while a long sweep is still under way; two without one mean that nobody sweeps.
    """
    return slots.last_slot(slots.last_slot(now - lease) - timedelta(microseconds=1))


def _check_trust(_settings: Settings, tx: Transaction, now: datetime) -> Findings:
    found = list_refusals(tx, now).items()
    return [(Status.PROBLEM, f"nothing is deleted: {text}", "", f"trust:{cause}") for cause, text in found]


def _check_orders(_settings: Settings, tx: Transaction, now: datetime) -> Findings:
    for order in list_failed_orders(tx):
        stopped = f"app {order.app_id} is not" if order.app_id else "no app is"
        text = f"order {order.number} ({order.kind}) could not be applied: {order.failure}"
        yield _ATTENTION, f"{text}; until it is, {stopped} called", "the worker tries it again", f"order {order.number}"
    if late := store.count_late_orders(tx, now - AT_ONCE):
        yield _WARNING, f"{count_of(late, 'order')} recorded, not applied yet", LOG_SAYS_WHY


def _check_calls(_settings: Settings, tx: Transaction, now: datetime) -> Findings:
    for state in store.list_app_states(tx, now):
        what = f"app {state.app_id}" + (f", vendor {state.vendor}," if state.vendor else "")
        if state.blocked:
            text = f"{what} has been blocked since {describe_moment(state.since)}: {state.answer}"
            yield _ATTENTION, text, state.advice, f"blocked {state.app_id} {state.vendor or '*'}"
        elif state.until is not None:
            text = f"{what} pauses until {describe_moment(state.until)}: {count_of(state.failures, 'failure')}"
            yield _WARNING, f"{text}, {state.answer}", "ZEGO's trouble passes by itself; ask ZEGO if it stays"
    for plan in list_plans(tx, only_open=True):
        text = f"the breaker stopped app {plan.app_id} at {describe_moment(plan.made_at)}: {plan.reason}"
        fix = f"see `zego-retention runs show {plan.run_id}`, then `zego-retention sweep --approve {plan.run_id}`"
        yield _ATTENTION, text, fix, f"breaker {plan.app_id}"


def _check_files(settings: Settings, tx: Transaction, now: datetime) -> Findings:
    if failed := count_by_state(tx).get(FileState.FAILED, 0):
        fix = "see `zego-retention files list --state failed`, then `zego-retention files retry ID`"
        yield _ATTENTION, f"{count_of(failed, 'file')} given up", fix, "failed files"
    if overdue := count_overdue(tx, FileState.UNCONFIRMED, now):
        fix = "see `zego-retention files list --state unconfirmed`, then `zego-retention files confirm ID`"
        yield _ATTENTION, f"{count_of(overdue, 'file')} overdue, but unconfirmed", fix, "unconfirmed files"
    soon, first = store.count_adopted_soon(tx, now, now + _AHEAD)
    if soon and first is not None:
        text = f"{count_of(soon, 'file')} that only a listing shows, to be deleted within a day, the first at"
        fix = "see `zego-retention files list --adopted yes --state scheduled`; rules and holds can still keep them"
        yield _NOTE, f"{text} {describe_moment(first)}", fix, "adopted files"
    waiting, until = store.count_waiting(tx, now)
    if waiting and until is not None:
        text = f"{count_of(waiting, 'file')} whose date has come, waiting until {describe_moment(until)} at most"
        fix = "see `zego-retention files list --state scheduled`; rules and holds can still keep them"
        yield _NOTE, text, fix
    unknown = store.count_present_of_others(tx, [app.app_id for app in settings.apps])
    for app_id, count in unknown.items():
        text = f"app {app_id}: {count_of(count, 'file')}, but the app is not in the settings: none is ever deleted"
        yield _ATTENTION, text, "add it"
    slots = find_slots(settings, tx)
    stopped = {plan.app_id for plan in list_plans(tx, only_open=True)}
    for due in store.list_due(tx, now):
        what = f"app {due.app_id}: {count_of(due.count, 'file')} whose date has come"
        if due.app_id in stopped or due.app_id in unknown:  # by the breaker
            continue  # reported with the calls, or above
        elif slots is None:
            fix = "`zego-retention sweep --dry-run` shows which go; set ZEGO_RETENTION_SWEEP_EVERY to delete them"
            yield _ATTENTION, f"{what}; sweeps are off, so they stay", fix
        elif due.oldest < _find_late_slot(slots, settings.claim_lease, now):
            text = f"{what}, and no sweep has deleted them since {describe_moment(due.oldest)}"
            fix = "the other checks or the worker's log say why; `zego-retention sweep` deletes them now"
            yield _ATTENTION, text, fix, f"overdue files {due.app_id}"


def _check_listings(settings: Settings, tx: Transaction, now: datetime) -> Findings:
    every, newest = settings.reconcile_every, find_newest(tx, ENDED)
    if every is None:
        off = "off (ZEGO_RETENTION_RECONCILE_EVERY)"
        fix = "`zego-retention reconcile` reads them once; or set ZEGO_RETENTION_RECONCILE_EVERY"
        needs = _find_settings(settings, tx).confirm == "all"
        yield (_ATTENTION, f"{off}, so no listing ever confirms a file", fix) if needs else (_OK, off, "")
        return
    for app in settings.apps:
        listings = [listing for (app_id, _), listing in newest.items() if app_id == app.app_id]
        if not listings:
            yield _WARNING, f"app {app.app_id}: none was read yet", _READ_LISTINGS
        for listing in listings:
            what = f"app {listing.app_id}, vendor {listing.vendor}"
            if now - listing.started_at > 2 * every:
                text = f"{what}: overdue, the last began at {describe_moment(listing.started_at)}"
                yield _ATTENTION, text, _READ_LISTINGS
            elif listing.needs_person or listing.state is ListingState.INTERRUPTED:
                text = f"{what}: listing {listing.id} is {listing.state}: {listing.note or 'no reason is on record'}"
                if listing.state is not ListingState.COMPLETE:
                    yield _WARNING, text, _READ_LISTINGS
                elif listing.listed:  # the note says what to do
                    yield _WARNING, text, ""
                else:
                    yield _NOTE, text, _LOOK_FOR_THEM


def _check_notifications(settings: Settings, tx: Transaction, _now: datetime) -> Findings:
    leader = find_leader(tx)
    there = (leader.settings or {}).get("notify") if leader else None  # (None: of a worker of an older release)
    if settings.notify:
        yield _OK, f"sent through {count_of(len(settings.notify), 'channel')}", ""
    elif there == "on":
        yield _OK, "off here (ZEGO_RETENTION_NOTIFY), on in the service", ""
    else:
        elsewhere = "" if there else "; a worker with other settings may send"
        yield _OK, f"off here (ZEGO_RETENTION_NOTIFY){elsewhere}", ""
        return
    for name, channel in read_state(tx).channels.items():
        if channel.failing_since is not None:
            since = describe_moment(channel.failing_since)
            text = f"nothing could be sent through {name} since {since}: {channel.reason}"
            fix = "correct ZEGO_RETENTION_NOTIFY and restart; `zego-retention notify test` tries it"
            yield _WARNING, text, fix, f"channel {name}"


Look: TypeAlias = Callable[[Settings, Transaction, datetime], Findings]

CHECKS: Final[dict[str, tuple[Look, str]]] = {
    "rules": (_check_rules, ""),
    "callbacks": (check_callbacks, "all that are stored are understood"),
    "worker": (_check_worker, ""),
    "trust": (_check_trust, "clock, rules and schema can be trusted with deleting"),
    "orders": (_check_orders, "all are applied"),
    "calls": (_check_calls, "no app is blocked, paused or stopped by the breaker"),
    "files": (_check_files, "none waits for a person, none is overdue"),
    "listings": (_check_listings, "complete and in time"),
    "notifications": (_check_notifications, ""),
}
"""What is looked at, by name, and what is said where nothing is found."""
