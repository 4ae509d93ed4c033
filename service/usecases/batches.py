"""Long lists read in batches, each in a transaction of its own: whoever reads them takes the time they like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.db.engine import Database, Session

JsonObject: TypeAlias = dict[str, Any]

_BATCH = 500


def read_in_batches(
    database: Database, fetch: Callable[[Session, int, int], list[JsonObject]], after: int, limit: int | None
) -> Iterator[JsonObject]:
    """What `fetch(session, last, size)` gives, until nothing is left or `limit` is reached.

    `last` is the `id` seen last (0: none); whether numbers rise or fall is up to `fetch`.
    """
    while limit is None or limit > 0:
        size = _BATCH if limit is None else min(_BATCH, limit)
        with database.read() as session:
            batch = fetch(session, after, size)
        yield from batch
        if len(batch) < size:
            return
        after = batch[-1]["id"]
        limit = None if limit is None else limit - len(batch)
