"""The audit: entries written together with the changes that they tell of, and their chain of hashes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from service.db.order_models import AuditEntryRow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.orm import Session

    from service.core.model import Actor


def add_entry(
    session: Session, actor: Actor, action: str, subject: str, now: datetime, detail: Mapping[str, Any] | None = None
) -> None:
    """Write down a change in the transaction that makes it: `action` as verb_object, `subject` what was changed."""
    session.add(
        AuditEntryRow(
            at=now,
            actor=actor.name,
            through=actor.through,
            action=action,
            subject=subject,
            detail=json.dumps(detail or {}, sort_keys=True),
        )
    )
