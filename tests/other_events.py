"""The fields of callbacks that announce no recording, unsigned (docs/protocol.md, "The callback")."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote


def merge_fields(app_id: str, replay_url: str, *, file_id: str | None = None, code: str = "0") -> dict[str, Any]:
    """The fields of a `compose` callback. Only Tencent's carry a file id."""
    fields = {"event": "compose", "appid": app_id, "task_id": "merge-1", "replay_url": replay_url, "code": code}
    return fields | ({} if file_id is None else {"file_id": file_id})


def transcoding_fields(app_id: str, file_id: str) -> dict[str, Any]:
    """The fields of a `procedure` callback: a rendition was made of a file of Tencent."""
    rendition = {"code": "0", "replay_url": f"https://media.invalid/{quote(file_id)}/360.mp4", "size": 360_000}
    fields: dict[str, Any] = {"event": "procedure", "appid": app_id, "task_id": "procedure-1", "status": "SUCCESS"}
    return fields | {"fileId": file_id, "extra_params": {"media": {"transcode": [rendition]}}}


def cloud_recording_fields(app_id: str) -> dict[str, Any]:
    """The fields of a callback of Cloud Recording, another product of ZEGO."""
    uploaded = {"file_id": "room_stream_VA_20211124113602084.mp4", "file_size": 25349026, "status": 3}
    return {
        "app_id": int(app_id),
        "task_id": "XBT1j6Tr5ThjTrO7",
        "room_id": "room",
        "event_type": 1,
        "message": "",
        "sequence": 0,
        "detail": {"upload_status": 1, "file_info": [uploaded]},
    }
