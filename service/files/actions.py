"""What people order for single files: confirming and retrying them; and applying those orders (docs/files.md)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from service.audit.checks import check_numbers
from service.audit.order import Order, OrderKind, Step
from service.audit.record import place_order
from service.database import Database, Transaction
from service.files import actions_store, store
from service.files.actions_store import Evidence
from service.leader.store import lock_leader
from service.model import END_STATES, Actor, FileState, MediaFile, NoSuchThing, NotPossible, WaitReason
from service.units import count_of, format_moment

_BATCH: Final = 500
_NOTHING: Final = Evidence()


def confirm_files(database: Database, actor: Actor, numbers: Sequence[int], now: datetime) -> int:
    """A person confirms unconfirmed files: from now on the rules decide them. All or none; the number of the order.

    The result of the order: `confirmed`, how many; and the numbers of those that were not, `suspected_again` because
    another stale or conflicting callback was understood after the order was written, `too_late` because they have
    ended or were confirmed meanwhile. `NotPossible`: one of them does not exist or is not unconfirmed.
    """
    return database.transact(lambda tx: _place(tx, actor, OrderKind.CONFIRM, numbers, now))


def retry_files(database: Database, actor: Actor, numbers: Sequence[int], now: datetime) -> int:
    """Start over with files that failed, and end the backoff of those that wait for their next attempt.

    All or none; the number of the order. Its result: `retried`, how many; `too_late`, the numbers of those that neither
    had failed nor waited any more. `NotPossible`: one of them does not exist, or has neither failed nor waits.
    """
    return database.transact(lambda tx: _place(tx, actor, OrderKind.RETRY, numbers, now))


def apply_confirm(tx: Transaction, order: Order, after: int, result: dict[str, Any]) -> Step:
    """Apply an order of kind CONFIRM. Payload: `files`, what was `seen` against each, and `confirmed_at`."""
    result = result or {"confirmed": 0, "suspected_again": [], "too_late": []}
    seen = dict(zip(order.payload["files"], order.payload["seen"], strict=True))
    batch, resume_after = _next_batch(order, after)
    evidence = actions_store.find_evidence(tx, batch)
    # Not later than now by the leader's clock: whatever is understood after it makes a file suspicious again, even if
    # the clock ran ahead where the order was written.
    moment = datetime.fromisoformat(order.payload["confirmed_at"])
    moment = min(moment, lock_leader(tx).renewed_at or moment)
    files = [file for file in store.find_files(tx, batch).values() if _is_unconfirmed(file)]
    confirmed, again = [], []
    for file in files:
        against = evidence.get(file.id, _NOTHING)
        if _describe_suspicion(file, against) == seen[file.id]:
            confirmed_at = max(moment, against.last_at or moment)
            confirmed.append(file._replace(suspicion=None, confirmed_at=confirmed_at, decide_again=True))
        else:
            again.append(file.id)
    store.save_files(tx, confirmed)
    for app_id in {file.app_id for file in confirmed}:  # they count among the newest of their streams now, too
        streams = {file.stream_id for file in confirmed if file.app_id == app_id}
        store.flag_streams(tx, app_id, streams, only_state=FileState.KEPT)
    counts = {
        "confirmed": result["confirmed"] + len(confirmed),
        "suspected_again": result["suspected_again"] + again,
        "too_late": result["too_late"] + sorted(set(batch) - {file.id for file in files}),
    }
    return Step(counts, resume_after)


def apply_retry(tx: Transaction, order: Order, after: int, result: dict[str, Any]) -> Step:
    """Apply an order of kind RETRY. Payload: `files`."""
    result = result or {"retried": 0, "too_late": []}
    batch, resume_after = _next_batch(order, after)
    retried = actions_store.start_over(tx, batch)
    late = [number for number in batch if number not in retried]
    return Step({"retried": result["retried"] + len(retried), "too_late": result["too_late"] + late}, resume_after)


def _is_unconfirmed(file: MediaFile) -> bool:
    is_unconfirmed = file.suspicion is not None or file.state is FileState.UNCONFIRMED
    return is_unconfirmed and file.state not in END_STATES


def _may_be_retried(file: MediaFile) -> bool:
    waits = file.wait_reason is WaitReason.RETRY and file.wait_until is not None
    return file.state is FileState.FAILED or (waits and file.state not in {*END_STATES, FileState.DELETING})


def _describe_suspicion(file: MediaFile, against: Evidence) -> str:
    """What is known against a file, as a text that changes with all that is understood later."""
    callbacks = f"{against.stale} stale, {against.conflicting} conflicting callbacks, the last at {against.last_at}"
    return f"{file.suspicion or 'nothing suspicious'}: {callbacks}"


def _next_batch(order: Order, after: int) -> tuple[list[int], int | None]:
    """The next numbers beyond `after` of those that an order names, and where to resume."""
    batch = [number for number in order.payload["files"] if number > after][:_BATCH]
    return batch, batch[-1] if len(batch) == _BATCH else None


def _place(tx: Transaction, actor: Actor, kind: OrderKind, numbers: Sequence[int], now: datetime) -> int:
    """Write an order for these files; each of them has to fit its kind."""
    wanted = check_numbers(numbers)
    found = store.find_files(tx, wanted)
    fits, otherwise = _is_unconfirmed, "there is nothing to confirm"
    if kind is OrderKind.RETRY:
        fits, otherwise = _may_be_retried, "only failed or waiting files can be retried"
    for number in wanted:
        if number not in found:
            raise NoSuchThing(f"there is no file {number}: see `zego-retention files list`")
        if not fits(found[number]):
            raise NotPossible(f"file {number} is {found[number].state}: {otherwise}")
    payload: dict[str, Any] = {"files": wanted}
    if kind is OrderKind.CONFIRM:
        # What is known against them now; whatever is understood later is not cleared by this order.
        evidence = actions_store.find_evidence(tx, wanted)
        seen = [_describe_suspicion(found[number], evidence.get(number, _NOTHING)) for number in wanted]
        payload |= {"seen": seen, "confirmed_at": format_moment(now)}
    apps = {file.app_id for file in found.values()}
    return place_order(
        tx,
        actor,
        kind,
        f"file {wanted[0]}" if len(wanted) == 1 else count_of(len(wanted), "file"),
        payload,
        now,
        action=f"files.{kind}",
        app_id=apps.pop() if len(apps) == 1 else None,
        detail={"files": wanted},
    )
