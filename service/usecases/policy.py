"""The rules in force: the first ones, changing them, and seeing what a change would do (docs/rules.md)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from service.core.model import Action
from service.core.rules import RetentionRule, RuleSet
from service.core.rules_file import catch_all, format_rules
from service.db import files, locks, revisions
from service.db.revisions import Revision
from service.usecases.deciding import BATCH, decide_older, decide_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta

    from service.core.model import Decision
    from service.db.engine import Database, Session

KEEP_SOURCE = "the KEEP setting"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a rule set did: the revision in force, if it is a new one, and how many files were decided anew."""

    revision: int
    is_new: bool
    decided: int


@dataclass(frozen=True, slots=True)
class RuleEffect:
    """What one rule (None: no rule) would decide: how many files it keeps for good, for now, and lets go at once."""

    rule: str | None
    kept: int
    later: int
    due: int


@dataclass(frozen=True, slots=True)
class Preview:
    """A candidate beside the rules in force, over every file that is neither deleted nor gone; nothing was changed.

    `sooner` and `later` count files whose date moves (never counts as the latest date), `newly_due` those that the next
    sweep would delete under the candidate only, `rescued` those it would delete under the rules in force only.
    """

    files: int
    due: int
    newly_due: int
    rescued: int
    sooner: int
    later: int
    unchanged: int
    effects: tuple[RuleEffect, ...]


def ensure_first_rules(database: Database, keep: str | None, cooling_off: timedelta, now: datetime) -> None:
    """While nobody has applied rules, put the catch-all of the KEEP setting in force as revision 1.

    Files that are there already had no date before: they wait for the cooling-off like those of any other change.
    """
    if keep is None:
        return

    def first(session: Session) -> None:
        locks.lock_policy_exclusive(session)
        if revisions.current_number(session) == 0:
            text = format_rules(catch_all(keep))
            revisions.add_revision(
                session, Revision(1, now, "settings", "settings", KEEP_SOURCE, text, now + cooling_off)
            )
            log.info("rules_applied", revision=1, source=KEEP_SOURCE, keep=keep)

    with database.read() as session:
        is_first = revisions.current_number(session) == 0
    if is_first:
        database.transact(first)


def keep_differs(database: Database, keep: str | None) -> str | None:
    """Say so in a sentence if the KEEP setting is not what is in force; None if it is, or is unset."""
    if keep is None:
        return None
    with database.read() as session:
        rules = revisions.current_rules(session)
    if rules.rules == catch_all(keep):
        return None
    return (
        f"KEEP={keep} is not in force: the database's rules (revision {rules.revision}) decide; "
        "see `zego-retention rules list`, or put KEEP in force with `zego-retention rules apply --keep`"
    )


def apply_rules(
    database: Database,
    rules: Sequence[RetentionRule],
    source: str,
    by: str,
    now: Callable[[], datetime],
    progress: Callable[[int], None] | None = None,
) -> Applied:
    """Put a rule set in force and decide the inventory anew under it, in batches; `progress` hears each batch's size.

    In force as soon as the revision is written: the sweep decides under it even while the inventory is still behind. A
    kill in the middle is made good by the next pass.
    """
    number, is_new = database.transact(lambda session: _put_in_force(session, rules, source, by, now()))
    if is_new:
        log.info("rules_applied", revision=number, source=source, rules=len(rules))
    return Applied(number, is_new, decide_older(database, now, progress))


def count_to_decide(database: Database) -> int:
    """How many files the rules in force have yet to decide."""
    with database.read() as session:
        return files.count_older_than(session, revisions.current_number(session))


def preview_rules(
    database: Database,
    rules: Sequence[RetentionRule],
    now: datetime,
    progress: Callable[[int], None] | None = None,
) -> Preview:
    """Decide every file under a candidate and under the rules in force, and compare; exact, and changes nothing."""
    tally: Counter[str] = Counter()
    effects: dict[str | None, Counter[Action]] = {None: Counter()} | {rule.name: Counter() for rule in rules}
    candidate = RuleSet(0, tuple(rules))
    after = 0
    with database.read() as session:
        in_force = revisions.current_rules(session)
        while rows := files.list_all_after(session, after, BATCH):
            after = rows[-1].id
            old = decide_rows(session, rows, in_force, now)
            new = decide_rows(session, rows, candidate, now)
            for (_, before, _), (_, then, _) in zip(old, new, strict=True):
                _compare(tally, before, then)
                effects[then.rule][then.action] += 1
            session.expunge_all()
            if progress:
                progress(len(rows))
    return Preview(
        files=tally.total() - tally["due"] - tally["newly_due"] - tally["rescued"],
        due=tally["due"],
        newly_due=tally["newly_due"],
        rescued=tally["rescued"],
        sooner=tally["sooner"],
        later=tally["later"],
        unchanged=tally["unchanged"],
        effects=tuple(_effect(name, actions) for name, actions in effects.items() if actions or name is not None),
    )


def _compare(tally: Counter[str], before: Decision, then: Decision) -> None:
    was_due, is_due = before.action is Action.DELETE, then.action is Action.DELETE
    tally["due"] += is_due
    tally["newly_due"] += is_due and not was_due
    tally["rescued"] += was_due and not is_due
    if before.due_at == then.due_at:
        tally["unchanged"] += 1
    elif before.due_at is None or (then.due_at is not None and then.due_at < before.due_at):
        tally["sooner"] += 1
    else:
        tally["later"] += 1


def _effect(name: str | None, actions: Counter[Action]) -> RuleEffect:
    later = actions[Action.WAIT] + actions[Action.CONFIRM] + actions[Action.HOLD]
    return RuleEffect(name, actions[Action.KEEP], later, actions[Action.DELETE])


def _put_in_force(
    session: Session, rules: Sequence[RetentionRule], source: str, by: str, now: datetime
) -> tuple[int, bool]:
    locks.lock_policy_exclusive(session)
    current = revisions.current_rules(session)
    if current.revision and current.rules == tuple(rules):
        return current.revision, False
    number = current.revision + 1
    revisions.add_revision(session, Revision(number, now, by, None, source, format_rules(rules)))
    return number, True
