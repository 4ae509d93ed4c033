"""What went wrong, from what the sandbox saw, what was answered, and what the database says: pure.

All moments are by the true clock of the harness. What the service says of its own times is not used: its clock jumps.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from service.model import END_STATES, FileState, Outcome, WaitReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from service.model import MediaFile, Vendor
    from service.sweep.records import Attempt

WINDOW: Final = timedelta(seconds=2.5)
"""How long after an order was answered one that was on its way may still arrive: a second, and some for the way."""

CLOCK_LAG: Final = timedelta(seconds=2)
"""How long a process may take to see that its clock was set."""

_LONGEST_WAIT: Final = timedelta(seconds=60)
REST: Final = "rest"
NEVER: Final = datetime.max.replace(tzinfo=UTC)


class Kind(StrEnum):
    """How a recording is announced."""

    FRESH = "fresh"
    STALE = "stale"
    CONFLICT = "conflict"
    FORGED = "forged"


class Fault(StrEnum):
    """In which way something went wrong."""

    LOST = "lost"
    WRONG = "wrong"
    STUCK = "stuck"
    UNEXPLAINED = "unexplained"


class Problem(NamedTuple):
    fault: Fault
    text: str
    file_id: str | None = None

    def __str__(self) -> str:
        return f"{self.fault}: {self.text}"


class Try(NamedTuple):
    """One request of a callback; `status` None: it was not answered."""

    sent_at: datetime
    answered_at: datetime
    status: int | None
    is_second: bool


@dataclass
class Recording:
    """One recording as ZEGO knows it, and what became of each request that announced it."""

    vendor: Vendor
    file_id: str
    stream: str
    ended: datetime
    kind: Kind
    tries: list[Try] = field(default_factory=list)

    def note(self, sent_at: datetime, answered_at: datetime, status: int | None, *, is_second: bool = False) -> None:
        self.tries.append(Try(sent_at, answered_at, status, is_second))

    def find_answered(self, *, second: bool = False) -> datetime | None:
        """When it was first answered 2xx."""
        return min(
            (each.answered_at for each in self.tries if each.is_second is second and _is_done(each)), default=None
        )


def _is_done(each: Try) -> bool:
    return each.status is not None and 200 <= each.status < 300


class WrongClock(NamedTuple):
    """From when until when the service's clock was so far ahead (or, below zero, behind)."""

    since: datetime
    until: datetime
    ahead: timedelta

    def may_have_written(self, moment: datetime) -> bool:
        """Whether a wait until then was counted from it."""
        return self.since + self.ahead <= moment <= self.until + CLOCK_LAG + self.ahead + _LONGEST_WAIT


class HoldPromise(NamedTuple):
    """A hold that was answered: nothing of the stream may be deleted from then on until its release was sent."""

    stream: str
    since: datetime
    until: datetime | None


class RulesPromise(NamedTuple):
    """Rules that were put in force: perhaps from `sent_at` on, surely from `known_at` on.

    `windows` are by the first word of a stream (None: for ever). What they delete sooner waits for `cooling_off`, as
    far as it was known: up to the file number `highest_id`.
    """

    sent_at: datetime
    known_at: datetime | None
    windows: Mapping[str, timedelta | None]
    cooling_off: timedelta = timedelta(0)
    highest_id: int = 0

    def find_date(self, recording: Recording) -> datetime:
        """When they delete a recording."""
        window = self.windows.get(recording.stream.partition("-")[0], self.windows[REST])
        return NEVER if window is None else recording.ended + window


@dataclass
class Evidence:
    """Everything that is known after a run; files by ZEGO's id.

    `removals`: when the request arrived that removed the file from the sandbox; `asked`: how many requests named it;
    `confirmed`: files that a person was to confirm.
    """

    recordings: Mapping[str, Recording]
    removals: Mapping[str, datetime]
    asked: Mapping[str, int]
    stored: frozenset[str]
    files: Mapping[str, MediaFile]
    attempts: Mapping[str, Sequence[Attempt]]
    holds: Sequence[HoldPromise]
    rules: Sequence[RulesPromise]
    confirmed: Mapping[str, datetime]
    wrong_clock: Sequence[WrongClock]
    now: datetime
    pending: int = 0
    spooled: str | None = None
    unapplied: Sequence[str] = ()
    chain_fault: str | None = None
    ended_by_themselves: Sequence[str] = ()

    def is_doubtful(self, recording: Recording) -> bool:
        """Whether a request of it may have been received by a wrong clock: it may be kept until it is confirmed."""
        return any(
            each.sent_at < until + CLOCK_LAG and since < each.answered_at
            for each in recording.tries
            for since, until, _ in self.wrong_clock
        )

    def waits_by_wrong_clock(self, file: MediaFile) -> bool:
        """Whether a file is kept until a moment that a clock ahead has written: too long, which does no harm.

        (A wait for a retry can be cleared, and people do so.)
        """
        until = file.wait_until
        if until is None or until <= self.now or file.wait_reason is WaitReason.RETRY:
            return False
        return any(each.ahead > timedelta(0) and each.may_have_written(until) for each in self.wrong_clock)


