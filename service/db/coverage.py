"""Which files an order names: by their numbers, by their streams, and those that a pass has in hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, TextClause, select

from service.core.file_sets import FileSet
from service.core.model import FileState, MediaFile, Vendor
from service.db.models import IS_CLAIMED, IS_OPEN, AttemptRow, MediaFileRow

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sqlalchemy.orm import Session

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Named:
    """A file as far as orders look at it: its number, its state, and the facts that name it."""

    number: int
    state: FileState
    file: MediaFile


def find_number(session: Session, app_id: str, vendor: Vendor, file_id: str) -> int | None:
    """The number of a file in the inventory, by what the vendor calls it."""
    query = select(MediaFileRow.id).where(
        MediaFileRow.app_id == app_id, MediaFileRow.vendor == vendor, MediaFileRow.file_id == file_id
    )
    return session.scalar(query)


def has_files(session: Session, app_id: str) -> bool:
    """The inventory holds files of this app, deleted ones included."""
    return session.scalar(select(MediaFileRow.id).where(MediaFileRow.app_id == app_id).limit(1)) is not None


def list_streams(session: Session, app_id: str) -> list[str]:
    """Every stream of an app that the inventory has ever seen; "" stands for files whose stream is not known."""
    return list(session.scalars(select(MediaFileRow.stream_id).where(MediaFileRow.app_id == app_id).distinct()))


def list_numbers(session: Session, app_id: str, streams: Sequence[str], states: Collection[FileState]) -> Sequence[int]:
    """The numbers of the files of these streams that are in one of these states, in order."""
    # Said by what they are not: SQLite would answer an IN through the index on states, and read all of them.
    others = [state for state in FileState if state not in states]
    query = select(MediaFileRow.id).where(
        MediaFileRow.app_id == app_id, MediaFileRow.stream_id.in_(streams), MediaFileRow.state.not_in(others)
    )
    return session.scalars(query.order_by(MediaFileRow.id)).all()


def find_named(session: Session, numbers: Sequence[int]) -> Iterator[Named]:
    """These files, as far as they exist, by number."""
    return _named(session, MediaFileRow.id.in_(numbers))


def find_in_streams(session: Session, app_id: str, streams: Sequence[str]) -> Iterator[Named]:
    """The files of these streams of an app, by number."""
    return _named(session, MediaFileRow.app_id == app_id, MediaFileRow.stream_id.in_(streams))


def find_in_hand(session: Session, app_id: str) -> Iterator[Named]:
    """The files of an app that some run has claimed."""
    return _of_app(session, app_id, session.scalars(select(MediaFileRow.id).where(IS_CLAIMED)).all())


def find_in_flight(session: Session, app_id: str) -> Iterator[Named]:
    """The files of an app that a call is written down for, which may be on its way already."""
    return _of_app(session, app_id, session.scalars(select(AttemptRow.media_file_id).where(IS_OPEN)).all())


def _of_app(session: Session, app_id: str, numbers: Sequence[int]) -> Iterator[Named]:
    # The few numbers first, then their app: asked for both at once, SQLite would read every file of the app.
    for batch in FileSet(numbers).batches(_BATCH):
        yield from (each for each in find_named(session, batch) if each.file.app_id == app_id)


_FACTS = (
    MediaFileRow.id,
    MediaFileRow.state,
    MediaFileRow.app_id,
    MediaFileRow.vendor,
    MediaFileRow.file_id,
    MediaFileRow.stream_id,
    MediaFileRow.event,
    MediaFileRow.ended_at,
    MediaFileRow.received_at,
    MediaFileRow.suspicion,
)


def _named(session: Session, *conditions: ColumnElement[bool] | TextClause) -> Iterator[Named]:
    # Columns, not rows: an order may name a million files, and the transaction that counts them keeps others waiting.
    query = select(*_FACTS).where(*conditions).order_by(MediaFileRow.id)
    for number, state, app_id, vendor, file_id, stream_id, event, ended_at, received_at, suspicion in session.execute(
        query.execution_options(yield_per=1_000)
    ):
        facts = MediaFile(
            app_id=app_id,
            vendor=vendor,
            file_id=file_id,
            stream_id=stream_id,
            event=event,
            began_at=None,
            ended_at=ended_at,
            received_at=received_at,
            suspicion=suspicion,
        )
        yield Named(number, state, facts)
