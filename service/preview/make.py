"""Previews: what a candidate would do to every file (docs/rules.md).

One walk over the inventory compares the rules in force with the candidate, deciding each file as a leader would.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from service.database import Database, Transaction
from service.files.policy import Policy, PolicyReader
from service.files.store import find_file, find_highest_id
from service.leader.store import find_leader
from service.model import Actor, FileState, MediaFile, NoSuchThing, NotPossible, Vendor
from service.preview import store
from service.preview.forecast import Change, count_changes, count_forecast
from service.preview.store import Place, Preview
from service.rules.decide import Found, RetentionRule, RuleSet, decide, find_rule
from service.rules.file import format_rules
from service.rules.latest import NewestCounter, counts_as_recording, span_of
from service.rules.store import list_revisions
from service.rules.waiting import apply_decision
from service.units import format_duration, format_moment

KEPT_FOR: Final = timedelta(days=30)
"""How long a preview can be applied, and how long one is remembered that was not."""

_CHUNK: Final = 2_000
"""Files read in one transaction."""


class Candidate(NamedTuple):
    """Rules that may be put in force, and where they come from."""

    rules: tuple[RetentionRule, ...]
    source: str


class Comparison:
    """One walk over the inventory, with the rules in force and a candidate applied at `now` (None: they stay).

    `in_force` and `highest_id` are the rules and the end of the inventory that it began with.
    """

    def __init__(
        self,
        database: Database,
        reader: PolicyReader,
        candidate: Candidate | None,
        cooling_off: timedelta,
        now: datetime,
    ) -> None:
        self._database, self._reader, self._cooling_off, self._now = database, reader, cooling_off, now
        with database.read() as tx:
            self.in_force = reader.read(tx).rules
            self.highest_id = find_highest_id(tx)
            leader = find_leader(tx)
        self._are_all_decided = leader is not None and leader.decided_revision == self.in_force.revision
        self._candidate = candidate
        until = now + cooling_off if cooling_off else None
        rules = () if candidate is None else candidate.rules
        self._rules = RuleSet(self.in_force.revision + 1, rules, cooling_until=until)
        self._remembers = all(rule.match.looks_only_at_origin for rule in rules)
        self._stream: tuple[str, str] | None = None
        self._found: dict[tuple[Vendor, str], Found] = {}

    def run(self, start: Place | None = None, progress: Callable[[int], None] | None = None) -> Iterator[Change]:
        """Compare every file that has not ended: stream by stream, the newest first, so that ranks need no second look.

        `progress` is given the number of files in each short transaction. `start`: begin behind this place, not within
        a stream whose recordings a rule counts.
        """
        while True:
            with self._database.read() as tx:
                files = store.list_by_stream(tx, start, self.highest_id, _CHUNK)
                policy = self._reader.read(tx, files)
            if policy.rules.revision != self.in_force.revision:
                raise NotPossible(f"revision {policy.rules.revision} came into force meanwhile: try it again")
            if not files:
                return
            yield from (self._compare(file, policy) for file in files)
            start = store.find_place(files[-1])
            if progress is not None:
                progress(len(files))

    def _compare(self, file: MediaFile, policy: Policy) -> Change:
        if (file.app_id, file.stream_id) != self._stream:
            self._stream = (file.app_id, file.stream_id)
            self._found.clear()
            self._ranks_before, self._ranks_after = _start_counting(self.in_force), _start_counting(self._rules)
        is_called, hold = file.state is FileState.DELETING, policy.holds.find(file, self._now)
        is_decided = self._are_all_decided or file.revision == self.in_force.revision
        is_decided = is_decided and (hold is not None) == (file.state is FileState.HELD) and not file.decide_again
        before = file if is_decided or is_called else policy.decide_file(file, self._now)
        date_before = _find_date(before, self._ranks_before, self._now)
        ends = [] if hold is None else [each.until for each in policy.holds.iterate(file, self._now)]
        held_until = None if None in ends else max((end for end in ends if end is not None), default=None)
        if self._candidate is None:
            return Change(before, before, date_before, date_before, held_until, None)
        erasure = None if file.erasure_id is None else policy.erasures[file.erasure_id]
        open_file = file._replace(state=FileState.SCHEDULED) if is_called else file
        decision = decide(open_file, self._rules, hold, erasure, self._now, self._find_rule)
        if is_called:  # what comes of its call is not known yet
            after = file._replace(rule=decision.rule, due_at=decision.due_at)
        else:  # from the row as it is stored, as a leader does
            counted = policy.find_rules(file.revision).counts_recordings(file.rule)
            after = apply_decision(file, decision, self._rules, self._now, old_rule_counts=counted)
        date_after = _find_date(after, self._ranks_after, self._now)
        return Change(before, after, date_before, date_after, held_until, decision.missing)

    def _find_rule(self, file: MediaFile, rules: Sequence[RetentionRule]) -> Found:
        """As `find_rule`, with a memo for files of one stream and origin, where the matches look at nothing else."""
        origin = (file.vendor, file.event)
        if not self._remembers or origin not in self._found:
            self._found[origin] = find_rule(file, rules)
        return self._found[origin]

    def sum_up(
        self, changes: Iterable[Change], candidate: Candidate, actor: Actor, known_apps: Collection[str] | None
    ) -> Preview:
        """The preview that comes out of comparing every file; it is not stored yet."""
        result = count_changes(changes, [rule.name for rule in candidate.rules], self._now)
        result["cooling_off"] = format_duration(self._cooling_off)
        result["cooling_off_s"] = self._cooling_off.total_seconds()
        result["unknown_apps"] = [
            {"rule": rule.name, "app": app}
            for rule in candidate.rules
            for app in rule.match.app or ()
            if known_apps is not None and app not in known_apps
        ]
        rules_text, sooner = format_rules(candidate.rules), result["changes"]["sooner"]["count"]
        numbers = (self.in_force.revision, self.highest_id)
        return Preview(0, self._now, actor.name, actor.through, *numbers, candidate.source, rules_text, sooner, result)


def make_preview(
    database: Database,
    reader: PolicyReader,
    candidate: Candidate,
    actor: Actor,
    cooling_off: timedelta,
    now: datetime,
    progress: Callable[[int], None] | None = None,
    *,
    known_apps: Collection[str] | None = None,
) -> Preview:
    """Compare a candidate with the rules in force over the whole inventory, and store what came out.

    `known_apps` are those that are configured (None: any): rules that name others are pointed out.
    """
    comparison = Comparison(database, reader, candidate, cooling_off, now)
    changes = comparison.run(progress=progress)
    return store_preview(database, comparison.sum_up(changes, candidate, actor, known_apps))


def store_preview(database: Database, preview: Preview) -> Preview:
    """Give a preview its number, and forget those that are too old to be applied."""
    with database.write() as tx:
        number = store.add_preview(tx, preview)
        store.forget_previews(tx, preview.as_of - KEPT_FOR)  # after that, so that no number is ever given twice
    return preview._replace(id=number)


def describe_emptied(app_id: str) -> str:
    """What rules would do that leave nothing of an app."""
    return f"EVERY file of app {app_id} would be deleted within a day, but those that are held, unconfirmed or failed"


def find_preview(database: Database, number: int) -> Preview:
    """One stored preview; NoSuchThing: there is none of that number."""
    with database.read() as tx:
        preview = store.find_preview(tx, number)
    if preview is None:
        raise NoSuchThing(f"there is no preview {number}: make one with `zego-retention rules preview FILE`")
    return preview


def iterate_sooner(
    database: Database, reader: PolicyReader, preview: Preview, now: datetime, after: int = 0
) -> Iterator[Change]:
    """Files that a preview makes due sooner, as they are now, beyond the file `after` (0: from the first one on).

    Stream by stream, the newest first.
    """
    comparison = Comparison(database, reader, Candidate(preview.rules, preview.source), preview.cooling_off, now)
    comparison.highest_id = preview.highest_id
    with database.read() as tx:
        if overtaken := describe_overtaken(tx, preview, comparison.in_force):
            raise NotPossible(overtaken)
        last = find_file(tx, after) if after else None
    if after and last is None:
        raise NoSuchThing(f"there is no file {after}")
    start = None if last is None else store.find_place(last)
    if start is not None and start[1]:  # ranks are counted from the newest file of a stream on
        start = (*start[:2], datetime.max.replace(tzinfo=UTC), 0)

    def is_shown(change: Change) -> bool:
        # Other streams come behind this one, in the order of the database; Python's may be another.
        file = change.before
        is_passed = last is not None and (
            (file.app_id, file.stream_id) == (last.app_id, last.stream_id)
            and (file.ended_at, file.id) >= (last.ended_at, last.id)
        )
        return change.effect == "sooner" and not is_passed

    return filter(is_shown, comparison.run(start))


def describe_overtaken(tx: Transaction, preview: Preview, in_force: RuleSet) -> str | None:
    """Why a preview says nothing of the rules in force; None: it was compared with those."""
    if in_force.revision == preview.base_revision:
        return None
    applied = [each.number for each in list_revisions(tx) if each.preview_id == preview.id]
    if applied:
        return (
            f"preview {preview.id} was applied as revision {applied[0]}: list what a rule of it decides with "
            "`zego-retention files list --rule NAME`"
        )
    return (
        f"preview {preview.id} was compared with revision {preview.base_revision}, and revision "
        f"{in_force.revision} is in force: make a new one with `zego-retention rules preview FILE`"
    )


def make_forecast(database: Database, reader: PolicyReader, now: datetime) -> dict[str, Any]:
    """How much there is, by state, rule, app and vendor, and how many files are called on each of the next 90 days."""
    comparison = Comparison(database, reader, None, timedelta(0), now)
    counted = count_forecast(comparison.run(), now)
    return {"as_of": format_moment(now), "revision": comparison.in_force.revision, **counted}


def _start_counting(rules: RuleSet) -> dict[str | None, NewestCounter]:
    return {rule.name: NewestCounter(rule.keep_latest) for rule in rules.rules if rule.keep_latest is not None}


def _find_date(row: MediaFile, ranks: dict[str | None, NewestCounter], now: datetime) -> datetime | None:
    """When the rules delete a file that they decided; None: never, as long as its rank is what it is."""
    counter = ranks.get(row.rule)
    if row.due_at is None or counter is None:
        return row.due_at
    is_newest = counter.add if counts_as_recording(row, now) else counter.covers
    return None if is_newest(span_of(row)) else row.due_at
