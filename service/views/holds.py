"""What people order for files: holds and erasures, how they are listed, and what an erasure would take."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from service import model
from service.database import Transaction
from service.files import store as files_store
from service.filters import HoldFilter
from service.holds import store
from service.model import FileState, Vendor
from service.views.form import AT, Form, eg
from service.views.listed import Column, Kind, Listed, Page, find_row, read_rows, take_from


class Hold(Form):
    """An order to keep: one file (`file` is its number), or every file of the streams of an app that fit a pattern."""

    id: int = eg(4)
    app_id: str = eg("1234567890")
    file: int | None = eg(None)
    vendor: Vendor | None = eg(None)
    file_id: str | None = eg(None)
    stream_pattern: str | None = eg("lesson-*")
    reason: str = eg("audit of the spring term")
    until: datetime | None = eg("2026-12-31T00:00:00Z")
    placed_at: datetime | None = eg(AT)
    placed_by: str = eg("support desk")
    through: str = eg("API")
    released_at: datetime | None = eg(None)
    released_by: str | None = eg(None)


class Erasure(Form):
    """A request that files be deleted; `files` is how many it would take when it was made."""

    id: int = eg(2)
    app_id: str | None = eg("1234567890")
    stream_pattern: str | None = eg("lesson-4711")
    file_numbers: list[int] = eg([], of="file_ids")
    files: int = eg(3, of="files_count")
    highest_id: int = eg(61_000, "files that became known later are not part of it")
    reason: str = eg("the learner asked for it, ticket 4711")
    requested_at: datetime = eg(AT)
    requested_by: str = eg("support desk")
    through: str = eg("API")


class ErasureDetail(Erasure):
    """An erasure, with the files that it took by their state now."""

    by_state: dict[FileState, int] = eg({"scheduled": 3})


class ErasurePreview(Form):
    """What a request would take: `files` in all; `held` and `unconfirmed` ones of them stay until that ends.

    `unknown_stream` files are not taken, because their stream is not known; `ended` ones are not there any more.
    """

    app_ids: list[str] = eg(["1234567890"])
    files: int = eg(3, "what to expect in the request")
    held: int = eg(0)
    unconfirmed: int = eg(0)
    failed: int = eg(0)
    unknown_stream: int = eg(0)
    ended: int = eg(1)
    by_state: dict[FileState, int] = eg({"kept": 3})
    by_vendor: dict[Vendor, int] = eg({"Tencent": 3})
    highest_id: int = eg(61_000)


def describe_holds(tx: Transaction, holds: Iterable[model.Hold]) -> list[Hold]:
    """The forms of holds, each with the number of its file."""
    return [_describe_hold(tx, hold) for hold in holds]


def _describe_hold(tx: Transaction, hold: model.Hold) -> Hold:
    facts = {name: getattr(hold, name) for name in hold.__dataclass_fields__}
    if hold.vendor is None or hold.file_id is None:
        return Hold(**facts, file=None)
    file = files_store.find_by_identity(tx, hold.app_id, hold.vendor, [hold.file_id]).get(hold.file_id)
    return Hold(**facts, file=None if file is None else file.id)


def _describe_erasure(tx: Transaction, erasure: model.Erasure) -> ErasureDetail:
    by_state = files_store.count_erased(tx, erasure.id)
    return ErasureDetail(**dict(Erasure.model_validate(erasure)), by_state=by_state)


HOLDS = Listed[HoldFilter, Hold, Hold](
    "hold",
    "holds list",
    Page[Hold],
    read_rows(
        lambda tx, wanted, cursor, size: store.list_holds(
            tx, size, after=cursor, only_standing=not wanted.released, app_id=wanted.app_id
        ),
        _describe_hold,
    ),
    lambda tx, wanted: store.count_holds(tx, only_standing=not wanted.released, app_id=wanted.app_id),
    find_row(store.find_hold, _describe_hold),
    (
        Column("id", lambda hold: hold.id, Kind.NUMBER),
        Column("app", lambda hold: hold.app_id, priority=2),
        Column("keeps", lambda hold: hold.stream_pattern or f"file {hold.file or hold.file_id}"),
        Column("until", lambda hold: hold.until, Kind.MOMENT),
        Column("reason", lambda hold: hold.reason, Kind.PROSE),
        Column("placed by", lambda hold: hold.placed_by, Kind.PROSE, 3),
        Column("placed", lambda hold: hold.placed_at, Kind.MOMENT, 4),
        Column("released", lambda hold: hold.released_at, Kind.MOMENT, 1),
    ),
)
"""Holds by number."""

ERASURES = Listed[None, Erasure, ErasureDetail](
    "erasure",
    "erasures list",
    Page[Erasure],
    read_rows(
        lambda tx, _, cursor, size: files_store.list_erasures(tx, size, before=cursor or None), take_from(Erasure)
    ),
    lambda tx, _wanted: files_store.count_erasures(tx),
    find_row(lambda tx, number: files_store.find_erasures(tx, [number]).get(number), _describe_erasure),
    (
        Column("id", lambda each: each.id, Kind.NUMBER),
        Column("requested", lambda each: each.requested_at, Kind.MOMENT),
        Column("takes", lambda each: each.stream_pattern or "files by number"),
        Column("files", lambda each: each.files, Kind.NUMBER),
        Column("reason", lambda each: each.reason, Kind.PROSE),
        Column("requested by", lambda each: each.requested_by, Kind.PROSE, 1),
        Column("app", lambda each: each.app_id, priority=2),
    ),
)
"""Erasures, the newest first."""
