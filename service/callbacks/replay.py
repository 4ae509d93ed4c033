"""Judging stored callbacks again: after a secret was corrected, or by code that understands more (docs/callbacks.md).

A replay is an order. The leader verifies those from the quarantine again, with its secrets, and marks the chosen ones
as pending; then they are understood as any others are, their freshness judged by when they were received.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from service.audit.checks import check_app
from service.audit.order import Order, OrderKind, Step
from service.audit.record import place_order
from service.callbacks import store
from service.callbacks.receive import find_refusal
from service.callbacks.understand import StoredCallback
from service.database import Database, Transaction
from service.filters import CallbackFilter
from service.model import QUARANTINE_VERDICTS, Actor, NoSuchThing, NotPossible, Verdict
from service.units import count_of
from service.zego.callback import Unreadable, read_envelope

_BATCH: Final = 200


def place_replay(
    database: Database,
    actor: Actor,
    now: datetime,
    *,
    ids: Sequence[int] = (),
    verdict: Verdict | None = None,
    app_id: str | None = None,
    known_apps: Collection[str] = (),
) -> int:
    """Order that callbacks be judged again: these, or all of a verdict and app (None: any); the order's number.

    Its result counts those that are `replayed`, `still_refused`, and `without_bytes`. `ids` must still have theirs. An
    app is one of `known_apps`; only callbacks of unknown apps may be of another one.
    """
    if app_id is not None and verdict is not Verdict.UNKNOWN_APP:
        check_app(app_id, known_apps)
    numbers = sorted(set(ids))
    payload: dict[str, Any] = {"ids": numbers} if ids else {"verdict": verdict, "app_id": app_id}
    subject = f"{verdict or 'all'} callbacks"
    if ids:
        subject = f"callback {ids[0]}" if len(ids) == 1 else count_of(len(numbers), "callback")

    def place(tx: Transaction) -> int:
        for number in numbers:
            callback = store.find_callback(tx, number)
            if callback is None:
                raise NoSuchThing(f"there is no callback {number}: see `zego-retention callbacks list`")
            if callback.body_bytes is None:
                raise NotPossible(f"the bytes of callback {number} were dropped: it cannot be judged again")
        return place_order(tx, actor, OrderKind.REPLAY, subject, payload, now, action="callbacks.replay", app_id=app_id)

    return database.transact(place)


def apply_replay(
    secrets: Mapping[str, Sequence[str]], tx: Transaction, order: Order, after: int, result: dict[str, Any]
) -> Step:
    """Judge the next callbacks beyond `after` again, with the callback secrets of the process that leads."""
    verdict = order.payload.get("verdict")
    wanted = CallbackFilter(None if verdict is None else Verdict(verdict), order.payload.get("app_id"))
    found = store.list_to_replay(tx, wanted, after, _BATCH, order.payload.get("ids"))
    with_bytes = [callback for callback in found if callback.raw is not None]
    replayed = [callback.id for callback in with_bytes if _is_authentic(secrets, callback)]
    store.set_pending(tx, replayed)
    refused, dropped = len(with_bytes) - len(replayed), len(found) - len(with_bytes)
    counts = {"replayed": len(replayed), "still_refused": refused, "without_bytes": dropped}
    so_far = {name: result.get(name, 0) + count for name, count in counts.items()}
    return Step(so_far, found[-1].id if len(found) == _BATCH else None)


def _is_authentic(secrets: Mapping[str, Sequence[str]], callback: StoredCallback) -> bool:
    """Whether it was authentic when it came, whatever the secrets are now, or is by the secrets of now."""
    if callback.verdict not in QUARANTINE_VERDICTS:
        return True
    try:
        return find_refusal(secrets, read_envelope(callback.raw or b"", callback.content_type)) is None
    except Unreadable:
        return False
