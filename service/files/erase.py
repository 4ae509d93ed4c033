"""Erasure on request: files that are deleted because a person asked for it, whatever the rules say (docs/files.md).

Holds win over it, and a suspicion keeps a file until it is confirmed. Files that arrive after the request are not part
of it. The sweep carries it out like any other deletion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.audit.checks import BadOrder, check_app, check_numbers, check_pattern, check_reason
from service.audit.order import Order, OrderKind, Step
from service.audit.record import place_order
from service.database import Database, Transaction
from service.files import actions_store, store
from service.files.actions_store import Group
from service.model import END_STATES, Actor, Erasure, FileState, NoSuchThing, NotPossible, Vendor
from service.units import count_of

_COUNTS = ("files", "held", "unconfirmed", "unknown_stream")


@dataclass(frozen=True, slots=True)
class ErasureRequest:
    """What is to be deleted: files by their numbers, or every file of an app whose known stream fits a pattern."""

    reason: str
    files: tuple[int, ...] = ()
    app_id: str | None = None
    stream_pattern: str | None = None


@dataclass(frozen=True, slots=True)
class ErasurePreview:
    """What a request would take: `files` in all, of which `held` and `unconfirmed` ones stay until that ends.

    `unknown_stream` files of the app are not taken, because no pattern takes a file whose stream is not known;
    `ended` ones were named, but are not there any more. Files with numbers beyond `highest_id` are not part of it.
    """

    app_ids: tuple[str, ...]
    files: int
    held: int
    unconfirmed: int
    failed: int
    unknown_stream: int
    ended: int
    by_state: dict[FileState, int]
    by_vendor: dict[Vendor, int]
    highest_id: int


class NotAsExpected(NotPossible):
    """The request would take another number of files than whoever made it expects; `preview` has those of now."""

    def __init__(self, expected: int, preview: ErasurePreview) -> None:
        super().__init__(
            f"{count_of(preview.files, 'file')} would be deleted now, not {expected:,}: nothing was done; look at what"
            " it concerns once more, then give that number"
        )
        self.preview = preview


def preview_erasure(database: Database, request: ErasureRequest, *, known_apps: Collection[str] = ()) -> ErasurePreview:
    """What a request would take; changes nothing.

    Raises:
        BadOrder: it is not valid as it was written.
        NoSuchThing: one of its files does not exist.
        DatabaseUnavailable: the database cannot be asked.
    """
    _check(request, known_apps)
    with database.read() as tx:
        highest_id = store.find_highest_id(tx)
        if request.stream_pattern is None:
            groups, apps = _group_named(tx, request)
        else:
            app_id = request.app_id or ""
            groups, apps = actions_store.group_pattern(tx, app_id, request.stream_pattern, highest_id), {app_id}
    return _sum_up(request, groups, apps, highest_id)


def erase_files(
    database: Database,
    actor: Actor,
    request: ErasureRequest,
    now: datetime,
    *,
    known_apps: Collection[str] = (),
    expect: int | None = None,
) -> tuple[int, int]:
    """Order files to be deleted by the next sweep; `expect` is how many a preview has shown.

    The result of the order: `files` that it took, `held` and `unconfirmed` of them, and how many of the app it did not
    take because their stream is not known (`unknown_stream`).

    Returns:
        The number of the erasure, and that of the order.

    Raises:
        BadOrder: it is not valid as it was written; nothing was done.
        NotAsExpected: it would not take `expect` files; nothing was done.
        NotPossible: none of its files is there; nothing was done.
        DatabaseUnavailable: the database refused or could not be reached.
    """
    preview = preview_erasure(database, request, known_apps=known_apps)
    if expect is not None and preview.files != expect:
        raise NotAsExpected(expect, preview)
    if not preview.files:
        unknown = f"; {count_of(preview.unknown_stream, 'file')} of unknown stream" if preview.unknown_stream else ""
        raise NotPossible(f"none of these files is there any more{unknown}: there is nothing to delete")
    erasure = Erasure(
        id=0,
        app_id=request.app_id if request.stream_pattern is not None else None,
        stream_pattern=request.stream_pattern,
        file_ids=tuple(sorted(set(request.files))),
        highest_id=preview.highest_id,
        files_count=preview.files,
        reason=request.reason.strip(),
        requested_at=now,
        requested_by=actor.name,
        through=actor.through,
    )
    return database.transact(lambda tx: _place(tx, actor, erasure, preview, now))


def apply_erase(tx: Transaction, order: Order, after: int, result: dict[str, Any]) -> Step:
    """Apply an order of kind ERASE: let the erasure take its files. Payload: `erasure`, its number."""
    number = order.payload["erasure"]
    erasure = store.find_erasures(tx, [number]).get(number)
    if erasure is None:
        raise NoSuchThing(f"erasure {number} is not on record")
    if after == 0:
        result = {"erasure": number} | dict.fromkeys(_COUNTS, 0)
    if erasure.stream_pattern is None:
        batch = [each for each in erasure.file_ids if each > after][: actions_store.RANGE]
        groups = actions_store.take_files(tx, erasure, batch)
        is_last, reached = len(batch) < actions_store.RANGE, batch[-1] if batch else after
    else:
        reached = min(after + actions_store.RANGE, erasure.highest_id)
        groups = actions_store.take_range(tx, erasure, after, reached)
        is_last = reached >= erasure.highest_id
    counts = _count(groups, by_pattern=erasure.stream_pattern is not None)
    added = {name: result[name] + counts[name] for name in _COUNTS}
    return Step(result | added, None if is_last else reached)


def _check(request: ErasureRequest, known_apps: Collection[str]) -> None:
    check_reason(request.reason)
    if bool(request.files) == (request.stream_pattern is not None):
        raise BadOrder("files", "an erasure names either files or a stream pattern")
    if request.stream_pattern is not None:
        check_pattern(request.stream_pattern)
        check_app(request.app_id, known_apps)


def _group_named(tx: Transaction, request: ErasureRequest) -> tuple[list[Group], set[str]]:
    wanted = check_numbers(request.files)
    groups, apps = actions_store.group_numbers(tx, wanted)
    if sum(group.count for group in groups) != len(wanted):
        missing = next(number for number in wanted if number not in store.find_files(tx, wanted))
        raise NoSuchThing(f"there is no file {missing}: see `zego-retention files list`")
    if request.app_id is not None and apps - {request.app_id}:
        raise BadOrder("app_id", f"not all of these files belong to app {request.app_id}")
    return groups, apps


def _sum_up(request: ErasureRequest, groups: Iterable[Group], apps: set[str], highest_id: int) -> ErasurePreview:
    by_pattern = request.stream_pattern is not None
    groups = list(groups)
    counts = _count(groups, by_pattern=by_pattern)
    by_state: Counter[FileState] = Counter()
    by_vendor: Counter[Vendor] = Counter()
    for group in groups:
        if group.state not in END_STATES and (group.is_stream_known or not by_pattern):
            by_state[group.state] += group.count
            by_vendor[group.vendor] += group.count
    return ErasurePreview(
        app_ids=tuple(sorted(apps)),
        files=counts["files"],
        held=counts["held"],
        unconfirmed=counts["unconfirmed"],
        failed=by_state[FileState.FAILED],
        unknown_stream=counts["unknown_stream"],
        ended=sum(group.count for group in groups if group.state in END_STATES),
        by_state=dict(by_state),
        by_vendor=dict(by_vendor),
        highest_id=highest_id,
    )


def _count(groups: Iterable[Group], *, by_pattern: bool) -> Counter[str]:
    counts: Counter[str] = Counter()
    for group in groups:
        if group.state in END_STATES:
            continue
        if by_pattern and not group.is_stream_known:
            counts["unknown_stream"] += group.count
            continue
        counts["files"] += group.count
        if group.state is FileState.HELD:
            counts["held"] += group.count
        elif group.is_unconfirmed:
            counts["unconfirmed"] += group.count
    return counts


def _place(tx: Transaction, actor: Actor, erasure: Erasure, preview: ErasurePreview, now: datetime) -> tuple[int, int]:
    number = store.add_erasure(tx, erasure)
    facts = {
        "reason": erasure.reason,
        "app_id": erasure.app_id,
        "stream_pattern": erasure.stream_pattern,
        "file_ids": list(erasure.file_ids) or None,
        "highest_id": erasure.highest_id,
        "files": preview.files,
        "held": preview.held,
        "unconfirmed": preview.unconfirmed,
    }
    order = place_order(
        tx,
        actor,
        OrderKind.ERASE,
        f"erasure {number}",
        {"erasure": number},
        now,
        action="files.erase",
        app_id=preview.app_ids[0] if len(preview.app_ids) == 1 else None,
        detail={name: value for name, value in facts.items() if value is not None},
    )
    return number, order
