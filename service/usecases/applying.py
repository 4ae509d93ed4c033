"""Putting rules in force, bound to a preview of what they make due sooner (docs/rules.md)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from service.core.file_sets import FileSet
from service.core.rules import RuleSet
from service.core.rules_file import parse_rules
from service.core.wording import count
from service.db import files, inventory_scan, locks, previews, revisions
from service.usecases.deciding import Circumstances, decide_older
from service.usecases.inventory import NoSuchThing, NotPossible
from service.usecases.policy import Candidate, add_revision
from service.usecases.previewing import KEPT_FOR, cooling_off_of, find_sooner, make_preview

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from service.core.model import Actor
    from service.db.engine import Database, Session
    from service.db.order_models import PreviewRow

_BATCH = 300
_ARRIVING = timedelta(minutes=5)
"""A file announced this shortly before a preview may not have been in the inventory yet when it was made."""

_COMMITTING = timedelta(minutes=10)
"""A file decided this shortly before the reckoning may not have been seen by it; no transaction lasts longer."""

_MOST_STREAMS = 5_000
_TRIES = 5

log = structlog.get_logger(__name__)


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
            f"these rules would make {count(preview['sooner'], 'file')} due sooner: look at preview {preview['id']}, "
            f"then put them in force with `zego-retention rules apply --preview {preview['id']}`"
        )
        self.preview = preview


class NotAsPreviewed(NotPossible):
    """The rules would make files due sooner, and not as their preview showed it; `preview` is a new one, stored."""

    def __init__(self, preview_id: int, preview: dict[str, Any]) -> None:
        super().__init__(
            f"nothing was applied: other rules came into force since preview {preview_id}, or files have changed, and "
            f"these rules would now make {count(preview['sooner'], 'file')} due sooner; "
            f"look at preview {preview['id']}, then put them in force with "
            f"`zego-retention rules apply --preview {preview['id']}`"
        )
        self.preview = preview


@dataclass(frozen=True, slots=True)
class _Reckoned:
    """Which files a candidate makes due sooner, found before the rules were locked: under which revision, and when.

    `others` are those of them that the preview (None: there is none) does not show.
    """

    base: int
    at: datetime
    sooner: FileSet
    others: Sequence[int]
    preview: PreviewRow | None

    @property
    def as_of(self) -> datetime:
        """The moment that both rule sets are held against: that of the preview."""
        return self.preview.as_of if self.preview else self.at


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
    kill in the middle is made good by the next pass. The cooling-off is no shorter than the one that the preview tells.

    Raises:
        PreviewNeeded: it makes files due sooner, and no preview was named.
        NotAsPreviewed: it makes files due sooner that the preview does not show, or other rules came into force since.
        NotPossible: there is no such preview, it is one of other rules, or it is too old.
    """
    for _ in range(_TRIES):
        # The whole inventory is held against the candidate before the lock: callbacks arrive meanwhile.
        reckoned = _reckon(database, candidate, preview_id, now(), progress)
        put = partial(_put_in_force, candidate=candidate, actor=actor, cooling_off=cooling_off, reckoned=reckoned)
        try:
            applied = database.transact(partial(put, now=now))
        except _RulesChanged:
            continue
        break
    else:
        raise NotPossible("nothing was applied: others keep changing the rules; see `zego-retention rules history`")
    if applied is None:
        preview = make_preview(database, candidate, actor, cooling_off, now())
        raise PreviewNeeded(preview) if preview_id is None else NotAsPreviewed(preview_id, preview)
    if applied.is_new:
        log.info("rules_applied", revision=applied.revision, source=candidate.source, rules=len(candidate.rules))
    decided = decide_older(database, now, progress)
    return Applied(applied.revision, applied.is_new, decided, applied.sooner, applied.cooling_until)


def candidate_of_preview(database: Database, preview_id: int) -> Candidate:
    """The rules that a preview shows.

    Raises:
        NotPossible: there is no such preview.
    """
    with database.read() as session:
        preview = _existing_preview(session, preview_id)
        return Candidate(parse_rules(preview.rules), preview.source)


class _RulesChanged(Exception):  # noqa: N818  (a state of the world: somebody else was faster)
    """Other rules came into force since the candidate was held against those before."""


