"""How long an app is usually without a callback: a longer silence means that something is wrong."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from service.callbacks.store import find_accepted
from service.database import Transaction

_WINDOW: Final = timedelta(days=14)
_LEAST_HISTORY: Final = timedelta(days=7)
"""An app of which less is known may well rest on its first night or weekend."""

_SHORTEST: Final = timedelta(hours=1)


def find_usual_gap(tx: Transaction, app_id: str) -> timedelta | None:
    """The longest time between two accepted callbacks in the two weeks before the last; None while too few are known.

    A shorter one than an hour counts as an hour. Only stretches that may hold a longer gap are halved and looked into,
    so that it costs the same however many callbacks there are.
    """
    first, last = find_accepted(tx, app_id), find_accepted(tx, app_id, is_last=True)
    if first is None or last is None or last[1] - first[1] < _LEAST_HISTORY:
        return None
    longest, stretches = _SHORTEST, [(first, last)]
    while stretches:
        (begin, began_at), (end, ended_at) = stretches.pop()
        if ended_at - began_at <= longest or ended_at <= last[1] - _WINDOW:
            continue
        middle = (begin + end) // 2  # numbers grow with time
        left, right = find_accepted(tx, app_id, up_to=middle, is_last=True), find_accepted(tx, app_id, after=middle)
        if left is None or right is None:  # (they were dropped meanwhile)
            continue
        longest = max(longest, right[1] - left[1])
        stretches += [((begin, began_at), left), (right, (end, ended_at))]
    return longest
