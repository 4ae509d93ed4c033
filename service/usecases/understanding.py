"""What a stored, authentic callback means: its verdict, and what it does to the inventory (docs/callbacks.md)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from service.core.model import Callback, Suspicion, Vendor, Verdict
from service.core.replay_urls import list_spellings
from service.core.wording import in_words
from service.db import coverage, files, inbox
from service.db.engine import is_transient
from service.usecases.announce import announce_file, lock_streams_of, note_transcoding, suspect_file
from service.zego.callback import Misdirected, NotUnderstood, Transcoded, Uninteresting, Unnamed, parse_callback
from service.zego.signature import parse_timestamp

if TYPE_CHECKING:
    from datetime import datetime

    from service.db.engine import Session
    from service.db.models import CallbackRow
    from service.zego.callback import Parsed
    from service.zego.envelope import Envelope

_AHEAD = timedelta(minutes=2)
_SAME_SIGNATURE = "callback {} carries the same signature with other content"
_SOURCE_NOT_KNOWN = "its source file {} is not known; it is looked for again after the next listing of Tencent"
_SEVERAL = ", and several listed files have its replay URL"
_NO_ID = "the merged file has no id in its callback{}; it is looked for again after the next listing of Huawei"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Judging:
    """What a callback is judged by: how old its timestamp may be, and what time it is now.

    With `confirm_all`, files wait for the vendor's listing whatever their callbacks say.
    """

    freshness: timedelta
    confirm_all: bool
    now: datetime


@dataclass(frozen=True, slots=True)
class _Case:
    """A callback with what was found out about it.

    `source` is the number of the file that renditions were made of, `listed` counts the files that have the URL of a
    merged one. `conflict` names the callback that it contradicts. `known_since` is when its content was on record with
    its file first: who vouches for the file after that has seen it.
    """

    row: CallbackRow
    parsed: Parsed
    source: int | None
    listed: int
    conflict: str | None
    stale: str | None
    known_since: datetime | None


def understand_callback(session: Session, row: CallbackRow, envelope: Envelope, judging: Judging) -> None:
    """Turn a stored callback into what it means. An error leaves it stored and unfinished, to be tried again.

    That another callback carries its signature is written down in any case: what speaks against a file must not get
    lost. The caller holds the policy and the signature.
    """
    known_since = row.finished_at  # nobody has seen a new one
    row.verdict, row.reason, row.finished_at = Verdict.PENDING, "stored, not understood yet", None
    session.flush()
    parsed = _parse(envelope)
    merged = _find_merged(session, row, parsed) if isinstance(parsed, Unnamed) else []
    if isinstance(parsed, Unnamed) and len(merged) == 1:
        parsed = replace(parsed.facts, file_id=merged[0])
    source = _find_source(session, parsed)
    conflict = _dispute(session, row, parsed, source, known_since, judging.now)
    stale = _staleness(envelope, row.received_at, judging)
    had_file = row.media_file_id is not None
    case = _Case(row, parsed, source, len(merged), conflict, stale, known_since if had_file else None)
    try:
        with session.begin_nested():
            row.verdict, row.reason = _settle(session, case, judging)
            # A replay moves no moment: who vouched for the file since then has still seen what the callback says.
            row.finished_at = known_since or judging.now
            session.flush()
    except Exception as error:
        if is_transient(error):
            raise
        log.exception("callback_not_finished", callback=row.id, app=row.app_id)
        session.refresh(row)
        row.reason = f"stored; understanding it failed ({type(error).__name__}) and is tried again"


def _parse(envelope: Envelope) -> Parsed:
    if envelope.problem:
        return NotUnderstood(envelope.problem)
    try:
        return parse_callback(envelope)
    except Exception as error:  # it would fail the same way for ever
        log.exception("callback_not_parsed", app=envelope.app_id)
        return NotUnderstood(f"reading it failed with {type(error).__name__}: report this as a defect")


def _find_merged(session: Session, row: CallbackRow, merged: Unnamed) -> list[str]:
    """The ids of the listed files that have the merged file's URL, or, if none has it as it is spelt, one like it.

    What was found once stays found.
    """
    known = None if row.media_file_id is None else files.find_file(session, row.media_file_id)
    if known is not None:
        return [known.file_id]
    app_id, url = merged.facts.app_id, merged.replay_url
    exact = files.find_adopted_by_url(session, app_id, [url])
    return exact or files.find_adopted_by_url(session, app_id, list_spellings(url))


def _find_source(session: Session, parsed: Parsed) -> int | None:
    if not isinstance(parsed, Transcoded):
        return None
    return coverage.find_number(session, parsed.app_id, Vendor.TENCENT, parsed.file_id)


def _dispute(
    session: Session,
    row: CallbackRow,
    parsed: Parsed,
    source: int | None,
    known_since: datetime | None,
    now: datetime,
) -> str | None:
    """Look for other callbacks with this one's signature, and doubt them all; says so in words if there are any."""
    other = inbox.find_same_signature(session, row)
    disputed = inbox.find_undisputed(session, row)
    announced, known = [], source
    if isinstance(parsed, Callback):
        announced = [(parsed.app_id, parsed.stream_id)]
        known = coverage.find_number(session, parsed.app_id, parsed.vendor, parsed.file_id)
    lock_streams_of(session, [known, *(each.media_file_id for each in disputed)], announced)
    for each in disputed:
        each.verdict, each.reason = Verdict.CONFLICT, _SAME_SIGNATURE.format(row.id)
        if each.media_file_id is not None:
            suspect_file(session, each.media_file_id, known_since, now)
    return _SAME_SIGNATURE.format(other) if other else None


