"""Previews: what candidates would do, as they were shown, with the set of files that they would make due sooner."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, func, select

from service.core.file_sets import FileSet
from service.db.models import MediaFileRow, RevisionRow
from service.db.order_models import PreviewRow

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy.orm import Session


def find_preview(session: Session, preview_id: int) -> PreviewRow | None:
    """One preview."""
    return session.get(PreviewRow, preview_id)


def add_preview(session: Session, preview: PreviewRow) -> int:
    """Store a preview; returns its number."""
    session.add(preview)
    session.flush()
    return preview.id


def forget_previews(session: Session, before: datetime) -> None:
    """Forget previews from before a moment that no revision was bound to."""
    bound = exists(select(RevisionRow.number).where(RevisionRow.preview_id == PreviewRow.id))
    session.execute(delete(PreviewRow).where(PreviewRow.as_of < before, ~bound))


def load_sooner(session: Session, preview_id: int) -> FileSet | None:
    """The files that a preview showed as due sooner; None where the preview is not on record."""
    encoded = session.scalar(select(PreviewRow.sooner).where(PreviewRow.id == preview_id))
    return None if encoded is None else _decode(encoded)


def received_by(session: Session, numbers: Iterable[int], moment: datetime) -> int:
    """How many of these files were first announced no later than a moment."""
    wanted = list(numbers)
    query = select(func.count()).where(MediaFileRow.id.in_(wanted), MediaFileRow.received_at <= moment)
    return session.scalar(query) or 0


def has_files(session: Session) -> bool:
    """Whether there ever was a file."""
    return session.scalar(select(MediaFileRow.id).limit(1)) is not None


@lru_cache(maxsize=4)
def _decode(encoded: bytes) -> FileSet:
    # Deciding a large inventory anew asks for the same set again with every batch.
    return FileSet.decode(encoded)
