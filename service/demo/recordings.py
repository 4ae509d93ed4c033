"""The recordings of the demo: how their callbacks are written, and what has to become of each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from service.model import FileState, Outcome, Vendor
from service.sandbox import Sandbox, Trouble
from service.sandbox.callbacks import Shape, callback_body

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


@dataclass(frozen=True, slots=True)
class Recording:
    """One file at the vendor, the state that it has to end in, and the outcome of asking for its deletion (None: not).

    `age` counts from its end; `sent_ago` is how old the signature of its callback is when that arrives.
    """

    stream: str
    vendor: Vendor
    file_id: str
    age: timedelta
    shape: Shape
    state: FileState
    outcome: Outcome | None = None
    sent_ago: timedelta = timedelta(0)


_DAY: Final = timedelta(days=1)
_TENCENT, _WANGSU, _HUAWEI = Vendor.TENCENT, Vendor.WANGSU, Vendor.HUAWEI
_DELETED: Final = (FileState.DELETED, Outcome.DELETED)
_RETRIED: Final = (FileState.SCHEDULED, Outcome.RETRYABLE)

ANNA: Final = Recording("trial-anna", _TENCENT, "5285890784235113001", 3 * _DAY, "json", *_DELETED)
BEN: Final = Recording("trial-ben", _TENCENT, "5285890784235113002", 2 * _DAY, "numbers", *_RETRIED)
DORA: Final = Recording("trial-dora", _WANGSU, "rec-dora.mp4", 6 * _DAY, "form", *_RETRIED)
EMIL: Final = Recording("trial-emil", _WANGSU, "rec-emil.mp4", 4 * _DAY, "wrong_type", FileState.GONE, Outcome.GONE)
HANA: Final = Recording(
    "trial-hana", _HUAWEI, "record/hana/1.mp4", 5 * _DAY, "json", FileState.SCHEDULED, Outcome.UNKNOWN
)
LESSON: Final = Recording("lesson-7", _TENCENT, "5285890784235113004", 400 * _DAY, "extra_percent", FileState.KEPT)

RECORDINGS: Final = (
    ANNA,
    BEN,
    Recording("trial-cleo", _TENCENT, "5285890784235113003", _DAY / 4, "percent", FileState.SCHEDULED),
    LESSON,
    DORA,
    EMIL,
    Recording("trial-fay", _WANGSU, "rec-fay.mp4", 9 * _DAY, "json", FileState.UNCONFIRMED, sent_ago=_DAY / 24),
    Recording("trial-gus", _WANGSU, "rec-gus.mp4", 8 * _DAY, "extra_object", *_DELETED),
    HANA,
    Recording("town-hall", _HUAWEI, "record/town-hall/1.mp4", 64 * _DAY, "percent_plus", *_DELETED),
    Recording("town-hall", _HUAWEI, "record/town-hall/2.mp4", 33 * _DAY, "form", FileState.KEPT),
)


def store_recordings(sandbox: Sandbox, now: datetime) -> None:
    """Put the recordings where their vendors keep them, and have four of them make trouble."""
    for each in RECORDINGS:
        if each is not EMIL:
            sandbox.add_file(APP_ID, each.vendor, each.file_id, created_at=now - each.age, stream_id=each.stream)
    sandbox.troubles[BEN.file_id] = Trouble(1000)
    sandbox.troubles[DORA.file_id] = Trouble("Locked", "the file is being transcoded", times=1)
    sandbox.troubles[HANA.file_id] = Trouble(None, times=1)


def write_callback(recording: Recording, secret: str, now: datetime, **changes: str) -> tuple[bytes, str]:
    """Body and content type of the signed callback that announces a recording; `changes` are other facts."""
    ended = now - recording.age
    facts = {"file_id": recording.file_id, "stream": recording.stream} | changes
    return callback_body(
        recording.vendor,
        app_id=APP_ID,
        secret=secret,
        file_id=facts["file_id"],
        stream=facts["stream"],
        began=ended - timedelta(minutes=45),
        ended=ended,
        now=now - recording.sent_ago,
        shape=recording.shape,
        size_bytes=184_000_000,
    )
