"""What the API answers, for OpenAPI: the JSON forms of docs/api.md, each key with its type and an example."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_AT = "2026-03-01T12:00:00Z"


def eg(value: object) -> Any:  # noqa: ANN401  (pydantic's own way of declaring a field)
    """A key that is always there, with an example of its value."""
    return Field(examples=[value])


class Form(BaseModel):
    """An answer: exactly these keys."""

    model_config = ConfigDict(extra="forbid")


class WrongField(Form):
    """One thing that is wrong with a request."""

    field: str = eg("reason")
    detail: str = eg("is empty")


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = eg("about:blank")
    title: str = eg("Conflict")
    status: int = eg(409)
    detail: str = eg("file 17 is kept: there is nothing to confirm")
    errors: list[WrongField] = Field(default=[], description="each field that is wrong")
    preview: dict[str, Any] | None = Field(default=None, description="the preview that a change of rules needs")


class Page(Form):
    """A page of a list; `next_cursor` leads to the next one, null says that this was the last."""

    next_cursor: str | None = eg("MTc")


class LastOutcome(Form):
    """What came of the last attempt."""

    outcome: str = eg("retryable")
    code: str | None = eg("1000")
    message: str | None = eg("busy")
    request_id: str | None = eg("1234567890")
    at: str | None = eg(_AT)
    cache_purge: str | None = eg(None)


class Rendition(Form):
    """A transcoded rendition of a file."""

    height: int | None = eg(720)
    size_bytes: int | None = eg(31457280)
    duration_s: float | None = eg(3600.0)
    replay_url: str | None = eg("https://cdn.example/5285890784273533167/v.f30.mp4")
    at: str = eg(_AT)


class File(Form):
    """A media file."""

    id: int = eg(17)
    app_id: str = eg("1234567890")
    vendor: str = eg("Tencent")
    file_id: str = eg("5285890784273533167")
    stream_id: str = eg("trial-7")
    event: str = eg("record")
    state: str = eg("scheduled")
    state_reason: str = eg('rule "trial rooms" keeps it for 1d')
    began_at: str | None = eg("2026-03-01T11:00:00Z")
    ended_at: str | None = eg(_AT)
    received_at: str | None = eg(_AT)
    duration_s: float | None = eg(3600.0)
    size_bytes: int | None = eg(104857600)
    replay_url: str | None = eg("https://cdn.example/5285890784273533167.mp4")
    name: str | None = eg("trial-7")
    vendor_created_at: str | None = eg("2026-03-01T12:00:41Z")
    vendor_expires_at: str | None = eg(None)
    listed_at: str | None = eg("2026-03-01T18:30:00Z")
    adopted_at: str | None = eg(None)
    lost_on: str | None = eg(None)
    renditions: list[Rendition]
    rule: str | None = eg("trial rooms")
    due_at: str | None = eg("2026-03-02T12:00:00Z")
    cooling_until: str | None = eg(None)
    observed_due_at: str | None = eg(None)
    approval: str | None = eg("preview 7")
    held: bool = eg(False)
    attempts: int = eg(1)
    last_outcome: LastOutcome | None


class FilePage(Page):
    """Files by number."""

    items: list[File]


class Attempt(Form):
    """One file in one call."""

    id: int = eg(5)
    run: int = eg(12)
    call: int = eg(3)
    file: int = eg(17)
    opened_at: str | None = eg(_AT)
    ended_at: str | None = eg(_AT)
    rule: str | None = eg("trial rooms")
    revision: int = eg(2)
    due_at: str | None = eg(_AT)
    reason: str = eg('rule "trial rooms" keeps it for 1d')
    outcome: str | None = eg("deleted")
    charged: bool | None = eg(True)
    code: str | None = eg("0")
    message: str | None = eg("success")
    request_id: str | None = eg("1234567890")
    cache_purge: str | None = eg(None)


class RunFile(Attempt):
    """One file in one call, with what the file is called."""

    stream_id: str = eg("trial-7")
    vendor: str = eg("Tencent")
    file_id: str = eg("5285890784273533167")


class RunFilePage(Page):
    """What a pass did to each file, in the order of its attempts."""

    items: list[RunFile]


class Callback(Form):
    """A stored callback."""

    id: int = eg(41)
    app_id: str = eg("1234567890")
    event: str = eg("record")
    received_at: str | None = eg(_AT)
    verdict: str = eg("accepted")
    reason: str = eg("")
    finished_at: str | None = eg(_AT)
    repeats: int = eg(0)
    file: int | None = eg(17)
    content_type: str = eg("application/json")
    pruned_at: str | None = eg(None)


class CallbackPage(Page):
    """Stored callbacks, the newest first."""

    items: list[Callback]


class CallbackInFull(Callback):
    """A stored callback with its body, as it came."""

    fields: dict[str, Any] | None = eg({"event": "record", "appid": "1234567890"})
    raw_base64: str = eg("eyJldmVudCI6InJlY29yZCJ9")
    text: str = eg('{"event":"record"}')


class Replayed(Form):
    """What judging a stored callback again changed."""

    id: int = eg(41)
    old: str = eg("forged")
    new: str = eg("accepted")
    reason: str = eg("")


class ReplayedPage(Form):
    """Callbacks judged again; `next_cursor` null says that none of the verdict is left."""

    items: list[Replayed]
    next_cursor: str | None = eg("NDE")


class Token(Form):
    """A bearer token, without its text."""

    id: int = eg(3)
    name: str = eg("dashboard")
    role: str = eg("viewer")
    created_at: str | None = eg(_AT)
    created_by: str = eg("ADMIN_TOKEN")
    expires_at: str | None = eg("2027-03-01T12:00:00Z")
    last_used_at: str | None = eg(None)
    revoked_at: str | None = eg(None)
    revoked_by: str | None = eg(None)


class NewToken(Token):
    """A bearer token with its text, shown this once."""

    token: str = eg("zrt_Zm9yIGV4YW1wbGUgb25seSwgbm90IGEgdG9rZW4")


class TokenPage(Page):
    """Tokens by number, revoked and expired ones included."""

    items: list[Token]
