"""The first step into a callback's body: far enough to find the signature, whatever shape the body has.

docs/protocol.md, "The callback": JSON, JSON percent-encoded as a whole, or form encoding. The content type is not
trusted, since ZEGO's own settings and proxies in between get it wrong; the text itself says what it is.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from service.zego.wirejson import JsonValue, is_text, read_json

MAX_FORM_FIELDS = 1000
MAX_NAME_BYTES = 255
"""Bytes of an app id, event name, timestamp, nonce or signature that are looked at."""
_BLANK = "\ufeff \t\r\n"


class Unreadable(Exception):  # noqa: N818  (an answer to the sender, not a defect)
    """A body in which no signature can be found: the sender gets 400. Its text is one line for people."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A callback opened as far as its signature, not yet verified and not yet understood.

    The texts are storable and at most 255 bytes; `signature` is in lower case, since its case means nothing.
    `fields` are the top-level fields, numbers as text, `extra_params` as an object where it could be decoded.
    `content_hash` (SHA-256, hex) is equal for equal content, whatever the shape, key order or spelling of numbers.
    `problem` says why the content must not be acted on although a signature was found, e.g. a duplicate key.
    """

    app_id: str
    event: str
    timestamp: str
    nonce: str
    signature: str
    fields: dict[str, JsonValue]
    content_hash: str
    problem: str | None


def read_envelope(raw: bytes, content_type: str) -> Envelope:
    """Open a body of any shape; raises Unreadable where app id, timestamp, nonce or signature cannot be found."""
    try:
        fields, problem = _read_fields(_unwrap(raw.decode("utf-8", "surrogateescape")))
    except ValueError as error:
        raise Unreadable(f"the body cannot be read (content type {content_type[:80]!a}): {error}") from error
    signature = _require(fields, "signature").lower()
    content = fields | {"signature": signature}
    written = fields.get("extra_params")
    if isinstance(written, str) and (text := _unwrap(written)).startswith("{"):
        try:
            content["extra_params"], extra_problem = read_json(text)
            problem = problem or extra_problem
        except ValueError as error:
            problem = problem or f"extra_params cannot be read: {error}"
    event = fields.get("event") or ""
    if not is_text(event, MAX_NAME_BYTES):
        event, problem = "", problem or "the field event is not a short text"
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()
    return Envelope(
        app_id=_require(fields, "appid" if "appid" in fields else "app_id"),  # Cloud Recording writes it `app_id`
        event=event,
        timestamp=_require(fields, "timestamp"),
        nonce=_require(fields, "nonce"),
        signature=signature,
        fields=content,
        # What is not understood is equal only to itself: a duplicate key hides content from the parsed fields.
        content_hash=hashlib.sha256(raw if problem else canonical).hexdigest(),
        problem=problem,
    )


def _unwrap(text: str) -> str:
    """Undo percent-encoding around a JSON object; one that was encoded on its own and as a part took it twice."""
    text = text.strip(_BLANK)
    for _ in range(2):
        if text.startswith("%"):
            text = unquote(_escape_plus(text), errors="surrogateescape").strip(_BLANK)
    return text


def _escape_plus(text: str) -> str:
    """Write every bare `+` as what its encoder meant, a space or a plus.

    Form encoders write a space as `+` and always escape a colon, which every JSON object and URL has. Encoders that
    let `+` stand for itself write a space as `%20`, and let a colon stand too. So the text shows which one was at work.
    """
    plus_is_space = "%20" not in text and ":" not in text
    return text.replace("+", "%20" if plus_is_space else "%2B")


def _read_fields(text: str) -> tuple[dict[str, JsonValue], str | None]:
    if text.startswith(("{", "[")):
        value, problem = read_json(text)
        if isinstance(value, dict):
            return value, problem
    elif "=" in text:
        pairs = parse_qsl(
            _escape_plus(text), keep_blank_values=True, errors="surrogateescape", max_num_fields=MAX_FORM_FIELDS
        )
        fields: dict[str, JsonValue] = dict(pairs)
        return fields, None if len(fields) == len(pairs) else "a form field occurs twice"
    raise ValueError("it is neither a JSON object nor form encoding" if text else "it is empty")


def _require(fields: dict[str, JsonValue], name: str) -> str:
    value = fields.get(name)
    if value is None or value == "":
        raise Unreadable(f"the field {name} is missing")
    if not is_text(value, MAX_NAME_BYTES):
        raise Unreadable(f"the field {name} is not a short text or a number")
    return value