def _reckon(
    database: Database,
    candidate: Candidate,
    preview_id: int | None,
    now: datetime,
    progress: Callable[[int], None] | None,
) -> _Reckoned:
    with database.read() as session:
        in_force = revisions.current_rules(session)
        preview = None if preview_id is None else _fitting_preview(session, preview_id, candidate, now)
        if in_force.revision and in_force.rules == candidate.rules:
            return _Reckoned(in_force.revision, now, FileSet(()), (), preview)
        sooner = find_sooner(session, in_force, candidate.rules, preview.as_of if preview else now, progress)
        return _Reckoned(in_force.revision, now, sooner, _not_shown(session, sooner, preview), preview)


def _put_in_force(
    session: Session,
    candidate: Candidate,
    actor: Actor,
    cooling_off: timedelta,
    reckoned: _Reckoned,
    now: Callable[[], datetime],
) -> Applied | None:
    """Write the revision; None if the candidate makes files due sooner, and no preview showed it so.

    Under the lock, only the streams in which something was decided since the reckoning are looked at again.
    """
    locks.lock_policy_exclusive(session)
    moment = now()
    in_force = revisions.current_rules(session)
    if in_force.revision != reckoned.base:
        raise _RulesChanged
    if in_force.revision and in_force.rules == candidate.rules:
        return Applied(in_force.revision, is_new=False, decided=0)
    changed = inventory_scan.list_changed_streams(session, reckoned.at - _COMMITTING, _MOST_STREAMS)
    again = find_sooner(session, in_force, candidate.rules, reckoned.as_of, streams=changed)
    preview = reckoned.preview
    others = [*reckoned.others, *_not_shown(session, again, preview)]
    count = len(reckoned.sooner) + sum(number not in reckoned.sooner for number in again)
    if count and not _is_agreed(session, others, candidate, preview, in_force.revision, moment):
        return None
    number = in_force.revision + 1
    if preview is not None:
        cooling_off = max(cooling_off, cooling_off_of(preview))
    until = add_revision(session, number, candidate, actor, cooling_off, moment, preview if count else None, count)
    return Applied(number, is_new=True, decided=0, sooner=count, cooling_until=until if count else None)


def _existing_preview(session: Session, preview_id: int) -> PreviewRow:
    preview = previews.find_preview(session, preview_id)
    if preview is None:
        raise NoSuchThing(f"there is no preview {preview_id}: make one with `zego-retention rules preview FILE`")
    return preview


def _fitting_preview(session: Session, preview_id: int, candidate: Candidate, now: datetime) -> PreviewRow:
    preview = _existing_preview(session, preview_id)
    if parse_rules(preview.rules) != candidate.rules:
        raise NotPossible(
            f"preview {preview_id} is of other rules, from {preview.source}: preview these with "
            "`zego-retention rules preview FILE`"
        )
    if abs(now - preview.as_of) > KEPT_FOR:
        raise NotPossible(
            f"preview {preview_id} is of {preview.as_of:%Y-%m-%d}, too old: make a new one with "
            "`zego-retention rules preview FILE`"
        )
    return preview


def _not_shown(session: Session, sooner: FileSet, preview: PreviewRow | None) -> list[int]:
    shown = previews.load_sooner(session, preview.id) if preview is not None else None
    return list(sooner) if shown is None else [number for number in sooner if number not in shown]


def _is_agreed(
    session: Session,
    others: Sequence[int],
    candidate: Candidate,
    preview: PreviewRow | None,
    base: int,
    now: datetime,
) -> bool:
    """Whether what the candidate makes due sooner is what somebody looked at, in a preview against the same rules.

    A set made against other rules does not describe this change: it may take back what they were put in force for.
    """
    if preview is None or preview.base_revision != base:
        return False
    return not _hits(session, others, candidate, preview, now)


def _hits(session: Session, others: Sequence[int], candidate: Candidate, preview: PreviewRow, now: datetime) -> bool:
    """Whether files that become due sooner without having been shown are in the way of applying.

    One that was announced since then counts only if the candidate would let it go by now: where callbacks arrive all
    the time, no preview could be applied otherwise. Its cooling-off is that of the others, and the breaker counts it.
    """
    for start in range(0, len(others), _BATCH):
        batch = others[start : start + _BATCH]
        if previews.received_by(session, batch, preview.as_of - _ARRIVING) or _is_any_due(
            session, batch, candidate, now
        ):
            return True
    return False


def _is_any_due(session: Session, numbers: Sequence[int], candidate: Candidate, now: datetime) -> bool:
    circumstances = Circumstances(session, RuleSet(0, candidate.rules), now)
    dates = [circumstances.decide(row).decision.due_at for row in files.find_files(session, list(numbers)).values()]
    session.expunge_all()
    return any(date is not None and date <= now for date in dates)
