"""Erasure on request: files that are deleted because a person asked for it, whatever the rules say (docs/files.md).

Holds win over it, and a suspicion keeps a file until it is confirmed. Files that arrive after the request are not part
of it. The sweep carries it out like any other deletion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
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
    """What a request would take; changes nothing. `NotPossible`: not valid, or a file that does not exist."""
    check_reason(request.reason)
    pattern, numbers = request.stream_pattern, request.files
    if bool(numbers) == (pattern is not None):
        raise BadOrder("files", "an erasure names either files or a stream pattern")
    with database.read() as tx:
        highest_id = store.find_highest_id(tx)
        if pattern is None:
            numbers = check_numbers(numbers)
            groups = actions_store.group_numbers(tx, numbers)
            if sum(group.files for group in groups) < len(numbers):
                missing = min(set(numbers) - store.find_files(tx, numbers).keys())
                raise NoSuchThing(f"there is no file {missing}: see `zego-retention files list`")
        else:
            check_pattern(pattern)
            app_id = check_app(request.app_id, known_apps)
            groups = actions_store.group_pattern(tx, app_id, pattern, highest_id)
    apps = {group.app_id for group in groups}
    if request.app_id is not None and apps - {request.app_id}:
        raise BadOrder("app_id", f"not all of these files belong to app {request.app_id}")
    by_state, by_vendor = Counter[FileState](), Counter[Vendor]()
    for group in _find_taken(groups, pattern):
        by_state[group.state] += group.files
        by_vendor[group.vendor] += group.files
    return ErasurePreview(
        app_ids=tuple(sorted(apps)),
        **_count(groups, pattern),
        failed=by_state.get(FileState.FAILED, 0),
        ended=sum(group.files for group in groups if group.state in END_STATES),
        by_state=dict(by_state),
        by_vendor=dict(by_vendor),
        highest_id=highest_id,
    )


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

    Returns the number of the erasure, and that of the order. The result of the order: `files` that it takes, `held` and
    `unconfirmed` of them, and how many of the app it does not take because their stream is not known
    (`unknown_stream`). `NotPossible`: it is not valid or none of its files is there; `NotAsExpected`.
    """
    preview = preview_erasure(database, request, known_apps=known_apps)
    if expect is not None and preview.files != expect:
        raise NotAsExpected(expect, preview)
    if not preview.files:
        unknown = f"; {count_of(preview.unknown_stream, 'file')} of unknown stream" if preview.unknown_stream else ""
        raise NotPossible(f"none of these files is there any more{unknown}: there is nothing to delete")
    facts: dict[str, Any] = {
        "reason": request.reason.strip(),
        "app_id": request.app_id if request.stream_pattern is not None else None,
        "stream_pattern": request.stream_pattern,
        "file_ids": tuple(sorted(set(request.files))),
        "highest_id": preview.highest_id,
    }
    erasure = Erasure(
        0, **facts, files_count=preview.files, requested_at=now, requested_by=actor.name, through=actor.through
    )
    counts = {name: getattr(preview, name) for name in ("files", "held", "unconfirmed")}

    def place(tx: Transaction) -> tuple[int, int]:
        number = store.add_erasure(tx, erasure)
        order = place_order(
            tx,
            actor,
            OrderKind.ERASE,
            f"erasure {number}",
            {"erasure": number},
            now,
            action="files.erase",
            app_id=preview.app_ids[0] if len(preview.app_ids) == 1 else None,
            detail={name: value for name, value in (facts | counts).items() if value not in (None, ())},
        )
        return number, order

    return database.transact(place)


def apply_erase(tx: Transaction, order: Order, after: int, result: dict[str, Any]) -> Step:
    """Apply an order of kind ERASE: let the erasure take its files. Payload: `erasure`, its number."""
    number = order.payload["erasure"]
    erasure = store.find_erasures(tx, [number])[number]
    groups, resume_after = actions_store.take_files(tx, erasure, after)
    added = {name: result.get(name, 0) + count for name, count in _count(groups, erasure.stream_pattern).items()}
    return Step({"erasure": number} | added, resume_after)


def _find_taken(groups: Iterable[Group], pattern: str | None) -> list[Group]:
    """Of the files that are there, those that an erasure takes: a pattern takes none whose stream is not known."""
    there = (group for group in groups if group.state not in END_STATES)
    return [group for group in there if pattern is None or group.is_stream_known]


def _count(groups: Sequence[Group], pattern: str | None) -> dict[str, int]:
    """How many files are taken, what keeps them, and how many are not taken because their stream is not known."""
    taken = _find_taken(groups, pattern)
    held = [group.files for group in taken if group.state is FileState.HELD]
    unconfirmed = [group.files for group in taken if group.state is not FileState.HELD and group.is_unconfirmed]
    files = sum(group.files for group in taken)
    there = sum(group.files for group in _find_taken(groups, None))
    return {"files": files, "held": sum(held), "unconfirmed": sum(unconfirmed), "unknown_stream": there - files}
