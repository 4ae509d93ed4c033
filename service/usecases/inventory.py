"""What a person asks of the inventory: show, confirm, retry."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from service.core.model import END_STATES, FileState, Outcome
from service.core.outcomes import CODE_DONE
from service.core.purge import NOT_TOLD, read_purge
from service.core.renditions import list_renditions
from service.db import audit, files, locks, revisions
from service.usecases.deciding import decide_again, decide_stream, lock_ranks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.core.model import Actor
    from service.db.engine import Database, Session
    from service.db.models import AttemptRow, MediaFileRow


class NotPossible(Exception):  # noqa: N818  (an answer to a person, not a defect)
    """What was asked cannot be done to this file; the text says why in one line."""


class NoSuchThing(NotPossible):
    """What was asked for does not exist."""


def file_as_json(row: MediaFileRow) -> dict[str, Any]:
    """A file as the API and `--json` show it (docs/api.md, "A file")."""
    outcome = None
    if row.last_outcome is not None:
        outcome = {
            "outcome": row.last_outcome.value,
            "code": row.last_code,
            "message": row.last_message,
            "request_id": row.last_request_id,
            "at": iso(row.last_attempt_at),
            "cache_purge": read_purge(row.last_cache_code),
        }
    return {
        "id": row.id,
        "app_id": row.app_id,
        "vendor": row.vendor.value,
        "file_id": row.file_id,
        "stream_id": row.stream_id,
        "event": row.event,
        "state": row.state.value,
        "state_reason": row.state_reason,
        "began_at": iso(row.began_at),
        "ended_at": iso(row.ended_at),
        "received_at": iso(row.received_at),
        "duration_s": row.duration_s,
        "size_bytes": row.size_bytes,
        "replay_url": row.replay_url,
        "name": row.name,
        "vendor_created_at": iso(row.vendor_created_at),
        "vendor_expires_at": iso(row.vendor_expires_at),
        "listed_at": iso(row.listed_at),
        "adopted_at": iso(row.adopted_at),
        "lost_on": row.lost_on,
        "renditions": list_renditions(row.renditions),
        "rule": row.rule,
        "due_at": iso(row.due_at),
        "cooling_until": iso(row.cooling_until),
        "observed_due_at": iso(row.observed_due_at),
        "approval": row.approval,
        "held": row.state is FileState.HELD,
        "attempts": row.attempts,
        "last_outcome": outcome,
    }


def attempt_as_json(row: AttemptRow, cache_codes: Mapping[int, str] | None = None) -> dict[str, Any]:
    """An attempt as the API and `--json` show it; `cache_codes` tells what came of purging the cache, by call."""
    code = (cache_codes or {}).get(row.call_id) if row.outcome is Outcome.DELETED else None
    if code is not None and row.code != str(CODE_DONE):
        code = NOT_TOLD  # an earlier call deleted it, whose answer was never seen
    return {
        "id": row.id,
        "run": row.run_id,
        "call": row.call_id,
        "file": row.media_file_id,
        "opened_at": iso(row.opened_at),
        "ended_at": iso(row.ended_at),
        "rule": row.rule,
        "revision": row.revision,
        "due_at": iso(row.due_at),
        "reason": row.reason,
        "outcome": row.outcome.value if row.outcome else None,
        "charged": row.charged,
        "code": row.code,
        "message": row.message,
        "request_id": row.request_id,
        "cache_purge": read_purge(code),
    }


def iso(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC with `Z`."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="seconds" if not moment.microsecond else "milliseconds")[:-6] + "Z"


def confirm_files(database: Database, file_keys: Sequence[int], actor: Actor, now: datetime) -> list[int]:
    """A person vouches for unconfirmed files: from now on the rules decide them. All of them, or none.

    Raises:
        NotPossible: one of them does not exist or is not unconfirmed.
    """

    def confirm(session: Session) -> None:
        for row in _lock_all(session, file_keys):
            if row.suspicion is None:
                raise NotPossible(f"file {row.id} is {row.state.value}: there is nothing to confirm")
            row.suspicion, row.confirmed_at, row.confirmed_by = None, now, actor.name
            if row.state not in END_STATES and row.state is not FileState.FAILED:
                _decide(session, row, now)
        _note(session, actor, "confirm_files", file_keys, now)

    database.transact(confirm)
    return list(file_keys)


def retry_files(database: Database, file_keys: Sequence[int], actor: Actor, now: datetime) -> list[int]:
    """Start over with files that failed, or wait for their next attempt: due at the next pass. All of them, or none.

    Raises:
        NotPossible: one of them does not exist, or is neither failed nor waiting.
    """

    def retry(session: Session) -> None:
        for row in _lock_all(session, file_keys):
            waits = row.state is FileState.SCHEDULED and row.retry_at is not None
            if row.state is not FileState.FAILED and not waits:
                raise NotPossible(f"file {row.id} is {row.state.value}: only failed or waiting files can be retried")
            row.attempts, row.first_attempt_at = 0, None
            _decide(session, row, now)
            # "Now" and not "never": the worker looks for retries every few seconds.
            row.retry_at = now if row.state is FileState.SCHEDULED else None
        _note(session, actor, "retry_files", file_keys, now)

    database.transact(retry)
    return list(file_keys)


def list_failed(database: Database) -> list[int]:
    """The numbers of all failed files."""
    with database.read() as session:
        return [row.id for row in files.list_files(session, files.FileFilter(state=FileState.FAILED))]


def _note(session: Session, actor: Actor, action: str, file_keys: Sequence[int], now: datetime) -> None:
    numbers = sorted(set(file_keys))
    if numbers:
        subject = f"file {numbers[0]}" if len(numbers) == 1 else f"{len(numbers)} files"
        audit.add_entry(session, actor, action, subject, now, {"files": numbers})


def _lock_all(session: Session, file_keys: Sequence[int]) -> list[MediaFileRow]:
    locks.lock_policy_shared(session)
    rules = revisions.current_rules(session)
    lock_ranks(session, rules, [(row.app_id, row.stream_id) for row in (_existing(session, key) for key in file_keys)])
    session.expire_all()
    return [_existing(session, key, lock=True) for key in sorted(set(file_keys))]


def _existing(session: Session, file_key: int, *, lock: bool = False) -> MediaFileRow:
    row = files.find_file(session, file_key, lock=lock)
    if row is None:
        raise NoSuchThing(f"there is no file {file_key}: see `zego-retention files list`")
    return row


def _decide(session: Session, row: MediaFileRow, now: datetime) -> None:
    session.flush()
    rules = revisions.current_rules(session)
    decide_again(session, [row], rules, now)
    decide_stream(session, row.app_id, row.stream_id, rules, now)
