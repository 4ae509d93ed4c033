"""What people order, checked whole and early; and carrying an order out on the files that it names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.core.model import END_STATES, Action, FileState
from service.db import coverage, files, locks, revisions
from service.usecases.deciding import decide_rows, decide_stream, lock_ranks
from service.usecases.inventory import NotPossible

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime

    from service.db.engine import Session
    from service.db.models import MediaFileRow

LONGEST_REASON: Final = 1_000
LONGEST_PATTERN: Final = 255
LONGEST_APP_ID: Final = 20


class BadOrder(NotPossible):
    """An order that cannot be meant as it was written; `field` is the part of it that is wrong."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


def check_reason(reason: str) -> None:
    """Every order says why.

    Raises:
        BadOrder: it does not, or at too great length, or with characters that cannot be shown.
    """
    if not reason.strip():
        raise BadOrder("reason", "the reason is empty: say why, for whoever reads it in a year")
    if len(reason) > LONGEST_REASON:
        raise BadOrder("reason", f"the reason has {len(reason):,} characters: {LONGEST_REASON:,} are the most")
    if not reason.isprintable():
        raise BadOrder("reason", "the reason holds line breaks or characters that cannot be shown: write one line")


def check_pattern(pattern: str) -> None:
    """A stream pattern that some stream may fit.

    Raises:
        BadOrder: none can.
    """
    if not pattern:
        raise BadOrder("stream_pattern", "the stream pattern is empty: write one such as lesson-*, or * for every one")
    if len(pattern) > LONGEST_PATTERN:
        raise BadOrder("stream_pattern", f"the stream pattern has more than {LONGEST_PATTERN} characters")
    if not pattern.isprintable():
        raise BadOrder("stream_pattern", "the stream pattern holds characters that cannot be shown")


def check_app(session: Session, app_id: str | None, known_apps: Collection[str] | None) -> str:
    """The app of a stream pattern: one that is configured (`known_apps`; None: not known here) or that has files.

    Raises:
        BadOrder: none was given, or nobody knows it.
    """
    if app_id is None:
        raise BadOrder("app_id", "a stream pattern belongs to one app: say which, by its AppID")
    if not app_id or len(app_id) > LONGEST_APP_ID or not app_id.isprintable():
        raise BadOrder("app_id", f"{app_id[:LONGEST_APP_ID]!r} is not an AppID: write its digits, as in the settings")
    if known_apps is not None and app_id not in known_apps and not coverage.has_files(session, app_id):
        raise BadOrder("app_id", f"app {app_id} is not in the settings and has no files: is the AppID right?")
    return app_id


def is_live(row: MediaFileRow) -> bool:
    """An order to keep can still change what becomes of it."""
    return row.state not in END_STATES and row.state is not FileState.FAILED


def decide_named(
    session: Session, numbers: Sequence[int], now: datetime, take: Callable[[MediaFileRow], bool] = is_live
) -> int:
    """Decide files that an order names under what is in force now; returns how many.

    `take` tells whether a locked file is to be decided, and may write into it before. A claim on a file that is to
    stay is broken: its call is not sent, unless it is on its way already.
    """
    locks.lock_policy_shared(session)
    rules = revisions.current_rules(session)
    # Which locks are needed is known only from rows that are not locked yet: the locks come first, then the rows.
    streams = {(row.app_id, row.stream_id) for row in files.find_files(session, numbers).values()}
    for app_id in sorted({app_id for app_id, _ in streams}):
        locks.lock_holds_shared(session, app_id)
    lock_ranks(session, rules, streams)
    session.expire_all()
    locked = files.find_files(session, numbers, lock=True)
    erasures = {number: row.erasure_id for number, row in locked.items()}
    rows = [row for row in locked.values() if take(row)]
    session.flush()
    # What is to be erased counts among the newest of its stream no more, and what is not deleted after all does again.
    freed = {(row.app_id, row.stream_id) for row in rows if row.erasure_id != erasures[row.id]}
    for row, decision, approval in decide_rows(session, rows, rules, now):
        was_claimed = row.state is FileState.DELETING
        if was_claimed and decision.action is Action.DELETE:
            continue
        files.apply_decision(row, decision, approval, rules.revision, now)
        if was_claimed:
            freed.add((row.app_id, row.stream_id))
    session.flush()
    for app_id, stream_id in sorted(freed):
        decide_stream(session, app_id, stream_id, rules, now)
    return len(rows)
