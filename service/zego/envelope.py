"""The first step into a callback's body: far enough to find the signature, whatever shape the body has.

docs/protocol.md, "The callback": JSON, JSON percent-encoded as a whole, or form encoding. The content type is not
trusted, since ZEGO's own settings and proxies in between get it wrong; the text itself says what it is.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TypeGuard
from urllib.parse import parse_qsl, unquote

from service.zego.wirejson import JsonValue, ReadJson, read_json, storable

MAX_FORM_FIELDS = 1000
MAX_NAME_BYTES = 255
"""Bytes of an app id, event name, timestamp, nonce or signature that are looked at."""

_BLANK = "\ufeff \t\r\n"
_PERCENT_ROUNDS = 2


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
    """Open a body of any shape.

    Raises:
        Unreadable: the body is in no known shape, or app id, timestamp, nonce or signature are missing or no text.
    """
    read = _read_object(_unwrap(raw.decode("utf-8", "surrogateescape")), content_type)
    if not isinstance(read.value, dict):
        raise Unreadable("the body is JSON, but not an object")
    fields, problem = read.value, read.problem
    signature = _required(fields, "signature").lower()
    content = fields | {"signature": signature}
    if isinstance(written := fields.get("extra_params"), str):
        extra = _open_extra(written)
        content["extra_params"], problem = extra.value, problem or extra.problem
    event = "" if fields.get("event") is None else fields["event"]
    if not _is_name(event):
        event, problem = "", problem or "the field event is not a short text"
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()
    return Envelope(
        app_id=_required(fields, "appid" if "appid" in fields else "app_id"),  # Cloud Recording writes it `app_id`
        event=event,
        timestamp=_required(fields, "timestamp"),
        nonce=_required(fields, "nonce"),
        signature=signature,
        fields=content,
        # What is not understood is equal only to itself: a duplicate key hides content from the parsed fields.
        content_hash=hashlib.sha256(raw if problem else canonical).hexdigest(),
        problem=problem,
    )


def _unwrap(text: str) -> str:
    """Undo percent-encoding around a JSON object; one that was encoded on its own and as a part took it twice."""
    text = text.strip(_BLANK)
    for _ in range(_PERCENT_ROUNDS):
        if not text.startswith("%"):
            break
        text = unquote(_escape_plus(text), errors="surrogateescape").strip(_BLANK)
    return text


def _escape_plus(text: str) -> str:
    """Write every bare `+` as what its encoder meant, a space or a plus.

    Form encoders write a space as `+` and always escape a colon, which every JSON object and URL has. Encoders that
    let `+` stand for itself write a space as `%20`, and let a colon stand too. So the text shows which one was at work.
    """
    plus_is_space = "%20" not in text and ":" not in text
    return text.replace("+", "%20" if plus_is_space else "%2B")


def _read_object(text: str, content_type: str) -> ReadJson:
    if not text:
        raise Unreadable("the body is empty")
    shown_type = ascii(content_type[:80])
    try:
        if text[0] in "{[":
            return read_json(text)
        if "=" in text:
            pairs = parse_qsl(
                _escape_plus(text), keep_blank_values=True, errors="surrogateescape", max_num_fields=MAX_FORM_FIELDS
            )
            fields: dict[str, JsonValue] = dict(pairs)
            return ReadJson(fields, None if len(fields) == len(pairs) else "a form field occurs twice")
    except ValueError as error:
        raise Unreadable(f"the body cannot be read (content type {shown_type}): {error}") from error
    raise Unreadable(f"the body is neither a JSON object nor form encoding (content type {shown_type})")


def _required(fields: dict[str, JsonValue], name: str) -> str:
    value = fields.get(name)
    if value is None or value == "":
        raise Unreadable(f"the field {name} is missing")
    if not _is_name(value):
        raise Unreadable(f"the field {name} is not a short text or a number")
    return value


def _is_name(value: JsonValue) -> TypeGuard[str]:
    return isinstance(value, str) and storable(value) and len(value.encode()) <= MAX_NAME_BYTES


def _open_extra(written: str) -> ReadJson:
    """Decode an `extra_params` that is a string holding JSON, percent-encoded or not; leave any other string."""
    text = _unwrap(written)
    if not text.startswith("{"):
        return ReadJson(written, None)
    try:
        return read_json(text)
    except ValueError as error:
        return ReadJson(written, f"extra_params cannot be read: {error}")