def _settle(session: Session, case: _Case, judging: Judging) -> tuple[Verdict, str]:
    """Do what the callback means; its verdict with the reason."""
    match case.parsed:
        case Callback() as callback:
            return _announce(session, case, callback, judging)
        case Transcoded() as transcoded if case.source is not None:
            return _note_renditions(session, case, case.source, transcoded, judging.now)
        case _:
            verdict, reason = _classify(case)
            return (Verdict.CONFLICT, f"{case.conflict}; {reason}") if case.conflict else (verdict, reason)


def _classify(case: _Case) -> tuple[Verdict, str]:
    """The verdict on a callback that has no file, or none yet, with the reason."""
    match case.parsed:
        case Transcoded(file_id=source):
            return Verdict.SET_ASIDE, _with_doubt(case, _SOURCE_NOT_KNOWN.format(source))
        case Unnamed():
            return Verdict.SET_ASIDE, _with_doubt(case, _NO_ID.format(_SEVERAL if case.listed else ""))
        case Misdirected(reason):
            return Verdict.MISDIRECTED, reason
        case Uninteresting(reason):
            return Verdict.IGNORED, reason
        case NotUnderstood(reason):
            return Verdict.NOT_UNDERSTOOD, reason
        case Callback():
            raise RuntimeError("a callback that names its file is announced")


def _announce(session: Session, case: _Case, callback: Callback, judging: Judging) -> tuple[Verdict, str]:
    suspicion = Suspicion.CONFLICT if case.conflict else Suspicion.STALE if case.stale else None
    if suspicion is None and judging.confirm_all:
        suspicion = Suspicion.UNLISTED
    row = case.row
    row.media_file_id = announce_file(session, callback, suspicion, row.received_at, case.known_since, judging.now)
    return _judge(case, f"announced media file {row.media_file_id}")


def _note_renditions(
    session: Session, case: _Case, source: int, transcoded: Transcoded, now: datetime
) -> tuple[Verdict, str]:
    """Only a believed callback teaches the file anything; one in conflict puts it in doubt, as any does."""
    case.row.media_file_id = source
    if case.conflict:
        suspect_file(session, source, case.known_since, now)
    elif not case.stale:
        note_transcoding(session, source, transcoded.renditions, case.row.received_at)
    return _judge(case, f"noted renditions of media file {source}")


def _with_doubt(case: _Case, reason: str) -> str:
    return f"{case.stale}; {reason}" if case.stale and not case.conflict else reason


def _judge(case: _Case, done: str) -> tuple[Verdict, str]:
    if case.conflict:
        return Verdict.CONFLICT, case.conflict
    return (Verdict.STALE, case.stale) if case.stale else (Verdict.ACCEPTED, done)


def _staleness(envelope: Envelope, received_at: datetime, judging: Judging) -> str | None:
    sent_at = parse_timestamp(envelope.timestamp)
    if sent_at is None:
        return "its timestamp is no time"
    if received_at - sent_at > judging.freshness:
        return f"its timestamp {in_words(sent_at)} was too old when it arrived"
    if sent_at - received_at > _AHEAD:
        return f"its timestamp {in_words(sent_at)} lay ahead of our clock when it arrived"
    return None
