"""A file, rules, a hold and an erasure that tests decide and explain."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from service.model import Erasure, Hold, MediaFile, Vendor
from service.rules.decide import RetentionRule
from service.rules.match import Match

END = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LATER = END + 1000 * DAY
FILE = MediaFile(
    id=7,
    app_id="1001",
    vendor=Vendor.TENCENT,
    file_id="5285890784273533167",
    stream_id="lesson-7",
    event="record",
    ended_at=END,
    received_at=END + MINUTE,
)
SMALL = RetentionRule("small", Match(max_size=1_000_000), keep=DAY)
LESSONS = RetentionRule("lessons", Match(stream=("lesson-*",)), keep=7 * DAY)
EXAMS = RetentionRule("exams", Match(stream=("exam-*",)), keep=None)
REST = RetentionRule("rest", Match(), keep=30 * DAY)
NEWEST = RetentionRule("newest", Match(), keep=DAY, keep_latest=2)
HOLD = Hold(4, "1001", "court case", stream_pattern="lesson-*")
ERASURE = Erasure(3, None, None, (7,), 7, 1, "asked to be forgotten", END + HOUR, "ann", "command line")
