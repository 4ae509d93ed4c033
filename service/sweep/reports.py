"""What needs a person: blocked apps, stopped plans, failed and overdue files, apps without settings."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from service.database import Database
from service.files.store import count_by_state
from service.model import FileState
from service.sweep import claim_store, store
from service.sweep.breaker import describe_remedy
from service.sweep.records import AppState, Plan
from service.units import count_of, describe_moment


def find_attention(database: Database, app_ids: Collection[str], now: datetime) -> list[str]:
    """What waits for a person, each in a sentence with what to do; `app_ids` are those configured."""
    with database.read() as tx:
        due = claim_store.count_due(tx, now)
        failed = count_by_state(tx).get(FileState.FAILED, 0)
        overdue = claim_store.count_overdue(tx, FileState.UNCONFIRMED, now)
        sentences = [describe_plan(plan) for plan in store.list_plans(tx, only_open=True)]
        # With nothing due there is nothing to try it with: `doctor` shows whether ZEGO accepts calls.
        sentences += [
            describe_app_state(state)
            for state in store.list_app_states(tx)
            if state.blocked and state.app_id in due and state.app_id in app_ids
        ]
    if failed:
        sentences.append(f"{_are(failed)} given up: {_look_at('failed', 'retry')}")
    if overdue:
        sentences.append(f"{_are(overdue)} overdue but unconfirmed: {_look_at('unconfirmed', 'confirm')}")
    return sentences + [
        f"{_are(count)} due, but app {app_id} is not in the settings: add it"
        for app_id, count in sorted(due.items())
        if app_id not in app_ids
    ]


def describe_plan(plan: Plan) -> str:
    """What the breaker stopped, and what to do."""
    when = describe_moment(plan.made_at)
    return f"the breaker stopped app {plan.app_id} at {when}: {plan.reason}; {describe_remedy(plan.run_id)}"


def describe_app_state(state: AppState) -> str:
    """Why an app, or a vendor of it, is not called, and what to do."""
    what = f"app {state.app_id}" + (f", vendor {state.vendor.value}" if state.vendor else "")
    why = f"ZEGO answered {state.code} {state.message}".rstrip()
    if not state.blocked:
        until = "" if state.until is None else f" until {describe_moment(state.until)}"
        return f"{what} pauses{until}: {why}"
    return (
        f"{what} is blocked since {describe_moment(state.since)}: {why}; fix it, then `zego-retention doctor` shows"
        " whether it works (the next sweep tries one file)"
    )


def _are(count: int) -> str:
    return f"{count_of(count, 'file')} {'is' if count == 1 else 'are'}"


def _look_at(state: str, command: str) -> str:
    return f"see `zego-retention files list --state {state}`, then `zego-retention files {command} ID`"
