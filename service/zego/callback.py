"""Reading a callback (docs/protocol.md, "The callback"): first as far as its signature, then what it announces.

A body is JSON, JSON percent-encoded as a whole, or form encoding. The content type is not trusted, since ZEGO's own
settings and proxies in between get it wrong; the text itself says what it is. A callback becomes an `Announcement` only
if its file can be named with certainty and everything in it can be stored. A fact that only informs and is no number
becomes unknown (a rule that needs it then keeps the file).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl, unquote

from service.model import Announcement, Vendor, Verdict
from service.zego.wirejson import MAX_ID_BYTES, JsonValue, is_rounded, is_text, read_duration, read_json, read_size

_MAX_FORM_FIELDS: Final = 1000
_MAX_NAME_BYTES: Final = 255
"""Bytes of an app id, event name, timestamp, nonce or signature that are looked at."""
_BLANK: Final = "\ufeff \t\r\n"
_ID_KEYS: Final = {"FileID": Vendor.TENCENT, "PersistentId": Vendor.WANGSU, "ObsObject": Vendor.HUAWEI}
_CLOUD_RECORDING_KEYS: Final = frozenset({"event_type", "task_id", "detail"})
_LAST_SECOND: Final = 253_402_300_799  # 9999-12-31T23:59:59Z, the last one that a datetime holds
_SECONDS = re.compile(r"([0-9]{1,12})(\.[0-9]*)?")  # ASCII only: int() also takes other scripts' digits


class Unreadable(Exception):  # noqa: N818  (an answer to the sender, not a defect)
    """A body in which no signature can be found: the sender gets 400. Its text is one line for people."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A callback opened as far as its signature, not yet verified and not yet understood; its texts are storable.

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
    if not is_text(event, _MAX_NAME_BYTES):
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
        text = _escape_plus(text)
        pairs = parse_qsl(text, keep_blank_values=True, errors="surrogateescape", max_num_fields=_MAX_FORM_FIELDS)
        fields: dict[str, JsonValue] = dict(pairs)
        return fields, None if len(fields) == len(pairs) else "a form field occurs twice"
    raise ValueError("it is neither a JSON object nor form encoding" if text else "it is empty")


def _require(fields: dict[str, JsonValue], name: str) -> str:
    value = fields.get(name)
    if value is None or value == "":
        raise Unreadable(f"the field {name} is missing")
    if not is_text(value, _MAX_NAME_BYTES):
        raise Unreadable(f"the field {name} is not a short text or a number")
    return value


@dataclass(frozen=True, slots=True)
class NoFile:
    """An authentic callback that announces no file: ignored, misdirected (another product's) or not understood."""

    verdict: Verdict
    reason: str


def parse_callback(envelope: Envelope) -> Announcement | NoFile:
    """Say what an envelope announces. Never raises."""
    try:
        if envelope.problem:
            raise ValueError(envelope.problem)  # noqa: TRY301  (one way out for all that is not understood)
        match envelope.event:
            case "record":
                return _parse_recording(envelope)
            case "compose":
                return _parse_merged(envelope)
            case _:
                return _parse_other(envelope)
    except ValueError as error:
        return NoFile(Verdict.NOT_UNDERSTOOD, str(error))


def _parse_recording(envelope: Envelope) -> Announcement:
    extra = envelope.fields.get("extra_params")
    if not isinstance(extra, dict):
        raise ValueError("extra_params holds no JSON object, so the file has no id")  # noqa: TRY004  (of the sender)
    match [key for key in _ID_KEYS if extra.get(key) not in (None, "")]:
        case [key]:
            return _announce(envelope, _ID_KEYS[key], key, extra[key])
        case []:
            raise ValueError(f"extra_params has none of {', '.join(_ID_KEYS)}, so the file has no id")
        case several:
            raise ValueError(f"extra_params names files of several vendors: {', '.join(several)}")


def _parse_merged(envelope: Envelope) -> Announcement | NoFile:
    code, file_id = envelope.fields.get("code"), envelope.fields.get("file_id")
    if code not in (None, "", "0") and isinstance(code, str):
        return NoFile(Verdict.IGNORED, f"merging failed with code {code[:40]!a}: there is no file")
    if file_id in (None, ""):
        return NoFile(Verdict.IGNORED, "the merged file has no file_id (Huawei sends none): the listing shows the file")
    if code != "0":
        raise ValueError("the compose event has no code, so it is not known whether the merge worked")
    return _announce(envelope, Vendor.TENCENT, "file_id", file_id)


def _parse_other(envelope: Envelope) -> NoFile:
    if envelope.fields.keys() >= _CLOUD_RECORDING_KEYS:
        return NoFile(
            Verdict.MISDIRECTED,
            "this is a callback of Cloud Recording, whose files are in your own storage, where DeleteMedia does not "
            "reach: in the ZEGO console take this URL out of Cloud Recording's callback, and enter it under Project → "
            "Server callback → Recording file",
        )
    if not envelope.event:
        raise ValueError("the field event is missing")
    what = "renditions of a file that is known by itself" if envelope.event == "procedure" else "no recording"
    return NoFile(Verdict.IGNORED, f"the event {envelope.event!a} announces {what}")


def _announce(envelope: Envelope, vendor: Vendor, id_name: str, id_value: JsonValue) -> Announcement:
    fields, extra = envelope.fields, envelope.fields.get("extra_params")
    facts = extra if isinstance(extra, dict) else {}
    file_id = _read_identity(id_name, id_value)
    if not file_id.strip():
        raise ValueError(f"{id_name} is empty")
    if vendor is Vendor.TENCENT and is_rounded(file_id):
        raise ValueError(f"{id_name} is a rounded number, which names no file")
    return Announcement(
        app_id=envelope.app_id,
        vendor=vendor,
        file_id=file_id,
        stream_id=_read_identity("stream_alias", fields.get("stream_alias")),
        event=envelope.event,
        began_at=_read_moment(fields.get("begin_time")),
        ended_at=_read_moment(fields.get("end_time")),
        duration_s=read_duration(facts.get("Duration")),
        size_bytes=read_size(facts.get("FileSize")),
        replay_url=_read_url(fields.get("replay_url")),
    )


def _read_identity(name: str, value: JsonValue) -> str:
    """A text by which rules or people know a file; "" where there is none."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{name} is neither text nor a number")  # noqa: TRY004  (of the sender)
    if not _fits(name, value):
        raise ValueError(f"{name} is longer than {MAX_ID_BYTES} bytes")
    return value


def _read_url(value: JsonValue) -> str | None:
    """A URL; None where there is none, or one that is too long to be stored."""
    return value if isinstance(value, str) and value and _fits("replay_url", value) else None


def _fits(name: str, text: str) -> bool:
    if not is_text(text, max_bytes=4 * len(text)):
        raise ValueError(f"{name} holds a character that no database can store")
    return is_text(text)


def _read_moment(value: JsonValue) -> datetime | None:
    """A moment given as Unix seconds; None for anything else."""
    match = _SECONDS.fullmatch(value) if isinstance(value, str) else None
    seconds = int(match[1]) if match else _LAST_SECOND + 1
    return datetime.fromtimestamp(seconds, UTC) if seconds <= _LAST_SECOND else None
