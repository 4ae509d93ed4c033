"""What there is to say of the listings: are they read, what do they lack, what helps, which callbacks were lost."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from service.core.model import Vendor
from service.core.wording import count
from service.db.models import ListingState
from service.usecases.diagnosis import Check, Status
from service.usecases.listing_reports import count_lost_callbacks, list_newest
from service.usecases.remedies import find_listing_remedy

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
_REFUSED: Final = re.compile(r"ZEGO refuses to list: (\d+)")
_ADDED: Final = re.compile(r": the app does not seem to use \w+$")
_TRY_AGAIN: Final = "`zego-retention reconcile` tries again; ask ZEGO if it stays"


@dataclass(frozen=True, slots=True)
class Remark:
    """What the listings of these vendors of one app have on record about how they ended, and what helps ("": waiting).

    `is_refused`: ZEGO let none of them be read.
    """

    listings: tuple[JsonObject, ...]
    text: str
    fix: str
    is_refused: bool

    @property
    def vendors(self) -> str:
        """Whose listings they are."""
        found = [each["vendor"] for each in self.listings]
        return "every vendor" if len(found) == len(Vendor) else ", ".join(found)


def collect_remarks(listings: Sequence[JsonObject]) -> list[Remark]:
    """What the newest listings of one app have on record, once where several vendors say the same."""
    by_text: dict[str, list[JsonObject]] = {}
    for each in listings:
        if each["note"]:
            by_text.setdefault(_ADDED.sub("", each["note"]), []).append(each)
    found = []
    for text, alike in by_text.items():
        refused = _REFUSED.match(text)
        is_cut_short = all(each["state"] == ListingState.INTERRUPTED for each in alike)
        fix = find_listing_remedy(int(refused[1])) if refused else None
        found.append(Remark(tuple(alike), text, fix or ("" if is_cut_short else _TRY_AGAIN), refused is not None))
    return found


def check_listings(
    database: Database, app_ids: Sequence[str], every: timedelta | None, now: datetime, *, confirm_all: bool = False
) -> Iterator[Check]:
    """Whether the vendors' listings of these apps are read, and what they showed.

    `every` is how often they are read by themselves (None: never), `confirm_all` whether every file waits for one.

    Raises:
        DatabaseUnavailable: the database cannot be asked.
    """
    newest = list_newest(database, app_ids)
    by_app = {app_id: [each for each in newest if each["app_id"] == app_id] for app_id in app_ids}
    for app_id, found in by_app.items():
        yield from _check_app(app_id, found, every)
        if confirm_all:
            yield from _check_confirming(app_id, found, every)
    yield from _check_lost(database, now)


def _check_app(app_id: str, found: Sequence[JsonObject], every: timedelta | None) -> Iterator[Check]:
    states = {each["state"] for each in found}
    shown = ", ".join(f"{each['vendor']} {each['state']}" for each in found)
    if every is None:
        newest = f"; the newest ones: {shown}" if found else ""
        text = f"app {app_id}: the vendors' listings are not read by themselves (RECONCILE_EVERY=off){newest}"
        yield Check("listings", Status.OK, text)
    elif not found:
        text = f"app {app_id}: the vendors' listings were not read yet (the worker reads them when it runs)"
        yield Check("listings", Status.OK, text)
    elif states == {ListingState.UNUSED}:
        for remark in collect_remarks(found):
            text = f"app {app_id}, {remark.vendors}: {remark.text}; files that no callback announced stay unknown"
            yield Check("listings", Status.WARNING, text, remark.fix)
    elif ListingState.INCOMPLETE in states:
        for remark in collect_remarks([each for each in found if each["state"] == ListingState.INCOMPLETE]):
            text = f"app {app_id}, {remark.vendors}: {_name_listings(remark)} incomplete: {remark.text}"
            yield Check("listings", Status.WARNING, text, remark.fix)
    else:
        told = [each for each in found if each["state"] not in (ListingState.COMPLETE, ListingState.UNUSED)]
        complete = ", ".join(each["vendor"] for each in found if each["state"] == ListingState.COMPLETE)
        parts = [f"complete for {complete}"] if complete else []
        parts += [f"{each['vendor']} {each['state']}" for each in told]
        yield Check("listings", Status.OK, f"app {app_id}: {', '.join(parts)}")


def _name_listings(remark: Remark) -> str:
    if len(remark.listings) == 1:
        return f"listing {remark.listings[0]['id']} of {remark.listings[0]['started_at']} is"
    return f"listings {', '.join(str(each['id']) for each in remark.listings)} are"


def _check_confirming(app_id: str, found: Sequence[JsonObject], every: timedelta | None) -> Iterator[Check]:
    """With CONFIRM=all, files wait for a listing: is there to be one?"""
    refused = [each for remark in collect_remarks(found) if remark.is_refused for each in remark.listings]
    if found and len(refused) == len(found):
        text = f"app {app_id}: CONFIRM=all, but ZEGO lets no vendor be listed, so files are not deleted before a person"
        yield Check(
            "listings", Status.WARNING, f"{text} confirms them", "`zego-retention files confirm ID`, or CONFIRM=off"
        )
    elif every is None:
        text = f"app {app_id}: CONFIRM=all, but RECONCILE_EVERY=off, so files may wait in `unconfirmed` for a listing"
        fix = "run `zego-retention reconcile` regularly, set RECONCILE_EVERY, or `zego-retention files confirm ID`"
        yield Check("listings", Status.WARNING, text, fix)


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
