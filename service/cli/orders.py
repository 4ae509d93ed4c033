"""Orders from the command line: this process waits for the leader, or leads for as long as it runs (docs/files.md)."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, Final

import service.views.audit  # noqa: F401  (it says how an order is shown)
from service.audit.order import Order, OrderKind, OrderState
from service.audit.store import finish_order
from service.cli.frame import CommandFailed, ExitCode, Invocation
from service.cli.show import note, safe, show, shown_as_json
from service.leader.leader import LeadLost
from service.leader.store import find_leader
from service.orders import (
    applied_by_somebody,
    count_waiting,
    lead_once,
    read_order,
    require_understood,
)
from service.units import count_of, describe_moment, format_duration
from service.wiring import Service

MAX_WAIT_S: Final = 5.0
"""How long a command waits for the leader to apply its order."""

UNDERSTOOD_WITHIN_S: Final = 2.0
"""How long a command that counts files waits until the callbacks that are there are understood."""

HOW_TO_STOP: Final = (
    "\nUntil that sweep, `zego-retention holds add` with --file ID or --stream still keeps files: a hold wins over an"
    " erasure. Released, they are deleted."
)

_IF_CORRECTED: Final = "\nIf their secret was corrected: restart the service with it, then replay them once more."
_LOOK_S: Final = 0.1
_LOOK_AFTER_S: Final = 0.5
_TRY_S: Final = 1.0
_LET_WORKER_LEAD_S: Final = 10.0
_NOTE_AFTER_S: Final = 2.0

Work = Callable[[Order, threading.Event], dict[str, Any] | None]


def have_understood(service: Service, app_id: str | None) -> None:
    """Return once every callback that an app has now is understood, by this process where nobody leads; or refuse."""
    waiting = (service.database, app_id, UNDERSTOOD_WITHIN_S, service.sleep)
    require_understood(*waiting, help_on=partial(_lead_once, service))


def understand_what_waits(service: Service, app_id: str | None) -> int:
    """Where nobody leads, understand the callbacks of an app that wait; returns how many still do."""
    if count_waiting(service.database, app_id):
        _lead_once(service)
    return count_waiting(service.database, app_id)


def _lead_once(service: Service) -> None:
    lead_once(service.leader, partial(service.take_over, makes_calls=False))


def report_order(invocation: Invocation, number: int) -> ExitCode:
    """Have an order applied, and print what came of it; where that takes too long, exit 3 with its number."""
    service = invocation.service
    take_over = partial(service.take_over, makes_calls=False)
    order = applied_by_somebody(service.database, service.leader, number, MAX_WAIT_S, take_over, sleep=service.sleep)
    is_applied = order.state is OrderState.APPLIED
    if not shown_as_json(invocation, order):
        if is_applied:
            show(safe(describe_result(order.kind, order.result or {}), lines=True))
        else:
            waits = f"; {_describe_leader(service)}" if order.state is OrderState.WAITING else ""
            note(f"order {number}: {safe(order.summary)}{waits}")
    return ExitCode.DONE if is_applied else ExitCode.NEEDS_PERSON


def describe_result(kind: OrderKind, result: dict[str, Any]) -> str:
    """What came of an order that is applied, in sentences, some on lines of their own."""
    files = _count(result.get("files", 0))
    unknown = result.get("unknown_stream", 0)
    held = f"{files} ({unknown:,} of them because their stream is not known)" if unknown else files
    match kind:
        case OrderKind.RULES:
            text = "All files have been decided by it."
        case OrderKind.HOLD:
            text = f"It holds {held} now.{_describe_open_calls(**result['open_calls'])}"
            if not result["files"]:
                text += "\nNo file that is present matches; later ones, and any that a listing shows again, are held."
            elif result["files"] == unknown:
                text += "\nNo known stream matches the pattern. Case counts: `trial-*` does not match `Trial-1`."
        case OrderKind.RELEASE:
            text = f"Hold {result['hold']} is released: {held} decided again."
        case OrderKind.ERASE:
            deleted = _count(result["files"] - result["held"] - result["unconfirmed"])
            text = f"Erasure {result['erasure']} takes {files}; the next sweep deletes {deleted}."
            text += describe_left_out(result) + HOW_TO_STOP
        case OrderKind.RETRY:
            text = f"The next sweep retries {_count(result['retried'])}."
            text += _name_files("no longer failed or waiting", result["too_late"])
        case OrderKind.CONFIRM:
            text = f"{_count(result['confirmed'])} confirmed.".capitalize()
            text += _name_files("suspected again by a newer callback", result["suspected_again"])
            text += _name_files("ended or confirmed in the meantime", result["too_late"])
        case OrderKind.REPLAY:
            refused, dropped = result["still_refused"], result["without_bytes"]
            text = f"{count_of(result['replayed'], 'callback')} judged again"
            text += f"; {dropped:,} left out: their bytes were dropped" if dropped else ""
            text += f"; {refused:,} refused as before.{_IF_CORRECTED}" if refused else "."
        case _:
            text = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in result.items())
    return text


def describe_left_out(counts: Mapping[str, Any]) -> str:
    """What an erasure does not delete, or not yet; each on a line of its own."""
    held, unconfirmed = counts["held"], counts["unconfirmed"]
    unknown, already = counts["unknown_stream"], counts.get("already_erased", 0)
    kept = " and ".join(f"{count:,} {why}" for why, count in (("held", held), ("unconfirmed", unconfirmed)) if count)
    stay = f"\nIt keeps {count_of(held + unconfirmed, 'file')} until released or confirmed: {kept}."
    not_known = (
        f"\nNot deleted: {count_of(unknown, 'file')} whose stream is not known. See `zego-retention files list"
        " --unknown-stream`, and delete by number what is meant."
    )
    erased = f"\nNothing changes for {count_of(already, 'file')}: an earlier erasure has taken them."
    return "".join(
        text for text, count in ((stay, held or unconfirmed), (not_known, unknown), (erased, already)) if count
    )


def _count(files: int) -> str:
    return count_of(files, "file") if files else "no file"


def _describe_open_calls(count: int, files: list[int]) -> str:
    more = f" and {count - len(files):,} more" if count > len(files) else ""
    text = f"\nA call is already under way that may still delete file {', '.join(map(str, files))}{more}"
    return f"{text}: see `zego-retention files show ID` in a moment." if count else ""


def _name_files(what: str, numbers: list[int]) -> str:
    return f"\nNot done ({what}): file {', '.join(map(str, numbers))}" if numbers else ""


def carry_out(
    service: Service,
    number: int,
    work: Work,
    look: Callable[[Order], bool] = lambda _: True,
    place_again: Callable[[], int] | None = None,
) -> tuple[Order, bool]:
    """Have an order for a sweep or for listings carried out by whoever leads; and whether a person stopped that.

    Where nobody leads, this process does: `work(order, event)` carries it out until the event is set, and returns the
    result of the order, if that is still to be written. `look(order)` shows how far one is that has begun, and says
    whether it is over. When a worker starts it continues; `place_again` orders the rest, if there is any. LeadLost:
    this process led, and then another one did. CommandFailed: the order has expired.
    """
    database, may_lead_at, note_at = service.database, 0.0, time.monotonic() + _NOTE_AFTER_S
    with _stopped_by_signals() as is_stopped:
        while not is_stopped():
            order = read_order(database, number)
            if order.state is OrderState.EXPIRED:
                raise CommandFailed(f"order {number}: {order.summary}")
            if order.applied_at is not None and look(order):
                break
            if time.monotonic() >= may_lead_at:
                may_lead_at = time.monotonic() + _TRY_S
                if service.leader.try_to_lead():
                    if _lead(service, number, work, look, is_stopped):
                        note("a worker has started: it continues with this")
                        may_lead_at = time.monotonic() + _LET_WORKER_LEAD_S
                        number = number if place_again is None else place_again()
                    continue
            if order.applied_at is None and time.monotonic() >= note_at:
                note(f"order {number} waits, as a run may have to be finished first; {_describe_leader(service)} …")
                note_at = float("inf")
            time.sleep(_LOOK_S)
        return read_order(database, number), is_stopped()


def _lead(
    service: Service, number: int, work: Work, look: Callable[[Order], bool], is_stopped: Callable[[], bool]
) -> bool:
    """Do the work here, unless it has begun elsewhere; True: it was cut short for a worker that wants to lead."""
    database, end, is_worker_there = service.database, threading.Event(), False
    try:
        service.take_over()
        order = read_order(database, number)
        if order.applied_at is not None or is_stopped():
            return False
        with ThreadPoolExecutor(1, thread_name_prefix="order") as pool:
            done = pool.submit(work, order, end)
            try:
                while not (wait([done], _LOOK_AFTER_S).done or is_stopped() or is_worker_there):
                    order = read_order(database, number)
                    if order.state is OrderState.APPLIED:
                        look(order)
                    with database.read() as tx:
                        leader = find_leader(tx)
                    is_worker_there = leader is not None and leader.wanted_at is not None
            finally:
                end.set()
        result = done.result()
        if result is not None and not is_worker_there:
            service.leader.transact(lambda tx: finish_order(tx, number, service.now(), result))
    except LeadLost:
        if read_order(database, number).applied_at is not None:
            raise  # (else another process leads now, and carries it out)
    finally:
        service.leader.release()
    return is_worker_there


def _describe_leader(service: Service) -> str:
    """Who leads, and when another process can: a restored database still names who led when it was saved."""
    with service.database.read() as tx:
        leader = find_leader(tx)
    if leader is None or leader.renewed_at is None or not leader.holder:
        return "nobody leads yet"
    last, lease = describe_moment(leader.renewed_at), format_duration(service.settings.claim_lease)
    return f"{safe(leader.holder)} leads, last seen at {last}; if it is not there, another process can after {lease}"


@contextmanager
def _stopped_by_signals() -> Iterator[Callable[[], bool]]:
    """Collect SIGINT and SIGTERM while the block runs: has one come? A second one ends the process at once."""
    has_come = False  # a plain flag, for a signal may come in the middle of anything

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal has_come
        if has_come:
            os._exit(ExitCode.FAILED)  # what is in flight is repaired by the next leader
        has_come = True
        os.write(2, b"stopping after the calls in flight; Ctrl-C once more stops at once\n")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: has_come
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
