"""Putting a rule set in force, bound to what its preview showed (docs/rules.md)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from service.audit.store import lock_head
from service.callbacks.store import find_newest_received_at
from service.database import Database, Transaction
from service.files.policy import PolicyReader
from service.model import Actor, NoSuchThing, NotPossible
from service.preview.forecast import Change
from service.preview.make import (
    KEPT_FOR,
    Candidate,
    Comparison,
    describe_emptied,
    describe_overtaken,
    find_preview,
    store_preview,
)
from service.preview.store import Preview
from service.rules.decide import RetentionRule, RuleSet
from service.rules.match import Match
from service.rules.store import Shown, find_current_number, find_revision, put_in_force
from service.units import count_of, describe_moment, format_duration

log = structlog.get_logger(__name__)


class Applied(NamedTuple):
    """The revision in force, and the order that put it in force (None: the same rules were in force already).

    `sooner_count` files become due sooner by it; each waits until its old date, at most until `cooling_until` (None: it
    does not wait).
    """

    revision: int
    order: int | None
    sooner_count: int = 0
    cooling_until: datetime | None = None


class PreviewNeeded(NotPossible):
    """The rules make more files due sooner than a person has looked at; `preview` shows them, and was just stored."""

    def __init__(self, why: str, preview: Preview) -> None:
        super().__init__(
            f"nothing was applied: {why}; look at preview {preview.id}, then put them in force with "
            f"`zego-retention rules apply --preview {preview.id}`"
        )
        self.preview = preview


def candidate_of_preview(database: Database, number: int) -> Candidate:
    """The rules that a preview shows."""
    preview = find_preview(database, number)
    return Candidate(preview.rules, preview.source)


def candidate_of_revision(database: Database, number: int) -> Candidate:
    """The rules of an earlier revision, to be put in force again; 0: everything is kept, as before there were any."""
    if number == 0:
        return Candidate((RetentionRule("keep everything", Match(), None),), "revision 0, before any rules")
    with database.read() as tx:
        revision = find_revision(tx, number)
    if revision is None:
        raise NoSuchThing(f"there is no revision {number}: see `zego-retention rules history`")
    return Candidate(revision.rules, f"revision {number}")


def apply_rules(  # noqa: PLR0913  (what to apply, for whom, and how)
    database: Database,
    reader: PolicyReader,
    candidate: Candidate,
    actor: Actor,
    cooling_off: timedelta,
    now: Callable[[], datetime],
    *,
    preview_id: int | None = None,
    expect: int | None = None,
    known_apps: Collection[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Applied:
    """Put a rule set in force; the leader then decides every file under it.

    It is compared with the inventory once more, and must not make more files due sooner than its preview shows (without
    one: none). A file that became known after the preview counts only if it would be deleted at once: where callbacks
    arrive all the time, no preview could be applied otherwise. `expect` is the number that a person gave: it must be
    the preview's, and may be left out unless an app would be emptied.
    """
    moment, count = now(), 0
    preview = None if preview_id is None else find_preview(database, preview_id)
    if preview is not None and (misfit := _describe_misfit(preview, candidate.rules, cooling_off, moment)):
        raise NotPossible(misfit)
    comparison = Comparison(database, reader, candidate, cooling_off, moment)
    in_force = comparison.in_force
    if is_in_force(in_force, candidate.rules):
        return Applied(in_force.revision, None)

    def count_changes() -> Iterator[Change]:
        nonlocal count
        for change in comparison.run(progress=progress):
            is_due = change.date_after is not None and change.date_after <= moment
            must_be_shown = preview is None or change.before.id <= preview.highest_id or is_due
            count += must_be_shown and change.effect == "sooner"
            yield change

    found = comparison.sum_up(count_changes(), candidate, actor, known_apps)
    if why := _find_difference(found, count, preview):
        raise PreviewNeeded(why, store_preview(database, found))
    if preview is not None and expect != preview.sooner_count:
        _refuse_count(expect, {*preview.result["emptied_apps"], *found.result["emptied_apps"]}, preview)
    shown = None if preview is None else Shown(preview.id, preview.highest_id, preview.sooner_count)

    def put(tx: Transaction) -> Applied:
        lock_head(tx)
        if find_current_number(tx) != in_force.revision:
            raise NotPossible(
                "nothing was applied: somebody else is changing the rules; see `zego-retention rules history`"
            )
        at = now()
        # A clock that is behind what is on record would end it before anybody could take the rules back.
        wait = cooling_off and cooling_off + max((find_newest_received_at(tx) or at) - at, timedelta(0))
        numbers = put_in_force(tx, actor, candidate.rules, candidate.source, at, wait, preview=shown)
        return Applied(*numbers, found.sooner_count, at + wait if wait and found.sooner_count else None)

    applied = database.transact(put)
    log.info("rules_applied", revision=applied.revision, source=candidate.source, rules=len(candidate.rules))
    return applied


def _find_difference(found: Preview, count: int, preview: Preview | None) -> str | None:
    """What nobody was shown; `count` files must have been."""
    if preview is None:
        return f"these rules would make {count_of(count, 'file')} due sooner" if count else None
    if preview.base_revision != found.base_revision:
        compared = f"preview {preview.id} was compared with revision {preview.base_revision}"
        return f"revision {found.base_revision} is in force, and {compared}"
    if count > preview.sooner_count:
        now = f"these rules would now make {count_of(count, 'file')} due sooner"
        return f"{now}, and preview {preview.id} showed {preview.sooner_count:,}"
    return None


def _refuse_count(given: int | None, apps: Collection[str], preview: Preview) -> None:
    """Refuse a wrong number of files due sooner, and none where an app would be emptied."""
    count, every = preview.sooner_count, "; ".join(map(describe_emptied, sorted(apps)))
    if given is not None:
        wrong = f"preview {preview.id} makes {count_of(count, 'file')} due sooner, not {given:,}"
        every = f"{wrong}; {every}" if every else wrong
    if every:
        give = f"look at preview {preview.id}, then repeat the number of files due sooner"
        run = f"`zego-retention rules apply --preview {preview.id} --count {count}`"
        raise NotPossible(f'nothing was applied: {every}; {give} with {run} (API: "expect": {count})')


def is_in_force(in_force: RuleSet, rules: Sequence[RetentionRule]) -> bool:
    """Whether applying these rules would change nothing; those of KEEP count only once a person has applied them."""
    return in_force.revision > 0 and in_force.applied_by_person and in_force.rules == tuple(rules)


def find_obstacle(
    database: Database, reader: PolicyReader, preview: Preview, cooling_off: timedelta, now: datetime
) -> str | None:
    """Why a preview cannot be put in force any more; None: nothing is known against it without comparing once more."""
    with database.read() as tx:
        in_force = reader.read(tx).rules
        overtaken = describe_overtaken(tx, preview, in_force)
    if overtaken is None and is_in_force(in_force, preview.rules):
        return f"these rules are in force already, as revision {in_force.revision}"
    return overtaken or _describe_misfit(preview, preview.rules, cooling_off, now)


def _describe_misfit(
    preview: Preview, rules: Sequence[RetentionRule], cooling_off: timedelta, now: datetime
) -> str | None:
    if preview.rules != rules:
        problem = f"of other rules, from {preview.source}"
    elif abs(now - preview.as_of) > KEPT_FOR:
        problem = f"from {describe_moment(preview.as_of)}, which is too old"
    elif preview.cooling_off != cooling_off:
        was, is_now = format_duration(preview.cooling_off), format_duration(cooling_off)
        problem = f"for a cooling-off of {was}, and ZEGO_RETENTION_COOLING_OFF is {is_now}"
    else:
        return None
    return f"preview {preview.id} is {problem}: make a new one with `zego-retention rules preview FILE`"
