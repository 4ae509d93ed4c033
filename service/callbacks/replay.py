"""Judging stored callbacks again: after a secret was corrected, or by code that understands more (docs/callbacks.md).

A replay is an order. The leader verifies those from the quarantine again, with its secrets, and marks the chosen ones
as pending; then they are understood as any others are, their freshness judged by when they were received.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.audit.order import Order, OrderKind, Step
from service.audit.record import place_order
from service.callbacks import store
from service.callbacks.receive import authenticate
from service.callbacks.store import Body, CallbackFilter
from service.model import QUARANTINE_VERDICTS, NoSuchThing, NotPossible, Verdict
from service.units import count_of
from service.zego.envelope import Unreadable, read_envelope

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from typing import Any

    from service.database import Database, Transaction
    from service.model import Actor

_BATCH: Final = 200
_MAX_IDS: Final = 1_000


def place_replay(
    database: Database,
    actor: Actor,
    now: datetime,
    *,
    ids: Sequence[int] = (),
    verdict: Verdict | None = None,
    app_id: str | None = None,
) -> int:
    """Order that callbacks be judged again: these, or all of a verdict and app (None: any). Returns the order's number.

    Raises:
        NotPossible: one of `ids` does not exist or has lost its bytes, or they are too many.
        DatabaseUnavailable: the database refused or could not be reached.
    """

    def place(tx: Transaction) -> int:
        if ids:
            _check(tx, ids)
        subject = _describe(ids, verdict, app_id)
        payload: dict[str, Any] = {"ids": sorted(set(ids))} if ids else {"verdict": verdict, "app_id": app_id}
        return place_order(tx, actor, OrderKind.REPLAY, subject, payload, now, action="callbacks.replay", app_id=app_id)

    return database.transact(place)


class ReplayHandler:
    """Applies orders of replay, with the callback secrets of the process that leads."""

    def __init__(self, secrets: Mapping[str, Sequence[str]]) -> None:
        self._secrets = secrets

    def __call__(self, tx: Transaction, order: Order, after: int, result: dict[str, Any]) -> Step:
        """Judge the next callbacks beyond `after` again; the result counts what came of them."""
        payload = order.payload
        verdict = payload.get("verdict")
        wanted = CallbackFilter(None if verdict is None else Verdict(verdict), payload.get("app_id"))
        bodies = store.list_bodies(tx, wanted, after, _BATCH, ids=payload.get("ids"))
        with_bytes = [body for body in bodies if body.raw is not None]
        replayed = [body for body in with_bytes if self._is_authentic(body)]
        store.set_pending(tx, replayed)
        counts = {
            "replayed": result.get("replayed", 0) + len(replayed),
            "still_refused": result.get("still_refused", 0) + len(with_bytes) - len(replayed),
            "without_bytes": result.get("without_bytes", 0) + len(bodies) - len(with_bytes),
        }
        return Step(counts, bodies[-1].id if len(bodies) == _BATCH else None)

    def _is_authentic(self, body: Body) -> bool:
        """Whether it was authentic when it came, whatever the secrets are now, or is by the secrets of now."""
        if body.verdict not in QUARANTINE_VERDICTS:
            return True
        try:
            return authenticate(self._secrets, read_envelope(body.raw or b"", body.content_type)) is None
        except Unreadable:
            return False


def _check(tx: Transaction, ids: Sequence[int]) -> None:
    if len(ids) > _MAX_IDS:
        raise NotPossible(f"at most {_MAX_IDS} callbacks can be named at once: replay a verdict instead")
    for number in ids:
        found = store.find_callback(tx, number)
        if found is None:
            raise NoSuchThing(f"there is no callback {number}")
        if found.body_bytes is None:
            raise NotPossible(f"the bytes of callback {number} were dropped: it cannot be judged again")


def _describe(ids: Sequence[int], verdict: Verdict | None, app_id: str | None) -> str:
    if ids:
        return f"callback {ids[0]}" if len(ids) == 1 else count_of(len(ids), "callback")
    of_app = "" if app_id is None else f" of app {app_id}"
    return f"{'all' if verdict is None else verdict} callbacks{of_app}"
