"""Who plays in the demo: the recordings, how their callbacks look, and the fate that each has to meet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from service.core.model import FileState, Vendor
from service.zego.sandbox_callbacks import callback_body, encode_body, sign_fields

if TYPE_CHECKING:
    from datetime import datetime

    from service.zego.sandbox_callbacks import Shape

APP_ID: Final = "1234567890"

RULES: Final = """\
[[rules]]
name = "trial rooms"
match = { stream = "trial-*" }
keep = "1d"

[[rules]]
name = "paid lessons"
match = { stream = ["lesson-*", "exam-*"] }
keep = "forever"

[[rules]]
name = "everything else"
keep = "30d"
keep_latest = 1
"""


@dataclass(frozen=True, slots=True)
class Recording:
    """One file at the vendor, and the fate that it has to meet.

    `age` counts from its end; `shape` is how its callback is written; `sent_ago` is how old the callback's signature is
    when it arrives. `retries` says that its first try of deletion has to fail, so that it waits for another.
    """

    stream: str
    vendor: Vendor
    file_id: str
    age: timedelta
    shape: Shape
    fate: FileState
    sent_ago: timedelta = timedelta(0)
    merged: bool = False
    retries: bool = False


_DAY: Final = timedelta(days=1)
_DELETED, _WAITS, _KEPT = FileState.DELETED, FileState.SCHEDULED, FileState.KEPT
_TENCENT, _WANGSU, _HUAWEI = Vendor.TENCENT, Vendor.WANGSU, Vendor.HUAWEI

GONE: Final = Recording("trial-emil", _WANGSU, "rec-emil.mp4", 4 * _DAY, "wrong_type", FileState.GONE)
LOCKED: Final = Recording("trial-dora", _WANGSU, "rec-dora.mp4", 6 * _DAY, "form", _WAITS, retries=True)
POISON: Final = Recording("trial-ben", _TENCENT, "5285890784235113002", 2 * _DAY, "numbers", _WAITS, retries=True)
LESSON: Final = Recording("lesson-7", _TENCENT, "5285890784235113004", 400 * _DAY, "extra_percent", _KEPT)
FIRST: Final = Recording("trial-anna", _TENCENT, "5285890784235113001", 3 * _DAY, "json", _DELETED)

RECORDINGS: Final = (
    FIRST,
    POISON,
    Recording("trial-cleo", _TENCENT, "5285890784235113003", timedelta(hours=5), "percent", _WAITS),
    Recording("trial-gus", _TENCENT, "5285890784235113005", 8 * _DAY, "extra_object", _DELETED),
    LESSON,
    Recording("", _TENCENT, "5285890784235113006", timedelta(0), "json", _KEPT, merged=True),
    LOCKED,
    GONE,
    Recording(
        "trial-fay", _WANGSU, "rec-fay.mp4", 9 * _DAY, "json", FileState.UNCONFIRMED, sent_ago=timedelta(hours=1)
    ),
    Recording("town-hall", _HUAWEI, "record/town-hall/1.mp4", 95 * _DAY, "json", _DELETED),
    Recording("town-hall", _HUAWEI, "record/town-hall/2.mp4", 64 * _DAY, "percent_plus", _DELETED),
    Recording("town-hall", _HUAWEI, "record/town-hall/3.mp4", 33 * _DAY, "form", _KEPT),
)

SHAPES: Final[dict[Shape, str]] = {
    "json": "JSON",
    "numbers": "JSON, numbers for text",
    "wrong_type": "JSON, typed as a form",
    "percent": "percent-encoded JSON",
    "percent_plus": "percent-encoded, + for space",
    "form": "form encoding",
    "extra_object": "extra_params an object",
    "extra_percent": "extra_params encoded",
}


def write_callback(recording: Recording, secret: str, now: datetime) -> tuple[bytes, str]:
    """Body and content type of the callback that announces a recording."""
    sent_at = now - recording.sent_ago
    if recording.merged:
        fields = {"event": "compose", "appid": APP_ID, "task_id": "t-1", "code": "0", "file_id": recording.file_id}
        return encode_body(sign_fields(fields, secret=secret, now=sent_at), recording.shape)
    ended = now - recording.age
    return callback_body(
        recording.vendor,
        app_id=APP_ID,
        secret=secret,
        file_id=recording.file_id,
        stream=recording.stream,
        began=ended - timedelta(minutes=45),
        ended=ended,
        now=sent_at,
        shape=recording.shape,
        size_bytes=184_000_000,
    )


def write_forgery(now: datetime) -> tuple[bytes, str]:
    """A callback of somebody who does not know the secret: it makes a paid lesson look like an old trial."""
    ended = now - 50 * _DAY
    return callback_body(
        LESSON.vendor,
        app_id=APP_ID,
        secret="a guess",  # noqa: S106  (it is one)
        file_id=LESSON.file_id,
        stream="trial-x",
        began=ended - timedelta(minutes=45),
        ended=ended,
        now=now,
    )
