"""The second step into a callback: what its fields announce (docs/protocol.md, "The callback").

A callback becomes an `Announcement` only if its file can be named with certainty and everything in it can be stored. A
fact that only informs and is no number becomes unknown (a rule that needs it then keeps the file).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from service.model import Announcement, Vendor, Verdict
from service.zego.envelope import Envelope
from service.zego.wirejson import MAX_ID_BYTES, JsonValue, is_rounded, is_text, read_duration, read_size

_ID_KEYS: Final = {"FileID": Vendor.TENCENT, "PersistentId": Vendor.WANGSU, "ObsObject": Vendor.HUAWEI}
_CLOUD_RECORDING_KEYS: Final = frozenset({"event_type", "task_id", "detail"})
_LAST_SECOND: Final = 253_402_300_799  # 9999-12-31T23:59:59Z, the last one that a datetime holds
_SECONDS = re.compile(r"([0-9]{1,12})(\.[0-9]*)?")  # ASCII only: int() also takes other scripts' digits
_Figure = TypeVar("_Figure", int, float)


@dataclass(frozen=True, slots=True)
class NoFile:
    """An authentic callback that announces no file: `ignored`, `misdirected` (another product's) or `not_understood`.

    The reason is one line for people.
    """

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
            case "procedure":
                reason = "a procedure event announces renditions of a file that is known by itself, not a file"
                return NoFile(Verdict.IGNORED, reason)
            case _:
                return _parse_other(envelope)
    except ValueError as error:
        return NoFile(Verdict.NOT_UNDERSTOOD, str(error))


def _parse_recording(envelope: Envelope) -> Announcement:
    extra = envelope.fields.get("extra_params")
    if not isinstance(extra, dict):
        raise ValueError("extra_params holds no JSON object, so the file has no id")  # noqa: TRY004  (of the sender)
    present = [key for key in _ID_KEYS if extra.get(key) not in (None, "")]
    if len(present) > 1:
        raise ValueError(f"extra_params names files of several vendors: {', '.join(present)}")
    if not present:
        raise ValueError(f"extra_params has none of {', '.join(_ID_KEYS)}, so the file has no id")
    return _announce(envelope, _ID_KEYS[present[0]], present[0], extra[present[0]])


def _parse_merged(envelope: Envelope) -> Announcement | NoFile:
    code, file_id = envelope.fields.get("code"), envelope.fields.get("file_id")
    if code not in (None, "", "0") and isinstance(code, str):
        return NoFile(Verdict.IGNORED, f"merging failed with code {code[:40]!a}: there is no file")
    if file_id in (None, ""):
        reason = "the merged file has no file_id (Huawei sends none): the vendor's listing shows the file"
        return NoFile(Verdict.IGNORED, reason)
    if code != "0":
        raise ValueError("the compose event has no code, so nobody knows whether the merge worked")
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
    return NoFile(Verdict.IGNORED, f"the event {envelope.event!a} announces no recording")


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
        duration_s=_read_figure(read_duration, "Duration", facts.get("Duration")),
        size_bytes=_read_figure(read_size, "FileSize", facts.get("FileSize")),
        replay_url=_read_url(fields.get("replay_url")),
    )


def _read_identity(name: str, value: JsonValue) -> str:
    """A text by which rules or people know a file; "" where there is none."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{name} is neither text nor a number")  # noqa: TRY004  (of the sender)
    _require_storable(name, value)
    if not is_text(value):
        raise ValueError(f"{name} is longer than {MAX_ID_BYTES} bytes")
    return value


def _read_url(value: JsonValue) -> str | None:
    """A URL; None where there is none, or one that is too long to be stored."""
    if not isinstance(value, str) or not value:
        return None
    _require_storable("replay_url", value)
    return value if is_text(value) else None


def _require_storable(name: str, text: str) -> None:
    if not is_text(text, max_bytes=4 * len(text)):
        raise ValueError(f"{name} holds a character that no database can store")


def _read_moment(value: JsonValue) -> datetime | None:
    """A moment given as Unix seconds; None for anything else."""
    match = _SECONDS.fullmatch(value) if isinstance(value, str) else None
    seconds = int(match[1]) if match else _LAST_SECOND + 1
    return datetime.fromtimestamp(seconds, UTC) if seconds <= _LAST_SECOND else None


def _read_figure(read: Callable[[JsonValue], _Figure | None], name: str, value: JsonValue) -> _Figure | None:
    try:
        return read(value)
    except ValueError as error:
        raise ValueError(f"{name} is {error}") from None
