"""The second step into a callback: what its fields announce (docs/protocol.md, "The callback").

`read_envelope` (the first step) is offered here too. A callback becomes a `Callback` only if its file can be named
without doubt and nothing in it is beyond what a database holds; a fact that only informs and is no number becomes
unknown (a rule that needs it then keeps the file).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from service.core.model import Callback, Vendor
from service.zego.callback_facts import (
    OddFactError,
    read_duration,
    read_file_id,
    read_identity,
    read_moment,
    read_size,
    read_url,
)
from service.zego.envelope import Envelope, Unreadable, read_envelope
from service.zego.transcoding import Transcoded, read_renditions

if TYPE_CHECKING:
    from service.zego.wirejson import JsonValue

__all__ = [
    "Envelope",
    "Misdirected",
    "NotUnderstood",
    "Parsed",
    "Transcoded",
    "Uninteresting",
    "Unnamed",
    "Unreadable",
    "parse_callback",
    "read_envelope",
]

_ID_KEYS = {"FileID": Vendor.TENCENT, "PersistentId": Vendor.WANGSU, "ObsObject": Vendor.HUAWEI}
_CLOUD_RECORDING_KEYS = frozenset({"event_type", "task_id", "detail"})


@dataclass(frozen=True, slots=True)
class Unnamed:
    """A merged file whose callback has no id for it: the vendor's listing tells it, beside the same replay URL.

    `facts` is all else that is said of the file; its vendor and file id mean nothing yet.
    """

    replay_url: str
    facts: Callback


@dataclass(frozen=True, slots=True)
class Uninteresting:
    """An authentic callback that announces no file. The reason is one line for people."""

    reason: str


@dataclass(frozen=True, slots=True)
class Misdirected:
    """An authentic callback of another product of ZEGO, sent here by mistake. The reason is one line for people."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """A callback whose file cannot be named without doubt. The reason is one line for people."""

    reason: str


Parsed: TypeAlias = Callback | Unnamed | Transcoded | Uninteresting | Misdirected | NotUnderstood
"""What a callback can turn out to be."""


def parse_callback(envelope: Envelope) -> Parsed:
    """Say what an envelope announces. Never raises."""
    if envelope.problem:
        return NotUnderstood(envelope.problem)
    try:
        return _parse(envelope)
    except OddFactError as odd:
        return NotUnderstood(str(odd))


def _parse(envelope: Envelope) -> Parsed:
    match envelope.event:
        case "record":
            return _parse_recording(envelope)
        case "compose":
            return _parse_merged(envelope)
        case "procedure":
            return _parse_transcoded(envelope)
    if envelope.fields.keys() >= _CLOUD_RECORDING_KEYS:
        return Misdirected(
            "this is a callback of Cloud Recording, whose files are in your own storage, where DeleteMedia does not "
            "reach: in the ZEGO console take this URL out of Cloud Recording's callback, and enter it under Project → "
            "Server callback → Recording file"
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
    vendor = _ID_KEYS[present[0]]
    return _announce(envelope, vendor, read_file_id(vendor, present[0], extra.get(present[0])), extra)


def _parse_merged(envelope: Envelope) -> Callback | Unnamed | Uninteresting | NotUnderstood:
    has_id = envelope.fields.get("file_id") not in (None, "")
    code = envelope.fields.get("code")
    # ZEGO's docs ask for attention to `code` with Tencent only, who sends an id: else the listing tells if it worked.
    if not (isinstance(code, str) and code) and (has_id or code not in (None, "")):
        return NotUnderstood("the compose event has no code, so nobody knows whether the merge worked")
    if code not in (None, "", "0"):
        return Uninteresting(f"merging failed with code {str(code)[:40]!a}: there is no file")
    extra = envelope.fields.get("extra_params")
    facts = extra if isinstance(extra, dict) else {}
    if has_id:
        file_id = read_file_id(Vendor.TENCENT, "file_id", envelope.fields.get("file_id"))
        return _announce(envelope, Vendor.TENCENT, file_id, facts)
    unnamed = _announce(envelope, Vendor.HUAWEI, "", facts)
    if unnamed.replay_url is None:
        return NotUnderstood("the compose event has neither a file_id nor a replay_url that the file could be found by")
    return Unnamed(unnamed.replay_url, unnamed)


def _parse_transcoded(envelope: Envelope) -> Transcoded | Uninteresting | NotUnderstood:
    ids = [envelope.fields[key] for key in ("fileId", "file_id") if envelope.fields.get(key) not in (None, "")]
    if not ids:
        return NotUnderstood("the procedure event has neither fileId nor file_id, so its source file has no name")
    if ids[1:] and ids[0] != ids[1]:
        return NotUnderstood("fileId and file_id of the procedure event name two files")
    file_id = read_file_id(Vendor.TENCENT, "fileId", ids[0])
    status, extra = envelope.fields.get("status"), envelope.fields.get("extra_params")
    if isinstance(status, str) and status.upper() == "FAILED":
        return Uninteresting("transcoding failed: there is no rendition")
    renditions = read_renditions(extra)
    if renditions is None:
        return NotUnderstood("extra_params holds no list media.transcode, so nobody knows what came of the transcoding")
    if not renditions:
        return Uninteresting("the procedure event tells of no rendition that was made")
    return Transcoded(envelope.app_id, file_id, renditions)


def _announce(envelope: Envelope, vendor: Vendor, file_id: str, facts: dict[str, JsonValue]) -> Callback:
    """Build the callback, with informing facts from `facts`."""
    return Callback(
        app_id=envelope.app_id,
        vendor=vendor,
        file_id=file_id,
        stream_id=read_identity("stream_alias", envelope.fields.get("stream_alias")),
        event=envelope.event,
        began_at=read_moment(envelope.fields.get("begin_time")),
        ended_at=read_moment(envelope.fields.get("end_time")),
        duration_s=read_duration("Duration", facts.get("Duration")),
        size_bytes=read_size("FileSize", facts.get("FileSize")),
        replay_url=read_url("replay_url", envelope.fields.get("replay_url")),
    )
