"""The second step into a callback: what its fields announce (docs/protocol.md, "The callback").

`read_envelope` (the first step) is offered here too. A callback becomes a `Callback` only if its file can be named
without doubt and nothing in it is beyond what a database holds; a fact that only informs and is no number becomes
unknown (a rule that needs it then keeps the file).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from service.core.model import Callback, Vendor
from service.zego.envelope import Envelope, Unreadable, read_envelope
from service.zego.wirejson import JsonValue, storable
from service.zego.wirevalues import MAX_ID_BYTES, is_rounded, read_duration, read_size

__all__ = ["Envelope", "NotUnderstood", "Uninteresting", "Unreadable", "parse_callback", "read_envelope"]

_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z, the last one that a datetime holds
_ID_KEYS = {"FileID": Vendor.TENCENT, "PersistentId": Vendor.WANGSU, "ObsObject": Vendor.HUAWEI}
_CLOUD_RECORDING_KEYS = frozenset({"event_type", "task_id", "detail"})

# ASCII only: int() also takes other scripts' digits.
_SECONDS = re.compile(r"([0-9]{1,12})(\.[0-9]*)?")


@dataclass(frozen=True, slots=True)
class Uninteresting:
    """An authentic callback that announces no file. The reason is one line for people."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """A callback whose file cannot be named without doubt. The reason is one line for people."""

    reason: str


def parse_callback(envelope: Envelope) -> Callback | Uninteresting | NotUnderstood:
    """Say what an envelope announces. Never raises."""
    if envelope.problem:
        return NotUnderstood(envelope.problem)
    if envelope.event == "record":
        return _parse_recording(envelope)
    if envelope.event == "compose":
        return _parse_merged(envelope)
    if envelope.fields.keys() >= _CLOUD_RECORDING_KEYS:
        return Uninteresting(
            "this is a callback of Cloud Recording, whose files are in your own storage, where DeleteMedia does not "
            "reach: in the ZEGO console enter this URL under Project → Server callback → Recording file instead"
        )
    if not envelope.event:
        return NotUnderstood("the field event is missing")
    return Uninteresting(f"the event {envelope.event!a} announces no recording")


def _parse_recording(envelope: Envelope) -> Callback | NotUnderstood:
    extra = envelope.fields.get("extra_params")
    if not isinstance(extra, dict):
        return NotUnderstood("extra_params holds no JSON object, so the file has no id")
    present = [key for key in _ID_KEYS if extra.get(key) not in (None, "")]
    if len(present) > 1:
        return NotUnderstood(f"extra_params names files of several vendors: {', '.join(present)}")
    if not present:
        return NotUnderstood(f"extra_params has none of {', '.join(_ID_KEYS)}, so the file has no id")
    return _announce(envelope, _ID_KEYS[present[0]], present[0], extra)


def _parse_merged(envelope: Envelope) -> Callback | Uninteresting | NotUnderstood:
    code = envelope.fields.get("code")
    if not isinstance(code, str) or not code:
        return NotUnderstood("the compose event has no code, so nobody knows whether the merge worked")
    if code != "0":
        return Uninteresting(f"merging failed with code {code[:40]!a}: there is no file")
    if envelope.fields.get("file_id") in (None, ""):
        return Uninteresting("the compose event carries no file_id (ZEGO sends one for Tencent only): no file to name")
    extra = envelope.fields.get("extra_params")
    return _announce(envelope, Vendor.TENCENT, "file_id", envelope.fields, extra if isinstance(extra, dict) else {})


def _announce(
    envelope: Envelope,
    vendor: Vendor,
    id_key: str,
    id_holder: dict[str, JsonValue],
    extra: dict[str, JsonValue] | None = None,
) -> Callback | NotUnderstood:
    """Build the callback, with the id under `id_key` of `id_holder` and informing facts from `extra` (or the same)."""
    try:
        file_id = _file_id(vendor, id_key, id_holder.get(id_key))
        stream_id = _identity("stream_alias", envelope.fields.get("stream_alias"))
        facts = id_holder if extra is None else extra
        duration_s, size_bytes = _duration(facts.get("Duration")), _size(facts.get("FileSize"))
        replay_url = _url(envelope.fields.get("replay_url"))
    except _OddError as odd:
        return NotUnderstood(str(odd))
    return Callback(
        app_id=envelope.app_id,
        vendor=vendor,
        file_id=file_id,
        stream_id=stream_id,
        event=envelope.event,
        began_at=_moment(envelope.fields.get("begin_time")),
        ended_at=_moment(envelope.fields.get("end_time")),
        duration_s=duration_s,
        size_bytes=size_bytes,
        replay_url=replay_url,
    )


class _OddError(Exception):
    """A value that identifies the file or decides its fate cannot be kept as it is."""


def _file_id(vendor: Vendor, name: str, value: JsonValue) -> str:
    file_id = _identity(name, value)
    if not file_id.strip():
        raise _OddError(f"{name} is empty")
    if vendor is Vendor.TENCENT and is_rounded(file_id):
        raise _OddError(f"{name} is a rounded number, which names no file")
    return file_id


def _identity(name: str, value: JsonValue) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _OddError(f"{name} is neither text nor a number")
    if not storable(value):
        raise _OddError(f"{name} holds a character that no database can keep")
    if len(value.encode()) > MAX_ID_BYTES:
        raise _OddError(f"{name} is longer than {MAX_ID_BYTES} bytes")
    return value


def _moment(value: JsonValue) -> datetime | None:
    match = _SECONDS.fullmatch(value) if isinstance(value, str) else None
    seconds = int(match[1]) if match else _LAST_SECOND + 1
    return datetime.fromtimestamp(seconds, UTC) if seconds <= _LAST_SECOND else None


def _duration(value: JsonValue) -> float | None:
    try:
        return read_duration(value)
    except ValueError as error:
        raise _OddError(f"Duration is {error}") from None


def _size(value: JsonValue) -> int | None:
    try:
        return read_size(value)
    except ValueError as error:
        raise _OddError(f"FileSize is {error}") from None


def _url(value: JsonValue) -> str | None:
    if not isinstance(value, str) or not value:
        return None
    if not storable(value):
        raise _OddError("replay_url holds a character that no database can keep")
    return value if len(value.encode()) <= MAX_ID_BYTES else None
