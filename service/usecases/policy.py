"""The rules in force: the first ones, changing them bound to a preview, and their history (docs/rules.md)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog

from service.core.model import Actor
from service.core.rules import RetentionRule, RuleSet
from service.core.rules_file import catch_all, format_rules, parse_rules
from service.db import audit, files, locks, previews, revisions
from service.db.revisions import Revision
from service.usecases.deciding import Circumstances, decide_older
from service.usecases.inventory import NoSuchThing, NotPossible, iso
from service.usecases.previewing import find_sooner, make_preview
from service.usecases.revision_forms import revision_as_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from service.core.file_sets import FileSet
    from service.db.engine import Database, Session
    from service.db.order_models import PreviewRow

KEEP_SOURCE = "the KEEP setting"
_SETTINGS = Actor("settings", "settings")
_BATCH = 300
_ARRIVING = timedelta(minutes=5)
"""A file announced this shortly before a preview may not have been in the inventory yet when it was made."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Rules that may be put in force, and where they come from."""

    rules: tuple[RetentionRule, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a rule set did: the revision in force, if it is a new one, and how many files were decided anew.

    `sooner` counts the files whose date it moved earlier; none is called before `cooling_until` (None: at once).
    """

    revision: int
    is_new: bool
    decided: int
    sooner: int = 0
    cooling_until: datetime | None = None


class PreviewNeeded(NotPossible):
    """The rules make files due sooner, so they have to be applied with a preview; `preview` is one, just stored."""

    def __init__(self, preview: dict[str, Any]) -> None:
        super().__init__(
            f"these rules would make {_files(preview['sooner'])} due sooner: look at preview {preview['id']}, "
            f"then put them in force with `zego-retention rules apply --preview {preview['id']}`"
        )
        self.preview = preview


class NotAsPreviewed(NotPossible):
    """The rules would make a file due sooner that their preview did not show; `preview` is a new one, stored."""

    def __init__(self, preview_id: int, preview: dict[str, Any]) -> None:
        super().__init__(
            f"nothing was applied: things have changed since preview {preview_id}, and the rules would make "
            f"other files due sooner, {preview['sooner']:,} in all; look at preview {preview['id']}, then put them in "
            f"force with `zego-retention rules apply --preview {preview['id']}`"
        )
        self.preview = preview


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
            _add_revision(session, 1, candidate, _SETTINGS, cooling_off, now)
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
    candidate: Candidate,
    actor: Actor,
    cooling_off: timedelta,
    now: Callable[[], datetime],
    *,
    preview_id: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Applied:
    """Put a rule set in force and decide the inventory anew under it, in batches; `progress` hears each batch's size.

    In force as soon as the revision is written: the sweep decides under it even while the inventory is still behind. A
    kill in the middle is made good by the next pass.

    Raises:
        PreviewNeeded: it makes files due sooner, and no preview was named.
        NotAsPreviewed: it makes files due sooner that the preview does not show.
        NotPossible: there is no such preview, or it is one of other rules.
    """
    applied = database.transact(
        lambda session: _put_in_force(session, candidate, actor, cooling_off, now(), preview_id, progress)
    )
    if applied is None:
        preview = make_preview(database, candidate, actor, cooling_off, now())
        raise PreviewNeeded(preview) if preview_id is None else NotAsPreviewed(preview_id, preview)
    if applied.is_new:
        log.info("rules_applied", revision=applied.revision, source=candidate.source, rules=len(candidate.rules))
    decided = decide_older(database, now, progress)
    return Applied(applied.revision, applied.is_new, decided, applied.sooner, applied.cooling_until)


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


def candidate_of_preview(database: Database, preview_id: int) -> Candidate:
    """The rules that a preview shows.

    Raises:
        NotPossible: there is no such preview.
    """
    with database.read() as session:
        preview = _existing_preview(session, preview_id)
        return Candidate(parse_rules(preview.rules), preview.source)


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


def _put_in_force(
    session: Session,
    candidate: Candidate,
    actor: Actor,
    cooling_off: timedelta,
    now: datetime,
    preview_id: int | None,
    progress: Callable[[int], None] | None,
) -> Applied | None:
    """Write the revision; None if the candidate makes files due sooner that no preview showed."""
    locks.lock_policy_exclusive(session)
    in_force = revisions.current_rules(session)
    if in_force.revision and in_force.rules == candidate.rules:
        return Applied(in_force.revision, is_new=False, decided=0)
    preview = None if preview_id is None else _existing_preview(session, preview_id, candidate)
    sooner = find_sooner(session, in_force, candidate.rules, preview.as_of if preview else now, progress)
    if sooner and (preview is None or _hits_others(session, sooner, candidate, preview, now)):
        return None
    number = in_force.revision + 1
    bound_to = preview if sooner else None
    until = _add_revision(session, number, candidate, actor, cooling_off, now, bound_to, len(sooner))
    return Applied(number, is_new=True, decided=0, sooner=len(sooner), cooling_until=until if sooner else None)


def _existing_preview(session: Session, preview_id: int, candidate: Candidate | None = None) -> PreviewRow:
    preview = previews.find_preview(session, preview_id)
    if preview is None:
        raise NoSuchThing(f"there is no preview {preview_id}: make one with `zego-retention rules preview FILE`")
    if candidate is not None and parse_rules(preview.rules) != candidate.rules:
        raise NotPossible(
            f"preview {preview_id} is of other rules, from {preview.source}: preview these with "
            "`zego-retention rules preview FILE`"
        )
    return preview


def _hits_others(session: Session, sooner: FileSet, candidate: Candidate, preview: PreviewRow, now: datetime) -> bool:
    """Whether files become due sooner that the preview did not show.

    One that was announced since then counts only if the candidate would let it go by now: where callbacks arrive all
    the time, no preview could be applied otherwise. Its cooling-off is that of the others, and the breaker counts it.
    """
    shown = previews.load_sooner(session, preview.id) or ()
    others = [number for number in sooner if number not in shown]
    for start in range(0, len(others), _BATCH):
        batch = others[start : start + _BATCH]
        if previews.received_by(session, batch, preview.as_of - _ARRIVING) or _is_any_due(
            session, batch, candidate, now
        ):
            return True
    return False


def _is_any_due(session: Session, numbers: Iterable[int], candidate: Candidate, now: datetime) -> bool:
    circumstances = Circumstances(session, RuleSet(0, candidate.rules), now)
    dates = [circumstances.decide(row).decision.due_at for row in files.find_files(session, list(numbers)).values()]
    session.expunge_all()
    return any(date is not None and date <= now for date in dates)


def _add_revision(
    session: Session,
    number: int,
    candidate: Candidate,
    actor: Actor,
    cooling_off: timedelta,
    now: datetime,
    preview: PreviewRow | None = None,
    sooner: int = 0,
) -> datetime | None:
    """Write a revision and its audit entry; returns the end of its cooling-off."""
    waits = cooling_off > timedelta(0) and (number > 1 or previews.has_files(session))
    until = now + cooling_off if waits else None
    preview_id = None if preview is None else preview.id
    text = format_rules(candidate.rules)
    revision = Revision(number, now, actor.name, actor.through, candidate.source, text, until, preview_id)
    revisions.add_revision(session, revision)
    detail = {"source": candidate.source, "preview": preview_id, "sooner": sooner, "cooling_until": iso(until)}
    audit.add_entry(session, actor, "apply_rules", f"revision {number}", now, detail)
    return until


def _files(count: int) -> str:
    return f"{count:,} file" if count == 1 else f"{count:,} files"
