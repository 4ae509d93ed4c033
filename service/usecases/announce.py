"""A callback announces a file: it enters the inventory, or adds to what is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.core.announcing import is_believed, merge_announcement
from service.core.model import DISPUTED_EVENT, END_STATES, Callback, FileState, MediaFile, Suspicion
from service.core.patterns import matches
from service.core.renditions import note_renditions
from service.core.rules import RuleSet, believe_end
from service.db import erasures, files, inbox, revisions
from service.usecases.deciding import decide_again, decide_stream, lock_ranks

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from service.core.renditions import Rendition
    from service.db.engine import Session
    from service.db.models import MediaFileRow

_DIFFERENCES_LIMIT = 4_000


def announce_file(
    session: Session,
    callback: Callback,
    suspicion: Suspicion | None,
    received_at: datetime,
    known_since: datetime | None,
    now: datetime,
) -> int:
    """Add the file that a callback announces, or merge what it says; decide it; returns its number.

    Idempotent on (app, vendor, file id). A suspicion on record since `known_since` (None: a new one) is settled by
    whoever confirmed the file after that. The caller holds the policy and the stream (`lock_streams_of`).
    """
    began_at, ended_at = believe_end(callback.began_at, callback.ended_at, received_at)
    announced = MediaFile(
        app_id=callback.app_id,
        vendor=callback.vendor,
        file_id=callback.file_id,
        stream_id=callback.stream_id,
        event=callback.event,
        began_at=began_at,
        ended_at=ended_at,
        received_at=received_at,
        duration_s=callback.duration_s,
        size_bytes=callback.size_bytes,
        replay_url=callback.replay_url,
        suspicion=suspicion,
    )
    rules = revisions.current_rules(session)
    row = files.find_by_identity(session, callback.app_id, callback.vendor, callback.file_id)
    if row is None:
        row = files.add_file(session, announced, now)
        if row is not None:
            _decide(session, row, rules, now)
            return row.id
        row = files.find_by_identity(session, callback.app_id, callback.vendor, callback.file_id)
        if row is None:
            raise RuntimeError("the inventory refused a file that it does not hold")
    row.lost_on = None  # the callback that a listing missed was only late, whatever it is worth
    if is_believed(suspicion) or not _is_settled(row, known_since):
        _merge(session, row, announced, rules, now, end_believed=ended_at == callback.ended_at)
    return row.id


def lock_streams_of(session: Session, file_keys: Iterable[int | None], streams: Iterable[tuple[str, str]] = ()) -> None:
    """Lock the ranks within the streams of these files, and within others, before any row of theirs is locked."""
    rules = revisions.current_rules(session)
    rows = files.find_files(session, [key for key in file_keys if key is not None]).values()
    lock_ranks(session, rules, [*streams, *((row.app_id, row.stream_id) for row in rows)])


def suspect_file(session: Session, file_key: int, known_since: datetime | None, now: datetime) -> None:
    """Stop believing in a file because of a conflict on record since `known_since`; a claim on the file is broken.

    A person who confirmed the file after that moment has seen the conflict already.
    """
    row = files.find_file(session, file_key, lock=True)
    if row is None or _is_settled(row, known_since):
        return
    # (On a file that has ended, too: a listing may show it again.)
    row.suspicion = Suspicion.CONFLICT
    row.confirmed_at = row.confirmed_by = None
    _decide(session, row, revisions.current_rules(session), now)


def note_transcoding(session: Session, file_key: int, renditions: Iterable[Rendition], received_at: datetime) -> None:
    """Note the renditions that were made of a file; nothing is decided anew."""
    row = files.find_file(session, file_key, lock=True)
    if row is not None:
        row.renditions = note_renditions(row.renditions, renditions, f"{received_at:%Y-%m-%dT%H:%M:%SZ}")


def _merge(
    session: Session, row: MediaFileRow, announced: MediaFile, rules: RuleSet, now: datetime, *, end_believed: bool
) -> None:
    # A listing names neither stream nor event: the first believed callback about an adopted file tells them.
    only_listed = row.event == DISPUTED_EVENT or (
        row.adopted_at is not None and not row.stream_id and not inbox.was_announced(session, row.id)
    )
    known = files.facts_of(row)
    merge = merge_announcement(known, announced, end_believed=end_believed, only_listed=only_listed)
    is_news = row.state not in END_STATES and merge.file != known
    left = leave_erasure(session, row, merge.file.stream_id) if is_news else ()
    if row.state in END_STATES and merge.file.suspicion is Suspicion.CONFLICT:
        row.suspicion = Suspicion.CONFLICT
    if merge.differences or left:
        _note_differences(row, announced.received_at, (*merge.differences, *left))
    if not is_news:
        return
    files.apply_facts(row, merge.file)
    _decide(session, row, rules, now)


def leave_erasure(session: Session, row: MediaFileRow, stream_id: str) -> tuple[str, ...]:
    """Take an erasure of a pattern off a file of a stream that does not fit it; what is to be noted of that."""
    if row.erasure_id is None or row.stream_id == stream_id:
        return ()
    erasure = erasures.find_erasure(session, row.erasure_id)
    if erasure is None or erasure.stream_pattern is None or matches(erasure.stream_pattern, stream_id):
        return ()
    row.erasure_id = row.approval = None
    return (f"stream_id: {stream_id}, so erasure {erasure.id} of {erasure.stream_pattern} does not take it any more",)


def _is_settled(row: MediaFileRow, known_since: datetime | None) -> bool:
    return row.confirmed_at is not None and known_since is not None and known_since <= row.confirmed_at


def _decide(session: Session, row: MediaFileRow, rules: RuleSet, now: datetime) -> None:
    """Decide a file and its stream; one that was given up is not decided, but counts in its stream all the same."""
    session.flush()
    if row.state is FileState.FAILED:
        row.decided_at = now
    elif row.state not in END_STATES:
        decide_again(session, [row], rules, now)
    decide_stream(session, row.app_id, row.stream_id, rules, now)


def _note_differences(row: MediaFileRow, received_at: datetime, differences: tuple[str, ...]) -> None:
    line = f"{received_at:%Y-%m-%dT%H:%M:%SZ} announced again with {'; '.join(differences)}"
    known = row.differences or ""
    if line not in known:
        row.differences = f"{known}\n{line}".strip()[-_DIFFERENCES_LIMIT:]
