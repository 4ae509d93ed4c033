"""What changed between two looks, and what waits to be sent: decided here, without a clock and without sending."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

HELD: Final = timedelta(minutes=1)
"""A finding is reported after it has held for so long: what flaps is not."""

GONE: Final = timedelta(minutes=5)
"""It is over after it has been absent for so long."""

_RETRY_FIRST: Final = timedelta(seconds=30)
_RETRY_LAST: Final = timedelta(hours=1)
_MAX_WAITING: Final = 50
"""Messages that wait for a channel; beyond that the oldest are dropped: a week of them helps nobody."""


class Kind(StrEnum):
    """What a message is about."""

    PROBLEM = "problem"
    OVER = "over"
    TOMORROW = "tomorrow"
    TEST = "test"


class Finding(NamedTuple):
    """Something to report: `key` stays the same while it lasts, whatever its numbers do."""

    key: str
    text: str
    fix: str = ""


class Message(NamedTuple):
    """What is said of one thing: what happened, and what to do."""

    kind: Kind
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """A finding that was seen: since when, whether it was reported, and since when it is absent."""

    text: str
    fix: str
    since: datetime
    is_reported: bool = False
    gone_at: datetime | None = None


@dataclass(slots=True)
class Channel:
    """What waits to be sent through one channel, and since when, and why, nothing could be."""

    waiting: list[Message] = field(default_factory=list)
    failures: int = 0
    failing_since: datetime | None = None
    retry_at: datetime | None = None
    reason: str = ""

    def may_send(self, now: datetime) -> bool:
        """Whether something waits, and its time has come (also after the clock was set back)."""
        return bool(self.waiting) and (self.retry_at is None or not now < self.retry_at <= now + _RETRY_LAST)

    def note_sent(self) -> None:
        """All that waited was sent."""
        self.waiting, self.failures, self.failing_since, self.retry_at, self.reason = [], 0, None, None, ""

    def note_failure(self, reason: str, now: datetime) -> None:
        """It could not be sent: it is tried again after a pause, each twice as long."""
        pause = min(_RETRY_FIRST * 2 ** min(self.failures, 10), _RETRY_LAST)
        self.failures, self.failing_since = self.failures + 1, self.failing_since or now
        self.retry_at, self.reason = now + pause, reason


@dataclass(slots=True)
class State:
    """What was reported, what waits by channel, and up to which evening it was said what is deleted within a day."""

    known: dict[str, Known] = field(default_factory=dict)
    channels: dict[str, Channel] = field(default_factory=dict)
    evening: datetime | None = None

    def queue(self, messages: Iterable[Message], channels: Iterable[str]) -> None:
        """Let messages wait for these channels; what is kept of others, which are not in the settings, is dropped."""
        new = list(messages)
        self.channels = {name: self.channels.get(name, Channel()) for name in channels}
        for channel in self.channels.values():
            channel.waiting = [*channel.waiting, *new][-_MAX_WAITING:]


def compare(
    known: Mapping[str, Known], found: Iterable[Finding], now: datetime
) -> tuple[dict[str, Known], list[Message]]:
    """What is known after a look, and what has to be said: each finding once, and once that it is over."""
    present, after, messages = {finding.key: finding for finding in found}, dict[str, Known](), list[Message]()
    for key, finding in present.items():
        before = known.get(key, Known(finding.text, finding.fix, now))
        one = replace(before, text=finding.text, fix=finding.fix, since=min(before.since, now), gone_at=None)
        if not one.is_reported and now - one.since >= HELD:
            messages.append(Message(Kind.PROBLEM, one.text, one.fix))
            one = replace(one, is_reported=True)
        after[key] = one
    for key, before in known.items():
        if key in present or not before.is_reported:
            continue
        gone_at = min(before.gone_at or now, now)
        if now - gone_at >= GONE:
            messages.append(Message(Kind.OVER, before.text))
        else:
            after[key] = replace(before, gone_at=gone_at)
    return after, messages


def write_text(messages: Iterable[Message], sender: str, link: str | None) -> tuple[str, str]:
    """Title and body of what is sent for these messages: a line of what happened, a line of what to do."""
    counts: dict[Kind, int] = {}
    lines = []
    for message in messages:
        counts[message.kind] = counts.get(message.kind, 0) + 1
        lines.append(f"Over: {message.text}" if message.kind is Kind.OVER else message.text)
        lines += [f"→ {message.fix}"] if message.fix else []
    problems, over = counts.get(Kind.PROBLEM, 0), counts.get(Kind.OVER, 0)
    said = [f"{problems} {'problem' if problems == 1 else 'problems'}"] if problems else []
    said += [f"{over} over"] if over else []
    said += ["deleted within a day"] if Kind.TOMORROW in counts else []
    said += ["a test"] if Kind.TEST in counts else []
    return f"zego-retention on {sender}: {', '.join(said)}", "\n".join([*lines, *([link] if link else [])])
