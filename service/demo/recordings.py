"""The recordings of the demo: how their callbacks are written, and what has to become of each."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, NamedTuple

from service.model import FileState, Outcome, Vendor
from service.sandbox import Trouble
from service.sandbox.callbacks import Shape

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


class Recording(NamedTuple):
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
_SCHEDULED, _KEPT = FileState.SCHEDULED, FileState.KEPT

RECORDINGS: Final = (
    Recording("trial-anna", _TENCENT, "5285890784235113001", 3 * _DAY, "json", *_DELETED),
    Recording("trial-ben", _TENCENT, "5285890784235113002", 2 * _DAY, "numbers", _SCHEDULED, Outcome.RETRYABLE),
    Recording("trial-cleo", _TENCENT, "5285890784235113003", _DAY / 4, "percent", _SCHEDULED),
    Recording("lesson-7", _TENCENT, "5285890784235113004", 400 * _DAY, "extra_percent", _KEPT),
    Recording("trial-dora", _WANGSU, "rec-dora.mp4", 6 * _DAY, "form", _SCHEDULED, Outcome.RETRYABLE),
    Recording("trial-emil", _WANGSU, "rec-emil.mp4", 4 * _DAY, "wrong_type", FileState.GONE, Outcome.GONE),
    Recording("trial-fay", _WANGSU, "rec-fay.mp4", 9 * _DAY, "json", FileState.UNCONFIRMED, sent_ago=_DAY / 24),
    Recording("trial-gus", _WANGSU, "rec-gus.mp4", 8 * _DAY, "extra_object", *_DELETED),
    Recording("trial-hana", _HUAWEI, "record/hana/1.mp4", 5 * _DAY, "json", _SCHEDULED, Outcome.UNKNOWN),
    Recording("town-hall", _HUAWEI, "record/town-hall/1.mp4", 64 * _DAY, "percent_plus", *_DELETED),
    Recording("town-hall", _HUAWEI, "record/town-hall/2.mp4", 33 * _DAY, "form", _KEPT),
)
NOT_STORED: Final = "rec-emil.mp4"
"""The file that its vendor has lost."""
TROUBLES: Final = {
    "5285890784235113002": Trouble(1000),
    "rec-dora.mp4": Trouble("Locked", "the file is being transcoded", times=1),
    "record/hana/1.mp4": Trouble(None, times=1),
}
"""What the sandbox answers when it is asked to delete these files."""
