"""Audit: who changed what, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.core.model import Role
from service.usecases.auditing import AuditAction, list_entries
from service.web.api.fields import Query, page_of
from service.web.api.order_forms import AuditPage
from service.web.api.routes import JsonObject, Routes

if TYPE_CHECKING:
    from service.wiring import Service

routes = Routes("audit", "Every change by a person, a token or the settings.")


class AuditQuery(Query):
    """Which entries."""

    action: AuditAction | None = None


@routes.get("/audit", role=Role.VIEWER, answer=AuditPage, query=AuditQuery)
def list_audit(service: Service, query: AuditQuery) -> JsonObject:
    """List entries, the newest first."""
    found = list_entries(service.database, after=query.cursor or 0, limit=query.limit + 1, action=query.action)
    return page_of(found, query.limit)
