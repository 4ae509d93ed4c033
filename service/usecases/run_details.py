"""What a person asks of the record of one pass: its calls, and what came of each file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.core.purge import read_purge
from service.db import files, runs
from service.usecases.breaking import show_plans
from service.usecases.inventory import attempt_as_json, file_as_json, iso
from service.usecases.reports import run_as_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.db.engine import Database, Session
    from service.db.models import CallRow


@dataclass(frozen=True, slots=True)
class RunDetails:
    """A pass with its calls, attempts and plans; `attempts_total` counts those beyond the limit too.

    `planned` are the files that the plans name, by number, where a limit is set.
    """

    run: dict[str, Any]
    plans: tuple[dict[str, Any], ...]
    planned: dict[int, dict[str, Any]]
    calls: tuple[dict[str, Any], ...]
    attempts: tuple[dict[str, Any], ...]
    attempts_total: int


def describe_run(database: Database, run_id: int, limit: int | None = None) -> RunDetails | None:
    """One pass in full, but with no more attempts, and files of a plan, than the limit; None if there is none."""
    stopped = tuple(show_plans(database, run_id, limit))
    with database.read() as session:
        row = runs.find_run(session, run_id)
        if row is None:
            return None
        purges = runs.find_cache_codes(session, run_id=run_id)
        return RunDetails(
            run=run_as_json(session, row),
            plans=stopped,
            planned={} if limit is None else _describe_files(session, stopped),
            calls=tuple(call_as_json(call) for call in runs.list_calls(session, run_id)),
            attempts=tuple(
                attempt_as_json(attempt, purges)
                | {"stream_id": file.stream_id, "vendor": file.vendor.value, "file_id": file.file_id}
                for attempt, file in runs.list_run_attempts(session, run_id, limit)
            ),
            attempts_total=runs.count_attempts(session, run_id),
        )


def _describe_files(session: Session, stopped: Iterable[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    numbers = [number for plan in stopped for number in plan["files"]]
    return {number: file_as_json(row) for number, row in files.find_files(session, numbers).items()}


def call_as_json(row: CallRow) -> dict[str, Any]:
    """A call as `--json` shows it; `raw` is ZEGO's answer as it came."""
    return {
        "id": row.id,
        "app_id": row.app_id,
        "vendor": row.vendor.value,
        "opened_at": iso(row.opened_at),
        "answered_at": iso(row.answered_at),
        "http_status": row.http_status,
        "code": row.code,
        "message": row.message,
        "request_id": row.request_id,
        "cache_purge": read_purge(row.cache_code),
        "raw": row.raw,
    }
