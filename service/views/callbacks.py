"""Stored callbacks: the inbox and its quarantine.

ZEGO signs no body, only timestamp and nonce: who knows these and the signature can send other bodies. So they, and the
body itself, are shown from the role operator on only.
"""

from __future__ import annotations

import base64
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.callbacks import store
from service.callbacks.understand import StoredCallback
from service.database import Database
from service.filters import CallbackFilter
from service.model import Role, Verdict, may
from service.views.form import Known, Listed, show_as, take
from service.zego.callback import Unreadable, read_envelope


@dataclass(frozen=True, slots=True)
class Callback:
    """A stored callback; without `body_bytes`, its bytes were dropped."""

    id: int
    app_id: str
    event: str
    received_at: datetime
    verdict: Verdict
    reason: str
    understood_at: datetime | None
    repeats: int
    media_file_id: int | None
    content_type: str
    body_bytes: int | None


@dataclass(frozen=True, slots=True)
class CallbackDetail(Callback):
    """A stored callback with its body, as it came; all of that is null for a viewer."""

    signature: str | None
    timestamp: str | None = None
    nonce: str | None = None
    fields: dict[str, Any] | None = None
    raw_base64: str | None = None
    text: str | None = None


show_as(Callback, file="media_file_id", event=Known)


def show_callback(database: Database, number: int, role: Role) -> CallbackDetail:
    """One callback, as far as this role may see it; NoSuchThing if there is none of that number."""
    with database.read() as tx:
        stored = CALLBACKS.require(tx, number)
    if not may(role, Role.OPERATOR):
        return take(CallbackDetail, stored, signature=None)
    raw = stored.raw
    shown: dict[str, Any] = {"signature": stored.signature or None}
    if raw is not None:
        shown |= {"raw_base64": base64.b64encode(raw).decode(), "text": raw.decode("utf-8", "backslashreplace")}
        with suppress(Unreadable):
            envelope = read_envelope(raw, stored.content_type)
            shown |= {"timestamp": envelope.timestamp, "nonce": envelope.nonce, "fields": envelope.fields}
    return take(CallbackDetail, stored, **shown)


CALLBACKS = Listed[CallbackFilter, Callback, StoredCallback](
    "callback",
    "callbacks list",
    Callback,
    lambda tx, wanted, cursor, size: store.list_callbacks(tx, wanted, size, before=cursor or None),
    store.count_callbacks,
    "id, received: received_at, app: app_id, event, verdict, file: media_file_id, reason",
    "event, app, file",
    store.find_callback,
)
"""Callbacks, the newest first."""