def judge(evidence: Evidence) -> list[Problem]:
    """Everything that went wrong."""
    return [problem for check in _CHECKS for problem in check(evidence)]


def describe_file(evidence: Evidence, file_id: str) -> Iterator[str]:
    """Everything that is known of a file, for a person who has to find out what happened to it."""
    recording, file = evidence.recordings.get(file_id), evidence.files.get(file_id)
    if recording is not None:
        yield f"{file_id}: {recording.kind}, stream {recording.stream}, ended {recording.ended:%F %T}"
        for each in recording.tries:
            yield f"  sent {each.sent_at:%T.%f}, {each.status} at {each.answered_at:%T.%f}"
    if file is not None:
        yield f"  number {file.id}, received {file.received_at:%F %T}, end {file.ended_at:%F %T}, rule {file.rule}"
        yield f"  due {file.due_at}, waits until {file.wait_until} ({file.wait_reason})"
        yield f"  {file.state} since {file.state_at:%F %T}: {file.state_reason}"
    for tried in evidence.attempts.get(file_id, ()):
        yield f"  attempt {tried.id} of call {tried.call_id}: {tried.opened_at:%F %T.%f} to {tried.ended_at}"
        yield f"    rule {tried.rule} of revision {tried.revision}, due {tried.due_at}"
        yield f"    {tried.outcome} {tried.code} {tried.message}"
    if (at := evidence.removals.get(file_id)) is not None:
        yield f"  deleted at {at:%F %T.%f}; asked for {evidence.asked.get(file_id)} times"


def find_unfinished(evidence: Evidence) -> list[Problem]:
    """What is not done yet and will be, if nothing is stuck: to be waited for."""
    return [problem for check in _WAITED_FOR for problem in check(evidence)]


def _find_lost(evidence: Evidence) -> Iterator[Problem]:
    """Every callback answered 2xx is in the inventory, under its stream or, if nobody could trust it, without one."""
    for file_id, each in evidence.recordings.items():
        answered_at = each.find_answered()
        if each.kind is Kind.FORGED:
            if answered_at is not None or file_id in evidence.files:
                yield Problem(Fault.WRONG, f"a forged callback was taken: {file_id}", file_id)
        elif answered_at is not None and file_id not in evidence.files:
            yield Problem(
                Fault.LOST, f"{file_id} was answered 2xx at {answered_at:%T} and is not in the inventory", file_id
            )
        elif answered_at is not None and each.kind is Kind.FRESH and not evidence.is_doubtful(each):
            stream = evidence.files[file_id].stream_id
            if stream != each.stream:
                yield Problem(
                    Fault.LOST, f"{file_id} of stream {each.stream} is stored with stream {stream!r}", file_id
                )


def _find_unexplained(evidence: Evidence) -> Iterator[Problem]:
    """Every file that went is `deleted`, with attempts that explain it; every request has an attempt."""
    for file_id, at in evidence.removals.items():
        file = evidence.files.get(file_id)
        if file is None:
            yield Problem(Fault.UNEXPLAINED, f"{file_id} was deleted at {at:%T}, and is not in the inventory", file_id)
            continue
        attempts = evidence.attempts.get(file_id, ())
        outcomes = Counter(each.outcome for each in attempts)
        if file.state is not FileState.DELETED:
            seen = ", ".join(str(each.outcome) for each in attempts) or "none"
            text = f"{file_id} was deleted at {at:%T} and is {file.state} ({file.state_reason}); attempts: {seen}"
            yield Problem(Fault.UNEXPLAINED, text, file_id)
        elif not outcomes[Outcome.DELETED] and not (outcomes[Outcome.UNKNOWN] and file.missing_since):
            yield Problem(Fault.UNEXPLAINED, f"{file_id} is deleted, and no attempt says so", file_id)
    for file_id, count in evidence.asked.items():
        written = len(evidence.attempts.get(file_id, ()))
        if count > written:
            yield Problem(
                Fault.UNEXPLAINED, f"{file_id} was asked for {count} times, with {written} attempts on record"
            )
    for text in evidence.ended_by_themselves:
        yield Problem(Fault.UNEXPLAINED, text)


