"""Previews: what candidates would do, as they were shown, with the set of files that they would make due sooner."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from sqlalchemy import select

from service.core.file_sets import FileSet
from service.db.order_models import PreviewRow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def find_preview(session: Session, preview_id: int) -> PreviewRow | None:
    """One preview."""
    return session.get(PreviewRow, preview_id)


def load_sooner(session: Session, preview_id: int) -> FileSet | None:
    """The files that a preview showed as due sooner; None where the preview is not on record."""
    encoded = session.scalar(select(PreviewRow.sooner).where(PreviewRow.id == preview_id))
    return None if encoded is None else _decode(encoded)


@lru_cache(maxsize=4)
def _decode(encoded: bytes) -> FileSet:
    # Deciding a large inventory anew asks for the same set again with every batch.
    return FileSet.decode(encoded)
