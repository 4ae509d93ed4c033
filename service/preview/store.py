"""The table of previews, and the walk over the inventory that they are made from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Integer,
    Table,
    Text,
    delete,
    func,
    insert,
    literal,
    null,
    select,
    tuple_,
)

from service.database.schema import BigId, UtcDateTime, metadata
from service.files.store import COLUMNS, media_files
from service.model import END_STATES, MediaFile
from service.rules.file import parse_rules
from service.rules.store import rule_revisions

if TYPE_CHECKING:
    from service.database import Transaction
    from service.rules.decide import RetentionRule

previews: Final = Table(
    "previews",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("as_of", UtcDateTime, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("through", Text, nullable=False),
    # What it compares with, and how far the inventory went.
    Column("base_revision", Integer, nullable=False),
    Column("highest_id", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("rules", Text, nullable=False),
    # How many files become due sooner.
    Column("sooner_count", BigInteger, nullable=False),
    Column("result", JSON, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a candidate would have done, compared with the revision in force at `as_of`.

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
        return parse_rules(self.rules_text)

    @property
    def cooling_off(self) -> timedelta:
        """How long files whose date it moves earlier would wait."""
        return timedelta(seconds=self.result["cooling_off_s"])


# What deciding and counting does not look at is not read: it takes half of the time.
_NOT_NEEDED: Final = frozenset(
    {"received_at", "replay_url", "adopted_at", "listed_in", "missing_since", "confirmed_at", "state_reason"}
    | {"state_at", "moved_by", "attempts", "first_attempt_at", "last_attempt_id"}
)
_LIGHT: Final = tuple(null().label(column.name) if column.name in _NOT_NEEDED else column for column in COLUMNS)
_PLACE: Final = tuple(media_files.c[name] for name in ("app_id", "stream_id", "ended_at", "id"))
_IS_PRESENT: Final = media_files.c.state.not_in(END_STATES)

Place = tuple[str, str, datetime, int]
"""Where a file stands in the walk: app, stream, end, number."""


def find_place(file: MediaFile) -> Place:
    """Where a file stands in the walk."""
    return file.app_id, file.stream_id, file.ended_at, file.id


def find_start(file: MediaFile) -> Place:
    """The place before all files of a file's stream."""
    return file.app_id, file.stream_id, datetime.max.replace(tzinfo=UTC), 0


def list_by_stream(tx: Transaction, before: Place | None, up_to: int, limit: int) -> list[MediaFile]:
    """Files that have not ended, stream by stream and the newest first, from a place on, with numbers up to `up_to`.

    Only what deciding looks at is filled in; the other fields are None.
    """
    query = select(*_LIGHT).where(_IS_PRESENT, media_files.c.id <= up_to)
    if before is not None:
        bound = (literal(value, column.type) for value, column in zip(before, _PLACE, strict=True))
        query = query.where(tuple_(*_PLACE) < tuple_(*bound))
    query = query.order_by(*(column.desc() for column in _PLACE)).limit(limit)
    return [MediaFile._make(row) for row in tx.execute(query)]


def count_to_compare(tx: Transaction) -> int:
    """How many files a preview looks at."""
    return int(tx.execute(select(func.count()).select_from(media_files).where(_IS_PRESENT)).scalar_one())


def add_preview(tx: Transaction, preview: Preview) -> int:
    """Store a preview; returns its number."""
    return int(
        tx.execute(
            insert(previews)
            .values(
                as_of=preview.as_of,
                made_by=preview.made_by,
                through=preview.through,
                base_revision=preview.base_revision,
                highest_id=preview.highest_id,
                source=preview.source,
                rules=preview.rules_text,
                sooner_count=preview.sooner_count,
                result=preview.result,
            )
            .returning(previews.c.id)
        ).scalar_one()
    )


def find_preview(tx: Transaction, number: int) -> Preview | None:
    """One preview."""
    row = tx.execute(select(previews).where(previews.c.id == number)).one_or_none()
    return None if row is None else Preview(*row)


def list_previews(tx: Transaction, limit: int | None = None, *, before: int | None = None) -> list[Preview]:
    """Previews, the newest first, those below `before`."""
    query = select(previews).order_by(previews.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(previews.c.id < before)
    return [Preview(*row) for row in tx.execute(query)]


def forget_previews(tx: Transaction, made_before: datetime) -> None:
    """Delete previews of before that moment which were not applied."""
    applied = select(rule_revisions.c.preview_id).where(rule_revisions.c.preview_id.is_not(None))
    tx.execute(delete(previews).where(previews.c.as_of < made_before, previews.c.id.not_in(applied)))
