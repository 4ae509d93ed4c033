"""Putting rules in force, bound to a preview of what they make due sooner (docs/rules.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from service.audit.store import lock_head
from service.model import NoSuchThing, NotPossible
from service.preview.compare import Candidate, find_base
from service.preview.make import KEPT_FOR, compare, find_preview, store_preview
from service.rules.revisions import Shown, put_in_force
from service.rules.store import find_current_number, find_revision
from service.units import count_of, describe_moment, format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime, timedelta

    from service.database import Database, Transaction
    from service.files.policy import PolicyReader
    from service.model import Actor
    from service.preview.forecast import Change
    from service.preview.make import Comparison
    from service.preview.store import Preview

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Applied:
    """The revision in force, and the order that puts it in force (None: the same rules were in force already).

    `sooner_count` files become due sooner by it; none of them is called before `cooling_until` (None: at once).
    """

    revision: int
    order: int | None
    sooner_count: int = 0
    cooling_until: datetime | None = None


class PreviewNeeded(NotPossible):
    """The rules make files due sooner, so they have to be applied with a preview; `preview` is one, just stored."""

    def __init__(self, preview: Preview) -> None:
        super().__init__(
            f"nothing was applied: these rules would make {count_of(preview.sooner_count, 'file')} due sooner; "
            + _describe_way_out(preview)
        )
        self.preview = preview


class NotAsPreviewed(NotPossible):
    """What would happen now is not what the preview shows; `preview` is a new one, just stored."""

    def __init__(self, difference: str, preview: Preview) -> None:
        super().__init__(f"nothing was applied: {difference}; {_describe_way_out(preview)}")
        self.preview = preview


def candidate_of_preview(database: Database, number: int) -> Candidate:
    """The rules that a preview shows.

    Raises:
        NoSuchThing: there is no such preview.
    """
    preview = find_preview(database, number)
    return Candidate(preview.rules, preview.source)


def candidate_of_revision(database: Database, number: int) -> Candidate:
    """The rules of an earlier revision, to be put in force again.

    Raises:
        NoSuchThing: there is no such revision.
    """
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
    known_apps: Collection[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Applied:
    """Put a rule set in force; the leader then decides every file under it.

    A change that makes no file due sooner needs no preview. Any other is compared with the inventory once more, before
    the transaction, and must not make more files due sooner than its preview shows. A file that became known after the
    preview counts only if it would be deleted at once: where callbacks arrive all the time, no preview could be applied
    otherwise.

    Raises:
        PreviewNeeded: it makes files due sooner, and no preview was named.
        NotAsPreviewed: more files become due sooner than the preview shows, or other rules came into force since.
        NotPossible: there is no such preview, or it is one of other rules, too old, or of another cooling-off; or
            others change the rules at this very moment.
        DatabaseUnavailable: the database refused or could not be reached.
    """
    preview = None if preview_id is None else _find_fitting_preview(database, preview_id, candidate, cooling_off, now())
    base = find_base(database, reader)
    in_force = base.rules
    if in_force.revision and in_force.applied_by_person and in_force.rules == candidate.rules:
        return Applied(in_force.revision, None)
    moment = now()
    watch = _Watch(moment, None if preview is None else preview.highest_id)
    found = compare(
        database, reader, base, candidate, cooling_off, moment, progress, known_apps=known_apps, watch=watch
    )
    _check(database, found, watch, preview, candidate, actor, moment)
    shown = None if preview is None else Shown(preview.id, preview.highest_id, preview.sooner_count)

    def put(tx: Transaction) -> Applied:
        lock_head(tx)
        if find_current_number(tx) != in_force.revision:
            raise NotPossible("nothing was applied: others are changing the rules; see `zego-retention rules history`")
        applied_at = now()
        revision, order = put_in_force(
            tx, actor, candidate.rules, candidate.source, applied_at, cooling_off, preview=shown
        )
        return Applied(
            revision,
            order,
            found.sooner_count,
            applied_at + cooling_off if cooling_off and found.sooner_count else None,
        )

    applied = database.transact(put)
    log.info("rules_applied", revision=applied.revision, source=candidate.source, rules=len(candidate.rules))
    return applied


class _Watch:
    """Counts the files that become due sooner, as far as a preview up to `highest_id` had to show them."""

    def __init__(self, now: datetime, highest_id: int | None) -> None:
        self._now = now
        self._highest_id = highest_id
        self.count = 0

    def __call__(self, change: Change) -> None:
        is_older = self._highest_id is None or change.before.id <= self._highest_id
        self.count += is_older or (change.date_after is not None and change.date_after <= self._now)


def _check(
    database: Database,
    found: Comparison,
    watch: _Watch,
    preview: Preview | None,
    candidate: Candidate,
    actor: Actor,
    now: datetime,
) -> None:
    """Refuse what nobody was shown."""
    base = found.base.rules.revision
    if preview is None:
        if found.sooner_count:
            raise PreviewNeeded(store_preview(database, found, candidate, actor, now))
    elif preview.base_revision != base:
        difference = (
            f"revision {base} is in force, and preview {preview.id} was compared with revision {preview.base_revision}"
        )
        raise NotAsPreviewed(difference, store_preview(database, found, candidate, actor, now))
    elif watch.count > preview.sooner_count:
        difference = (
            f"{count_of(watch.count, 'file')} would become due sooner now, and preview {preview.id} showed "
            f"{preview.sooner_count:,}"
        )
        raise NotAsPreviewed(difference, store_preview(database, found, candidate, actor, now))


def _find_fitting_preview(
    database: Database, number: int, candidate: Candidate, cooling_off: timedelta, now: datetime
) -> Preview:
    preview = find_preview(database, number)
    again = "make a new one with `zego-retention rules preview FILE`"
    if preview.rules != candidate.rules:
        raise NotPossible(f"preview {number} is of other rules, from {preview.source}: {again}")
    if abs(now - preview.as_of) > KEPT_FOR:
        raise NotPossible(f"preview {number} is of {describe_moment(preview.as_of)}, too old: {again}")
    if preview.cooling_off != cooling_off:
        raise NotPossible(
            f"preview {number} was made for a cooling-off of {format_duration(preview.cooling_off)}, and "
            f"ZEGO_RETENTION_COOLING_OFF is {format_duration(cooling_off)}: {again}"
        )
    return preview


def _describe_way_out(preview: Preview) -> str:
    return (
        f"look at preview {preview.id}, then put them in force with `zego-retention rules apply --preview {preview.id}`"
    )