def _find_false_ends(evidence: Evidence) -> Iterator[Problem]:
    """What is said to have ended is not there any more."""
    for file_id, file in evidence.files.items():
        if file.state in END_STATES and file_id in evidence.stored:
            yield Problem(Fault.WRONG, f"{file_id} is said to be {file.state}, and is still there", file_id)


def _find_wrongly_deleted(evidence: Evidence) -> Iterator[Problem]:
    """Held and kept files are still there, and nothing was deleted before its time."""
    for file_id, at in evidence.removals.items():
        recording = evidence.recordings[file_id]
        for hold in evidence.holds:
            if hold.stream == recording.stream and hold.since + WINDOW < at and (not hold.until or at < hold.until):
                yield Problem(
                    Fault.WRONG, f"{file_id} of {recording.stream} was deleted at {at:%T}, held since {hold.since:%T}"
                )
        earliest = _find_earliest(evidence, recording, at)
        if at < earliest:
            when = "ever" if earliest == NEVER else f"{earliest:%F %T}"
            text = f"{file_id} ({recording.kind}, {recording.stream}) was deleted at {at:%T}, not before {when}"
            yield Problem(Fault.WRONG, text, file_id)


def _find_earliest(evidence: Evidence, recording: Recording, at: datetime) -> datetime:
    """When a recording that was deleted then could be deleted, under any rules that may have been in force."""
    earliest = NEVER
    file = evidence.files.get(recording.file_id)
    for number, rules in enumerate(evidence.rules):
        later = [each.known_at for each in evidence.rules[number + 1 :] if each.known_at is not None]
        if rules.sent_at > at or (later and min(later) + WINDOW < at):
            continue
        date = rules.find_date(recording)
        if number and file is not None and file.id <= rules.highest_id:
            before = min(each.find_date(recording) for each in evidence.rules[:number])
            date = max(date, min(before, rules.sent_at + rules.cooling_off))
        earliest = min(earliest, date)
    if recording.kind is Kind.STALE:
        return max(earliest, evidence.confirmed.get(recording.file_id, NEVER))
    second_at = recording.find_answered(second=True)
    if recording.kind is Kind.CONFLICT and second_at is not None and second_at < earliest:
        return NEVER  # it was in conflict before it was due, and nobody confirms these
    return earliest


def _find_stuck(evidence: Evidence) -> Iterator[Problem]:
    """Nothing waits for ever: what is due has ended, what was answered is understood, orders are applied."""
    for file_id, file in evidence.files.items():
        if file.state is FileState.DELETING:
            yield Problem(Fault.STUCK, f"{file_id} is `deleting`: {file.state_reason}", file_id)
        elif file.state is FileState.FAILED:
            yield Problem(Fault.STUCK, f"{file_id} is `failed`: {file.state_reason}", file_id)
        elif evidence.waits_by_wrong_clock(file):
            continue
        elif file.state is FileState.SCHEDULED and file.due_at is not None and file.due_at <= evidence.now:
            waits = "" if file.wait_until is None else f", waits until {file.wait_until:%F %T} ({file.wait_reason})"
            yield Problem(
                Fault.STUCK, f"{file_id} is due since {file.due_at:%F %T}{waits}: {file.state_reason}", file_id
            )
        elif file.state not in END_STATES and _is_expected_to_end(evidence, file_id):
            yield Problem(Fault.STUCK, f"{file_id} should have ended and is {file.state}: {file.state_reason}", file_id)
    if evidence.pending:
        yield Problem(Fault.STUCK, f"{evidence.pending} callbacks are not understood")
    if evidence.spooled:
        yield Problem(Fault.STUCK, evidence.spooled)
    for text in evidence.unapplied:
        yield Problem(Fault.STUCK, text)


def _is_expected_to_end(evidence: Evidence, file_id: str) -> bool:
    recording = evidence.recordings.get(file_id)
    if recording is None or recording.kind is not Kind.FRESH or evidence.is_doubtful(recording):
        return False
    is_held = any(hold.stream == recording.stream and hold.until is None for hold in evidence.holds)
    is_announced = recording.find_answered() is not None
    return is_announced and not is_held and evidence.rules[-1].find_date(recording) <= evidence.now


def _find_chain_fault(evidence: Evidence) -> Iterator[Problem]:
    if evidence.chain_fault:
        yield Problem(Fault.WRONG, f"the audit does not verify: {evidence.chain_fault}")


_WAITED_FOR: Final[Sequence[Callable[[Evidence], Iterator[Problem]]]] = (_find_stuck,)
_CHECKS: Final = (
    _find_lost,
    _find_unexplained,
    _find_false_ends,
    _find_wrongly_deleted,
    *_WAITED_FOR,
    _find_chain_fault,
)
