"""The table of previews, and the walk over the inventory that they are made from."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import JSON, Column, Integer, Table, Text, delete, insert, literal, null, select, tuple_

from service.database import Transaction
from service.database.columns import BigId, columns_of, metadata
from service.files.store import COLUMNS, media_files
from service.model import END_STATES, MediaFile
from service.rules.decide import RetentionRule
from service.rules.store import read_rules, rule_revisions


class Preview(NamedTuple):
    """What a candidate would have done, compared with the revision in force at `as_of`; a row of `previews`.

    `sooner_count` files, of those with numbers up to `highest_id`, become due sooner. `result` is what people see.
    """

    id: int
    as_of: datetime
    made_by: str
    through: str
    base_revision: int
    highest_id: int
    source: str
    rules_text: str
    sooner_count: int
    result: dict[str, Any]

    @property
    def rules(self) -> tuple[RetentionRule, ...]:
        """The candidate, in its order."""
        return read_rules(self.rules_text)

    @property
    def cooling_off(self) -> timedelta:
        """How long files whose date it moves earlier would wait."""
        return timedelta(seconds=self.result["cooling_off_s"])


previews: Final = Table(
    "previews",
    metadata,
    *columns_of(
        Preview,
        id=Column("id", BigId, primary_key=True),
        base_revision=Integer(),
        rules_text=Column("rules", Text, nullable=False),
        result=Column("result", JSON, nullable=False),
    ),
)

# What deciding and counting does not look at is not read: it takes half of the time.
_NOT_NEEDED: Final = frozenset(
    {"received_at", "replay_url", "adopted_at", "listed_in", "missing_since", "confirmed_at", "state_reason"}
    | {"state_at", "moved_by", "attempts", "first_attempt_at", "last_attempt_id"}
)
_LIGHT: Final = tuple(null().label(column.name) if column.name in _NOT_NEEDED else column for column in COLUMNS)

_PLACE: Final = ("app_id", "stream_id", "ended_at", "id")
Place = tuple[str, str, datetime, int]
"""Where a file stands in the walk: app, stream, end, number."""


def find_place(file: MediaFile) -> Place:
    """Where a file stands in the walk."""
    return file.app_id, file.stream_id, file.ended_at, file.id


def list_by_stream(tx: Transaction, before: Place | None, up_to: int, limit: int) -> list[MediaFile]:
    """Files that have not ended, up to a number: stream by stream, the newest first, behind a place, in short."""
    app_id, stream_id, ended_at, number = place = tuple(media_files.c[name] for name in _PLACE)
    query = select(*_LIGHT).where(media_files.c.state.not_in(END_STATES), number <= up_to)
    ranges: list[list[Any]] = [[]]
    if before is not None:
        last = tuple_(literal(before[2], ended_at.type), literal(before[3], number.type))
        # One range after the other: PostgreSQL misjudges how many rows compare as one with all four columns.
        ranges = [
            [app_id == before[0], stream_id == before[1], tuple_(ended_at, number) < last],
            [app_id == before[0], stream_id < before[1]],
            [app_id < before[0]],
        ]
    files: list[MediaFile] = []
    for conditions in ranges:
        if len(files) < limit:
            found = query.where(*conditions).order_by(*(column.desc() for column in place)).limit(limit - len(files))
            files.extend(MediaFile._make(row) for row in tx.execute(found))
    return files


def add_preview(tx: Transaction, preview: Preview) -> int:
    """Store a preview; returns its number."""
    values = dict(zip(previews.c.keys(), preview, strict=True))
    del values["id"]
    return int(tx.execute(insert(previews).values(values).returning(previews.c.id)).scalar_one())


def find_preview(tx: Transaction, number: int) -> Preview | None:
    """One preview."""
    row = tx.execute(select(previews).where(previews.c.id == number)).one_or_none()
    return None if row is None else Preview._make(row)


def list_previews(tx: Transaction, limit: int | None = None, *, before: int | None = None) -> list[Preview]:
    """Previews, the newest first, those below `before`."""
    query = select(previews).order_by(previews.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(previews.c.id < before)
    return [Preview._make(row) for row in tx.execute(query)]


def forget_previews(tx: Transaction, made_before: datetime) -> None:
    """Delete previews of before that moment which were not applied."""
    applied = select(rule_revisions.c.preview_id).where(rule_revisions.c.preview_id.is_not(None))
    tx.execute(delete(previews).where(previews.c.as_of < made_before, previews.c.id.not_in(applied)))
