"""What the doctor says of the listings: whether they are read, what they lack, and which callbacks were lost."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from service.core.wording import count
from service.db.models import ListingState
from service.usecases.diagnosis import Check, Status
from service.usecases.listing_reports import count_lost_callbacks, list_newest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from service.db.engine import Database
    from service.usecases.batches import JsonObject

_RECENT: Final = timedelta(days=30)
_DAYS: Final = 3
_REACHABLE: Final = (
    "see whether ZEGO reached the callback URL on those days (downtime, proxy, firewall); the files were adopted, so "
    "the rules look after them"
)


def check_listings(
    database: Database, app_ids: Sequence[str], every: timedelta | None, now: datetime
) -> Iterator[Check]:
    """Whether the vendors' listings of these apps are read, and what they showed.

    Raises:
        DatabaseUnavailable: the database cannot be asked.
    """
    newest = list_newest(database, app_ids)
    by_app = {app_id: [each for each in newest if each["app_id"] == app_id] for app_id in app_ids}
    for app_id, found in by_app.items():
        yield from _check_app(app_id, found, every)
    yield from _check_lost(database, now)


def _check_app(app_id: str, found: Sequence[JsonObject], every: timedelta | None) -> Iterator[Check]:
    incomplete = [each for each in found if each["state"] == ListingState.INCOMPLETE]
    complete = [each["vendor"] for each in found if each["state"] == ListingState.COMPLETE]
    for each in incomplete:
        named = f"app {app_id}, {each['vendor']}: listing {each['id']} of {each['started_at']}"
        text = f"{named} is incomplete: {each['note']}"
        yield Check("listings", Status.WARNING, text, "`zego-retention reconcile` tries again; ask ZEGO if it stays")
    if not found:
        when = "RECONCILE_EVERY=off" if every is None else "the worker reads them when it runs"
        text = f"app {app_id}: the vendors' listings were not read yet ({when})"
        yield Check(
            "listings", Status.OK if every else Status.WARNING, text, "" if every else "`zego-retention reconcile`"
        )
    elif all(each["state"] == ListingState.UNUSED for each in found):
        text = f"app {app_id}: ZEGO lets no vendor be listed, so files that no callback announced stay unknown"
        yield Check("listings", Status.WARNING, text, "ask ZEGO to enable SearchMedia, or set RECONCILE_EVERY=off")
    elif complete and not incomplete:
        yield Check("listings", Status.OK, f"app {app_id}: complete for {', '.join(complete)}")


def _check_lost(database: Database, now: datetime) -> Iterator[Check]:
    earliest = f"{now - _RECENT:%Y-%m-%d}"
    recent = [each for each in count_lost_callbacks(database, now) if each["day"] >= earliest]
    if not recent:
        yield Check("lost callbacks", Status.OK, "none found missing in the last 30 days")
        return
    by_app: dict[str, list[JsonObject]] = {}
    for each in recent:
        by_app.setdefault(each["app_id"], []).append(each)
    for app_id, days in by_app.items():
        total = sum(each["count"] for each in days)
        shown = ", ".join(f"{each['day']} ({each['count']:,})" for each in days[:_DAYS])
        more = f" and {count(len(days) - _DAYS, 'more day')}" if len(days) > _DAYS else ""
        text = f"{count(total, 'callback')} of app {app_id} never came: {shown}{more}"
        yield Check("lost callbacks", Status.WARNING, text, _REACHABLE)
