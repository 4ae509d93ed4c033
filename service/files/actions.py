"""What people order for single files: confirming and retrying them; and applying those orders (docs/files.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from service.audit.checks import check_numbers
from service.audit.order import Order, OrderKind, Step
from service.audit.record import place_order
from service.database import Database, Transaction
from service.files import actions_store, store
from service.files.actions_store import Evidence
from service.files.erase import apply_erase, erase_files
from service.leader.store import find_leader
from service.model import END_STATES, Actor, FileState, MediaFile, NoSuchThing, NotPossible, WaitReason
from service.units import count_of, format_moment

__all__ = ["apply_confirm", "apply_erase", "apply_retry", "confirm_files", "erase_files", "retry_files"]

_BATCH: Final = 500


def confirm_files(database: Database, actor: Actor, numbers: Sequence[int], now: datetime) -> int:
    """A person confirms unconfirmed files: from now on the rules decide them. All or none; the number of the order.

    The result of the order: `confirmed`, how many; and the numbers of those that were not, `suspected_again` because
    another stale or conflicting callback was understood after the order was written, `too_late` because they have
    ended or were confirmed meanwhile.

    Raises:
        NotPossible: one of them does not exist or is not unconfirmed.
        DatabaseUnavailable: the database refused or could not be reached.
    """

    def place(tx: Transaction) -> int:
        files = _find_all(tx, numbers, _may_be_confirmed, "there is nothing to confirm")
        evidence = actions_store.find_evidence(tx, [file.id for file in files])
        payload = {
            "files": [file.id for file in files],
            # What is known against them now; whatever is understood later is not cleared by this order.
            "seen": [_describe_suspicion(file, evidence.get(file.id)) for file in files],
            "confirmed_at": format_moment(now),
        }
        return _place(tx, actor, OrderKind.CONFIRM, files, payload, now)

    return database.transact(place)


def apply_confirm(tx: Transaction, order: Order, after: int, result: dict[str, Any]) -> Step:
    """Apply an order of kind CONFIRM. Payload: `files`, what was `seen` against each, and `confirmed_at`."""
    if after == 0:
        result = {"confirmed": 0, "suspected_again": [], "too_late": []}
    seen = dict(zip(order.payload["files"], order.payload["seen"], strict=True))
    batch, resume_after = _next_batch(seen, after)
    found = store.find_files(tx, batch)
    evidence = actions_store.find_evidence(tx, batch)
    moment = _find_moment(tx, order)
    confirmed, suspected, too_late = [], list(result["suspected_again"]), list(result["too_late"])
    for number in batch:
        file = found.get(number)
        if file is None or not _may_be_confirmed(file):
            too_late.append(number)
            continue
        against = evidence.get(number)
        if _describe_suspicion(file, against) != seen[number]:
            suspected.append(number)
            continue
        confirmed_at = moment if against is None or against.last_at is None else max(moment, against.last_at)
        confirmed.append(file._replace(suspicion=None, confirmed_at=confirmed_at, decide_again=True))
    store.save_files(tx, confirmed)
    _flag_ranks(tx, confirmed)
    counts = {"confirmed": result["confirmed"] + len(confirmed), "suspected_again": suspected, "too_late": too_late}
    return Step(counts, resume_after)


def retry_files(database: Database, actor: Actor, numbers: Sequence[int], now: datetime) -> int:
    """Start over with files that failed, and end the backoff of those that wait for their next attempt.

    All or none; the number of the order. Its result: `retried`, how many; `too_late`, the numbers of those that neither
    had failed nor waited any more.

    Raises:
        NotPossible: one of them does not exist, or has neither failed nor waits for its next attempt.
        DatabaseUnavailable: the database refused or could not be reached.
    """

    def place(tx: Transaction) -> int:
        files = _find_all(tx, numbers, _may_be_retried, "only failed or waiting files can be retried")
        return _place(tx, actor, OrderKind.RETRY, files, {"files": [file.id for file in files]}, now)

    return database.transact(place)


def apply_retry(tx: Transaction, order: Order, after: int, result: dict[str, Any]) -> Step:
    """Apply an order of kind RETRY. Payload: `files`."""
    if after == 0:
        result = {"retried": 0, "too_late": []}
    batch, resume_after = _next_batch(order.payload["files"], after)
    found = store.find_files(tx, batch)
    retried = [_start_over(file) for file in found.values() if _may_be_retried(file)]
    store.save_files(tx, retried)
    late = sorted(set(batch) - {file.id for file in retried})
    return Step({"retried": result["retried"] + len(retried), "too_late": [*result["too_late"], *late]}, resume_after)


def _may_be_confirmed(file: MediaFile) -> bool:
    is_unconfirmed = file.suspicion is not None or file.state is FileState.UNCONFIRMED
    return is_unconfirmed and file.state not in END_STATES


def _may_be_retried(file: MediaFile) -> bool:
    waits = file.wait_reason is WaitReason.RETRY and file.wait_until is not None
    return file.state is FileState.FAILED or (waits and file.state not in {*END_STATES, FileState.DELETING})


def _start_over(file: MediaFile) -> MediaFile:
    """The row of a file that a person retries; one that had failed is decided as if it had never been asked for."""
    file = file._replace(decide_again=True)
    if file.wait_reason is WaitReason.RETRY:
        file = file._replace(wait_until=None, wait_reason=None)
    if file.state is FileState.FAILED:
        file = file._replace(state=FileState.KEPT, attempts=0, first_attempt_at=None)
    return file


def _describe_suspicion(file: MediaFile, evidence: Evidence | None) -> str:
    """What is known against a file, as a text that changes with all that is understood later."""
    return f"{file.suspicion or 'nothing suspicious'}: {evidence or 'no callback'}"


def _find_moment(tx: Transaction, order: Order) -> datetime:
    """When an order confirmed its files, but not later than now by the leader's clock.

    Whatever is understood after it makes a file suspicious again, even if the clock ran ahead where it was written.
    """
    leader = find_leader(tx)
    written_at = datetime.fromisoformat(order.payload["confirmed_at"])
    return written_at if leader is None or leader.renewed_at is None else min(written_at, leader.renewed_at)


def _flag_ranks(tx: Transaction, files: Sequence[MediaFile]) -> None:
    """What is kept as one of the newest of a stream is looked at again: these files count now, too."""
    for app_id in sorted({file.app_id for file in files}):
        streams = {file.stream_id for file in files if file.app_id == app_id}
        store.flag_streams(tx, app_id, streams, only_state=FileState.KEPT)


def _find_all(
    tx: Transaction, numbers: Sequence[int], is_meant: Callable[[MediaFile], bool], otherwise: str
) -> list[MediaFile]:
    """The files of these numbers, in order.

    Raises:
        NotPossible: one of them does not exist, or is not meant.
    """
    wanted = check_numbers(numbers)
    found = store.find_files(tx, wanted)
    for number in wanted:
        if number not in found:
            raise NoSuchThing(f"there is no file {number}: see `zego-retention files list`")
        if not is_meant(found[number]):
            raise NotPossible(f"file {number} is {found[number].state}: {otherwise}")
    return [found[number] for number in wanted]


def _next_batch(numbers: Sequence[int] | dict[int, str], after: int) -> tuple[list[int], int | None]:
    """The next numbers beyond `after` of those that an order names, and where to resume."""
    batch = [number for number in numbers if number > after][:_BATCH]
    return batch, batch[-1] if len(batch) == _BATCH else None


def _place(
    tx: Transaction,
    actor: Actor,
    kind: OrderKind,
    files: Sequence[MediaFile],
    payload: dict[str, Any],
    now: datetime,
) -> int:
    apps = {file.app_id for file in files}
    return place_order(
        tx,
        actor,
        kind,
        f"file {files[0].id}" if len(files) == 1 else count_of(len(files), "file"),
        payload,
        now,
        action=f"files.{kind}",
        app_id=apps.pop() if len(apps) == 1 else None,
        detail={"files": payload["files"]},
    )
