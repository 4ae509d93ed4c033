"""What people order for files: holds and erasures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from service import model
from service.database import Transaction
from service.files import store as files_store
from service.filters import HoldFilter
from service.holds import store
from service.model import Erasure, FileState
from service.views.form import show_as, take
from service.views.listed import Listed


@dataclass(frozen=True, slots=True)
class Hold(model.Hold):
    """An order to keep: one file (`file` is its number), or every file of the streams of an app that fit a pattern."""

    file: int | None = None


@dataclass(frozen=True, slots=True)
class ErasureDetail(Erasure):
    """An erasure, with the files that it took by their state now."""

    by_state: dict[FileState, int]


show_as(Erasure, file_numbers="file_ids", files="files_count")


def describe_holds(tx: Transaction, holds: Iterable[model.Hold]) -> Iterator[Hold]:
    """Holds, each with the number of its file."""
    for hold in holds:
        numbers: list[int] = []
        if hold.vendor is not None and hold.file_id is not None:
            found = files_store.find_by_identity(tx, hold.app_id, hold.vendor, [hold.file_id])
            numbers = [file.id for file in found.values()]
        yield take(Hold, hold, file=numbers[0] if numbers else None)


def _find_hold(tx: Transaction, number: int) -> Hold | None:
    return next(describe_holds(tx, filter(None, [store.find_hold(tx, number)])), None)


def _find_erasure(tx: Transaction, number: int) -> ErasureDetail | None:
    found = files_store.find_erasures(tx, [number]).get(number)
    return None if found is None else take(ErasureDetail, found, by_state=files_store.count_erased(tx, number))


HOLDS = Listed[HoldFilter, Hold, Hold](
    "hold",
    "holds list",
    Hold,
    lambda tx, wanted, cursor, size: describe_holds(
        tx, store.list_holds(tx, size, after=cursor, only_standing=not wanted.released, app_id=wanted.app_id)
    ),
    lambda tx, wanted: store.count_holds(tx, only_standing=not wanted.released, app_id=wanted.app_id),
    "id, app: app_id, stream: stream_pattern, file, until, reason, placed by: placed_by, placed: placed_at,"
    " released: released_at",
    "placed, placed by, app, released",
    _find_hold,
)
"""Holds by number."""

ERASURES = Listed[None, Erasure, ErasureDetail](
    "erasure",
    "erasures list",
    Erasure,
    lambda tx, _, cursor, size: files_store.list_erasures(tx, size, before=cursor or None),
    lambda tx, _: files_store.count_erasures(tx),
    "id, requested: requested_at, stream: stream_pattern, files: files_count, reason, requested by: requested_by,"
    " app: app_id",
    "app, requested by",
    _find_erasure,
)
"""Erasures, the newest first."""
