"""Erasures: requests that files go now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from service.core.model import Erasure
from service.db.order_models import ErasureRow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.orm import Session


def find_orders(session: Session, numbers: Iterable[int]) -> dict[int, Erasure]:
    """These erasures as decisions look at them, by number."""
    query = select(ErasureRow.id, ErasureRow.requested_at, ErasureRow.reason).where(ErasureRow.id.in_(list(numbers)))
    return {number: Erasure(number, at, reason) for number, at, reason in session.execute(query)}
