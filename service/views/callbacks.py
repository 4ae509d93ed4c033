"""Stored callbacks: the inbox and its quarantine.

ZEGO signs no body, only timestamp and nonce: who knows these and the signature can send other bodies. So they, and the
body itself, are shown from the role operator on only.
"""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

from service.callbacks import store
from service.database import Database
from service.model import Role, Verdict, may
from service.views.form import AT, Form, Known, eg
from service.views.listed import Column, Kind, Listed, Page, find_row, read_rows, require, take_from
from service.zego.envelope import Unreadable, read_envelope


class Callback(Form):
    """A stored callback."""

    id: int = eg(41)
    app_id: str = eg("1234567890")
    event: Known = eg("record")
    received_at: datetime = eg(AT)
    verdict: Verdict = eg("accepted")
    reason: str = eg("file 17 is new")
    understood_at: datetime | None = eg(AT)
    repeats: int = eg(0)
    file: int | None = eg(17, of="media_file_id")
    content_type: str = eg("application/json")
    body_bytes: int | None = eg(402, "null: its bytes were dropped")


class CallbackDetail(Callback):
    """A stored callback with its body, as it came; all of that is null for a viewer."""

    signature: str | None = eg("2f3f2ae0e8c8d5e0e1f7a1a6ae4bd4d1a7e8d0a2")
    timestamp: str | None = eg("1772366400")
    nonce: str | None = eg("350176")
    fields: dict[str, Any] | None = eg({"event": "record", "appid": "1234567890"})
    raw_base64: str | None = eg("eyJldmVudCI6InJlY29yZCJ9")
    text: str | None = eg('{"event":"record"}')


def show_callback(database: Database, number: int, role: Role) -> CallbackDetail:
    """One callback, as far as this role may see it.

    Raises:
        NoSuchThing: there is none of that number.
    """
    secret: dict[str, Any] = dict.fromkeys(("signature", "timestamp", "nonce", "fields", "raw_base64", "text"))
    with database.read() as tx:
        stored = require(store.find_callback(tx, number), "callback", number, "callbacks list")
        if may(role, Role.OPERATOR):
            secret |= _open(stored, store.read_body(tx, number))
    return CallbackDetail(**dict(Callback.model_validate(stored)), **secret)


def _open(stored: store.StoredCallback, raw: bytes | None) -> dict[str, Any]:
    shown: dict[str, Any] = {"signature": stored.signature or None}
    if raw is None:
        return shown
    shown |= {"raw_base64": base64.b64encode(raw).decode(), "text": raw.decode("utf-8", "backslashreplace")}
    try:
        envelope = read_envelope(raw, stored.content_type)
    except Unreadable:
        return shown
    return shown | {"timestamp": envelope.timestamp, "nonce": envelope.nonce, "fields": envelope.fields}


CALLBACKS = Listed(
    "callback",
    "callbacks list",
    Page[Callback],
    read_rows(
        lambda tx, wanted, cursor, size: store.list_callbacks(tx, wanted, size, before=cursor or None),
        take_from(Callback),
    ),
    store.count_callbacks,
    find_row(store.find_callback, take_from(Callback)),
    (
        Column("id", lambda each: each.id, Kind.NUMBER),
        Column("received", lambda each: each.received_at, Kind.MOMENT),
        Column("app", lambda each: each.app_id, priority=2),
        Column("event", lambda each: each.event, priority=3),
        Column("verdict", lambda each: each.verdict),
        Column("file", lambda each: each.file, Kind.NUMBER, 1),
        Column("reason", lambda each: each.reason, Kind.PROSE),
    ),
)
"""Callbacks, the newest first."""
