"""What people order for files: confirming, retrying and erasing them; and applying those orders (docs/files.md).

An erasure deletes files whatever the rules say. Holds win over it, and a suspicion keeps a file until it is confirmed.
Files that arrive after the request are not part of it. The sweep carries it out like any other deletion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from service.audit.checks import BadOrder, check_app, check_numbers, check_pattern, check_reason
from service.audit.order import Order, OrderKind, Step
from service.audit.record import place_order
from service.database import Database, Transaction
from service.files import actions_store, store
from service.files.actions_store import Group
from service.leader.store import lock_leader
from service.model import (
    END_STATES,
    Actor,
    Erasure,
    FileState,
    MediaFile,
    NoSuchThing,
    NotPossible,
    Vendor,
    WaitReason,
)
from service.units import count_of, format_moment

_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class ErasureRequest:
    """What is to be deleted: files by their numbers, or every file of an app whose known stream fits a pattern."""

    reason: str
    files: Sequence[int] = ()
    app_id: str | None = None
    stream_pattern: str | None = None


@dataclass(frozen=True, slots=True)
class ErasurePreview:
    """What a request would take: `files` in all, of which `held` and `unconfirmed` ones stay until that ends.

    No pattern takes files of `unknown_stream`; nothing changes for `already_erased` ones, which an earlier erasure has.
    `ended` ones were named, but are not there any more. Files with numbers beyond `highest_id` are not part of it.
    """

    app_ids: tuple[str, ...]
    files: int
    held: int
    unconfirmed: int
    failed: int
    unknown_stream: int
    already_erased: int
    ended: int
    by_state: dict[FileState, int]
    by_vendor: dict[Vendor, int]
    highest_id: int


class NotAsExpected(NotPossible):
    """The request would take another number of files than whoever made it expects; `preview` has those of now."""

    def __init__(self, expected: int, preview: ErasurePreview) -> None:
        text = describe_nothing(preview)
        if preview.files:
            text = (
                f"{count_of(preview.files, 'file')} would be deleted now, not {expected:,}: nothing was done; look at"
                " what it concerns once more, then give that number"
            )
        super().__init__(text)
        self.preview = preview


def confirm_files(database: Database, actor: Actor, numbers: Sequence[int], now: datetime) -> int:
    """A person confirms unconfirmed files: from now on the rules decide them. All or none; the number of the order.

    Its result: `confirmed`, how many; and the numbers of those that were not, `suspected_again` because another stale
    or conflicting callback was understood after the order was written, `too_late` because they have ended or were
    confirmed meanwhile.
    """
    return database.transact(lambda tx: _place(tx, actor, OrderKind.CONFIRM, numbers, now))


def retry_files(database: Database, actor: Actor, numbers: Sequence[int], now: datetime) -> int:
    """Start over with files that failed, and end the backoff of those that wait. All or none; the number of the order.

    Its result: `retried`, how many; `too_late`, the numbers of those that neither had failed nor waited any more.
    """
    return database.transact(lambda tx: _place(tx, actor, OrderKind.RETRY, numbers, now))


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
        seen = [(found[number].suspicion, evidence.get(number, ("", now))[0]) for number in wanted]
        payload |= {"seen": seen, "confirmed_at": format_moment(now)}
    about = (kind, f"file {wanted[0]}" if len(wanted) == 1 else count_of(len(wanted), "file"), payload)
    app_id = _find_only({file.app_id for file in found.values()})
    return place_order(tx, actor, *about, now, action=f"files.{kind}", app_id=app_id, detail={"files": wanted})


def list_possible(file: MediaFile) -> list[OrderKind]:
    """What can be ordered for a file as it stands."""
    is_possible = {
        OrderKind.HOLD: file.state is not FileState.DELETED,
        OrderKind.RELEASE: file.state is FileState.HELD,
        OrderKind.RETRY: _may_be_retried(file),
        OrderKind.CONFIRM: _is_unconfirmed(file),
    }
    return [kind for kind in is_possible if is_possible[kind]]


def _is_unconfirmed(file: MediaFile) -> bool:
    is_unconfirmed = file.suspicion is not None or file.state is FileState.UNCONFIRMED
    return is_unconfirmed and file.state not in END_STATES


def _may_be_retried(file: MediaFile) -> bool:
    waits = file.wait_reason is WaitReason.RETRY and file.wait_until is not None
    return file.state is FileState.FAILED or (waits and file.state not in {*END_STATES, FileState.DELETING})


def _find_only(apps: Collection[str]) -> str | None:
    return next(iter(apps)) if len(apps) == 1 else None


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
        callbacks, last_at = evidence.get(file.id, ("", moment))
        if [file.suspicion, callbacks] == seen[file.id]:
            confirmed_at = max(moment, last_at or moment)
            confirmed.append(file._replace(suspicion=None, confirmed_at=confirmed_at, decide_again=True))
        else:
            again.append(file.id)
    store.save_files(tx, confirmed)
    for app_id in {file.app_id for file in confirmed}:  # they count among the newest of their streams now, too
        streams = {file.stream_id for file in confirmed if file.app_id == app_id}
        store.flag_streams(tx, app_id, streams)
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


def preview_erasure(database: Database, request: ErasureRequest, *, known_apps: Collection[str] = ()) -> ErasurePreview:
    """What a request would take; changes nothing. `NotPossible`: not valid, or a file that does not exist."""
    check_reason(request.reason)
    pattern, numbers = request.stream_pattern, request.files
    if bool(numbers) == (pattern is not None):
        raise BadOrder("files", "an erasure names either files or a stream pattern")
    with database.read() as tx:
        highest_id = store.find_highest_id(tx)
        if pattern is None:
            numbers = check_numbers(numbers)
            groups = actions_store.group_files(tx, numbers)
            if sum(group.files for group in groups) < len(numbers):
                missing = min(set(numbers) - store.find_files(tx, numbers).keys())
                raise NoSuchThing(f"there is no file {missing}: see `zego-retention files list`")
        else:
            check_pattern(pattern)
            app_id = check_app(request.app_id, known_apps)
            groups = actions_store.group_streams(tx, app_id, pattern, highest_id)
    apps = {group.app_id for group in groups}
    if request.app_id is not None and apps - {request.app_id}:
        raise BadOrder("app_id", f"not all of these files belong to app {request.app_id}")
    by_state, by_vendor, ended = Counter[FileState](), Counter[Vendor](), 0
    for group in groups:
        if group.state in END_STATES:
            ended += group.files
        elif _is_taken(group, pattern):
            by_state[group.state] += group.files
            by_vendor[group.vendor] += group.files
    return ErasurePreview(
        app_ids=tuple(sorted(apps)),
        **_count(groups, pattern),
        failed=by_state.get(FileState.FAILED, 0),
        ended=ended,
        by_state=dict(by_state),
        by_vendor=dict(by_vendor),
        highest_id=highest_id,
    )


def describe_nothing(preview: ErasurePreview) -> str:
    """Why a request takes no file."""
    why = (
        (preview.ended, "already deleted or gone"),
        (preview.already_erased, "taken by an earlier erasure already"),
        (preview.unknown_stream, "of unknown stream"),
    )
    found = "".join(f"; {count_of(count, 'file')} {text}" for count, text in why if count)
    hint = " (no pattern takes those of unknown stream: give their numbers)" if preview.unknown_stream else ""
    return f"no present file matches{found}: there is nothing to delete{hint}"


def erase_files(
    database: Database,
    actor: Actor,
    request: ErasureRequest,
    now: datetime,
    *,
    known_apps: Collection[str] = (),
    expect: int | None = None,
) -> tuple[int, int]:
    """Order files to be deleted by the next sweep; `expect` is how many a preview has shown (else `NotAsExpected`).

    Returns the number of the erasure, and that of the order. Its result: `files` that it takes, `held` and
    `unconfirmed` of them, `unknown_stream`, those of the app that it does not take for that, and `already_erased`.
    """
    preview = preview_erasure(database, request, known_apps=known_apps)
    if expect is not None and preview.files != expect:
        raise NotAsExpected(expect, preview)
    if not preview.files:
        raise NotPossible(describe_nothing(preview))
    erasure = Erasure(
        id=0,
        app_id=request.app_id if request.stream_pattern is not None else None,
        stream_pattern=request.stream_pattern,
        file_ids=sorted(set(request.files)),
        highest_id=preview.highest_id,
        files_count=preview.files,
        reason=request.reason.strip(),
        requested_at=now,
        requested_by=actor.name,
        through=actor.through,
    )
    detail = {name: getattr(erasure, name) for name in ("reason", "app_id", "stream_pattern", "file_ids", "highest_id")}
    detail |= {name: getattr(preview, name) for name in ("files", "held", "unconfirmed")}
    detail = {name: value for name, value in detail.items() if value not in (None, [])}

    def place(tx: Transaction) -> tuple[int, int]:
        number = store.add_erasure(tx, erasure)
        about = (OrderKind.ERASE, f"erasure {number}", {"erasure": number})
        app_id = _find_only(preview.app_ids)
        return number, place_order(tx, actor, *about, now, action="files.erase", app_id=app_id, detail=detail)

    return database.transact(place)


def apply_erase(tx: Transaction, order: Order, after: int, result: dict[str, Any]) -> Step:
    """Apply an order of kind ERASE: let the erasure take its files. Payload: `erasure`, its number."""
    number = order.payload["erasure"]
    erasure = store.find_erasures(tx, [number])[number]
    groups, resume_after = actions_store.take_files(tx, erasure, after)
    added = {name: result.get(name, 0) + count for name, count in _count(groups, erasure.stream_pattern).items()}
    return Step({"erasure": number} | added, resume_after)


def _next_batch(order: Order, after: int) -> tuple[list[int], int | None]:
    """The next numbers beyond `after` of those that an order names, and where to resume."""
    batch = [number for number in order.payload["files"] if number > after][:_BATCH]
    return batch, batch[-1] if len(batch) == _BATCH else None


def _count(groups: Sequence[Group], pattern: str | None) -> dict[str, int]:
    """Of those that are there: how many are taken, what keeps them, and how many are not taken.

    A pattern takes none whose stream is not known; what another erasure has stays with that.
    """
    counts = dict.fromkeys(("files", "held", "unconfirmed", "unknown_stream", "already_erased"), 0)
    for group in groups:
        if group.state in END_STATES:
            continue
        is_taken = _is_taken(group, pattern)
        counts["files" if is_taken else "already_erased" if group.is_erased else "unknown_stream"] += group.files
        if is_taken and group.state is FileState.HELD:
            counts["held"] += group.files
        elif is_taken and group.is_unconfirmed:
            counts["unconfirmed"] += group.files
    return counts


def _is_taken(group: Group, pattern: str | None) -> bool:
    return not group.is_erased and (pattern is None or group.is_stream_known)
