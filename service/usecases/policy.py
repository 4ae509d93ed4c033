"""The rules in force: the first ones, where they come from, and their history (docs/rules.md)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog

from service.core.model import Actor
from service.core.rules_file import catch_all, format_rules, parse_rules
from service.db import audit, files, locks, previews, revisions
from service.db.revisions import Revision
from service.usecases.inventory import NoSuchThing, iso
from service.usecases.revision_forms import revision_as_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from service.core.rules import RetentionRule
    from service.db.engine import Database, Session
    from service.db.order_models import PreviewRow

KEEP_SOURCE = "the KEEP setting"
_SETTINGS = Actor("settings", "settings")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Rules that may be put in force, and where they come from."""

    rules: tuple[RetentionRule, ...]
    source: str


def ensure_first_rules(database: Database, keep: str | None, cooling_off: timedelta, now: datetime) -> None:
    """While nobody has applied rules, put the catch-all of the KEEP setting in force as revision 1.

    Files that are there already had no date before: they wait for the cooling-off like those of any other change.
    """
    if keep is None:
        return

    def first(session: Session) -> None:
        locks.lock_policy_exclusive(session)
        if revisions.current_number(session) == 0:
            candidate = Candidate(catch_all(keep), KEEP_SOURCE)
            add_revision(session, 1, candidate, _SETTINGS, cooling_off, now)
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


def candidate_of(database: Database, number: int) -> Candidate:
    """The rules of an earlier revision, to be put in force again.

    Raises:
        NotPossible: there is no such revision.
    """
    with database.read() as session:
        revision = revisions.find_revision(session, number)
    if revision is None:
        raise NoSuchThing(f"there is no revision {number}: see `zego-retention rules history`")
    return Candidate(parse_rules(revision.rules), f"revision {number}")


def list_revisions(
    database: Database, limit: int | None = None, *, before: int | None = None
) -> Iterator[dict[str, Any]]:
    """Every rule set that was in force, the newest below `before` first, each with its difference to the one before."""
    with database.read() as session:
        number = revisions.current_number(session)
    number = number if before is None else min(number, before - 1)
    last = 0 if limit is None else max(0, number - limit)
    while number > last:
        shown = show_revision(database, number)
        if shown is not None:
            yield {key: value for key, value in shown.items() if key not in ("text", "rules")}
        number -= 1


def show_revision(database: Database, number: int | None = None) -> dict[str, Any] | None:
    """One revision with its rules (None: the one in force); None if there is none."""
    with database.read() as session:
        found = revisions.current_revision(session) if number is None else revisions.find_revision(session, number)
        before = revisions.find_revision(session, found.number - 1) if found else None
    return None if found is None else revision_as_json(found, before)


def count_to_decide(database: Database) -> int:
    """How many files the rules in force have yet to decide."""
    with database.read() as session:
        return files.count_older_than(session, revisions.current_number(session))


def add_revision(
    session: Session,
    number: int,
    candidate: Candidate,
    actor: Actor,
    cooling_off: timedelta,
    now: datetime,
    preview: PreviewRow | None = None,
    sooner: int = 0,
) -> datetime | None:
    """Write a revision and its audit entry; returns the end of its cooling-off.

    The caller holds the policy exclusively, so that the number is free.
    """
    waits = cooling_off > timedelta(0) and (number > 1 or previews.has_files(session))
    until = now + cooling_off if waits else None
    preview_id = None if preview is None else preview.id
    text = format_rules(candidate.rules)
    revision = Revision(number, now, actor.name, actor.through, candidate.source, text, until, preview_id)
    revisions.add_revision(session, revision)
    detail = {"source": candidate.source, "preview": preview_id, "sooner": sooner, "cooling_until": iso(until)}
    audit.add_entry(session, actor, "apply_rules", f"revision {number}", now, detail)
    return until
