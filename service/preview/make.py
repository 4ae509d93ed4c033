"""Previews: what a candidate would do, shown before it does it, and stored so that applying it is bound to it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final

from service.database import Database
from service.files.policy import PolicyReader
from service.files.store import find_file
from service.model import Actor, NoSuchThing, NotPossible
from service.preview import store
from service.preview.compare import Comparison
from service.preview.forecast import Change, Tally, count_forecast
from service.preview.store import Preview
from service.rules.decide import RetentionRule
from service.rules.file import format_rules
from service.units import format_duration, format_moment

KEPT_FOR: Final = timedelta(days=30)
"""How long a preview can be applied, and how long one is remembered that was not."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Rules that may be put in force, and where they come from."""

    rules: tuple[RetentionRule, ...]
    source: str


def make_preview(
    database: Database,
    reader: PolicyReader,
    candidate: Candidate,
    actor: Actor,
    cooling_off: timedelta,
    now: datetime,
    progress: Callable[[int], None] | None = None,
    *,
    known_apps: Collection[str] | None = None,
) -> Preview:
    """Compare a candidate with the rules in force over the whole inventory, and store what came out.

    Changes no file and no rule. `progress` is given how many files more were looked at. `known_apps` are those that are
    configured (None: any): rules that name others are pointed out. NotPossible: other rules came into force meanwhile.
    """
    comparison = Comparison(database, reader, candidate.rules, cooling_off, now)
    tally = Tally((rule.name for rule in candidate.rules), now)
    for change in comparison.run(progress=progress):
        tally.add(change)
    return store_preview(database, sum_up(comparison, tally, candidate, actor, known_apps))


def sum_up(
    comparison: Comparison, tally: Tally, candidate: Candidate, actor: Actor, known_apps: Collection[str] | None
) -> Preview:
    """The preview that comes out of comparing every file; it is not stored yet."""
    named = [(rule.name, app) for rule in candidate.rules for app in rule.match.app or ()]
    result = tally.show() | {
        "cooling_off": format_duration(comparison.cooling_off),
        "cooling_off_s": comparison.cooling_off.total_seconds(),
        "unknown_apps": [
            {"rule": rule, "app": app} for rule, app in named if known_apps is not None and app not in known_apps
        ],
    }
    return store.Preview(
        id=0,
        as_of=comparison.now,
        made_by=actor.name,
        through=actor.through,
        base_revision=comparison.in_force.revision,
        highest_id=comparison.highest_id,
        source=candidate.source,
        rules_text=format_rules(candidate.rules),
        sooner_count=result["changes"]["sooner"]["count"],
        result=result,
    )


def store_preview(database: Database, preview: Preview) -> Preview:
    """Give a preview its number, and forget those that are too old to be applied."""
    with database.write() as tx:
        number = store.add_preview(tx, preview)
        store.forget_previews(tx, preview.as_of - KEPT_FOR)  # after that, so that no number is ever given twice
    return preview._replace(id=number)


def find_preview(database: Database, number: int) -> Preview:
    """One stored preview; NoSuchThing: there is none of that number."""
    with database.read() as tx:
        preview = store.find_preview(tx, number)
    if preview is None:
        raise NoSuchThing(f"there is no preview {number}: make one with `zego-retention rules preview FILE`")
    return preview


def list_sooner(
    database: Database, reader: PolicyReader, preview: Preview, now: datetime, after: int, limit: int
) -> list[Change]:
    """Files that a preview makes due sooner, as they are now: stream by stream, the newest first.

    `after` is the number of the last file of the page before (0: the first page). NotPossible: other rules are in force
    than it was compared with; NoSuchThing: there is no file `after`.
    """
    comparison = Comparison(database, reader, preview.rules, preview.cooling_off, now)
    comparison.highest_id = preview.highest_id
    if comparison.in_force.revision != preview.base_revision:
        raise NotPossible(
            f"preview {preview.id} was compared with revision {preview.base_revision}, and revision "
            f"{comparison.in_force.revision} is in force: make a new one with `zego-retention rules preview FILE`"
        )
    start = place = None
    if after:
        with database.read() as tx:
            last = find_file(tx, after)
        if last is None:
            raise NoSuchThing(f"there is no file {after}")
        # Ranks are counted from the newest file of a stream on; files of unknown stream have none.
        start, place = store.find_start(last), store.find_place(last)
    sooner = (change for change in comparison.run(start) if change.effect == "sooner")
    return list(islice((each for each in sooner if place is None or store.find_place(each.before) < place), limit))


def make_forecast(
    database: Database, reader: PolicyReader, now: datetime, progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """How much there is, by state, rule, app and vendor, and how many files are called on each of the next 90 days.

    As the API and `--json` show it (docs/http.md). NotPossible: other rules came into force meanwhile.
    """
    comparison = Comparison(database, reader, None, timedelta(0), now)
    counted = count_forecast(comparison.run(progress=progress), now)
    return {"as_of": format_moment(now), "revision": comparison.in_force.revision, **counted}
