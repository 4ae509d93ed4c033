"""Previews: what a candidate would do, shown before it does it, and stored so that applying it is bound to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from service.files.store import find_file
from service.model import NoSuchThing, NotPossible
from service.preview import store
from service.preview.compare import Base, Candidate, compare_inventory, find_base
from service.preview.forecast import Category, Change, Effect, Forecast, RuleEffect, Tally
from service.preview.store import Preview, find_place
from service.rules.file import format_rules
from service.units import count_of, format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from datetime import datetime

    from service.database import Database
    from service.files.policy import PolicyReader
    from service.model import Actor

KEPT_FOR: Final = timedelta(days=30)
"""How long a preview can be applied, and how long one is remembered that was not."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a candidate does with an inventory, compared with the rules in force (docs/rules.md).

    `effects` says what each of its rules does, by name; a rule that decides no file has none of anything. `forecast`
    holds the files called by day under the rules in force, and under the candidate. `emptied_apps` are apps of which
    every file is deleted at once; `unknown_apps` those that rules name (rule, app) and that are not configured.
    """

    base: Base
    cooling_off: timedelta
    files: int
    sooner_count: int
    changes: dict[str, Category]
    effects: dict[str | None, RuleEffect]
    forecast: tuple[tuple[int, ...], tuple[int, ...]]
    emptied_apps: tuple[str, ...]
    unknown_apps: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """As the API and `--json` show it."""
        return {
            "cooling_off": format_duration(self.cooling_off),
            "cooling_off_s": self.cooling_off.total_seconds(),
            "files": self.files,
            "changes": {name: category.to_json(self.files) for name, category in self.changes.items()},
            "effects": [{"rule": name, **effect.to_json()} for name, effect in self.effects.items()],
            "emptied_apps": list(self.emptied_apps),
            "unknown_apps": [{"rule": rule, "app": app} for rule, app in self.unknown_apps],
            "forecast": dict(zip(("in_force", "candidate"), map(list, self.forecast), strict=True)),
        }


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

    Exact; changes no file and no rule. `progress` is given how many files more were looked at. `known_apps` are those
    that are configured; None: not known.

    Raises:
        NotPossible: other rules came into force meanwhile.
        DatabaseUnavailable: the database refused or could not be reached.
    """
    base = find_base(database, reader)
    found = compare(database, reader, base, candidate, cooling_off, now, progress, known_apps=known_apps)
    return store_preview(database, found, candidate, actor, now)


def compare(  # noqa: PLR0913  (as above)
    database: Database,
    reader: PolicyReader,
    base: Base,
    candidate: Candidate,
    cooling_off: timedelta,
    now: datetime,
    progress: Callable[[int], None] | None = None,
    *,
    known_apps: Collection[str] | None = None,
    watch: Callable[[Change], None] | None = None,
) -> Comparison:
    """What `make_preview` stores; `watch` is given each file that becomes due sooner.

    Raises:
        NotPossible: other rules came into force meanwhile.
    """
    tally = Tally(now)
    for change in compare_inventory(database, reader, base, candidate.rules, cooling_off, now, progress=progress):
        tally.add(change)
        if watch is not None and change.effect is Effect.SOONER:
            watch(change)
    changes = tally.sum_up()
    named = [(rule.name, app) for rule in candidate.rules for app in rule.match.app or ()]
    return Comparison(
        base=base,
        cooling_off=cooling_off,
        files=sum(changes[effect].total.count for effect in Effect),
        sooner_count=changes[Effect.SOONER].total.count,
        changes=changes,
        effects=tally.sum_rules(rule.name for rule in candidate.rules),
        forecast=tally.count_days(),
        emptied_apps=tally.find_emptied_apps(),
        unknown_apps=tuple((rule, app) for rule, app in named if known_apps is not None and app not in known_apps),
    )


def store_preview(database: Database, found: Comparison, candidate: Candidate, actor: Actor, now: datetime) -> Preview:
    """Give a comparison a number, and forget previews that are too old to be applied."""
    preview = Preview(
        id=0,
        as_of=now,
        made_by=actor.name,
        through=actor.through,
        base_revision=found.base.rules.revision,
        highest_id=found.base.highest_id,
        source=candidate.source,
        rules_text=format_rules(candidate.rules),
        sooner_count=found.sooner_count,
        result=found.to_json(),
    )
    with database.write() as tx:
        number = store.add_preview(tx, preview)
        store.forget_previews(tx, now - KEPT_FOR)  # after the new one: its number must be a new one
    return replace(preview, id=number)


def find_preview(database: Database, number: int) -> Preview:
    """One stored preview.

    Raises:
        NoSuchThing: there is none of that number.
    """
    with database.read() as tx:
        preview = store.find_preview(tx, number)
    if preview is None:
        raise NoSuchThing(f"there is no preview {number}: make one with `zego-retention rules preview FILE`")
    return preview


def list_sooner(
    database: Database, reader: PolicyReader, preview: Preview, now: datetime, after: int, limit: int
) -> list[Change]:
    """Files that a preview makes due sooner, as they are now: stream by stream, the newest first.

    `after` is the number of the last file of the page before (0: the first page).

    Raises:
        NotPossible: other rules are in force than it was compared with.
        NoSuchThing: there is no file `after`.
    """
    base = replace(find_base(database, reader), highest_id=preview.highest_id)
    if base.rules.revision != preview.base_revision:
        raise NotPossible(
            f"preview {preview.id} was compared with revision {preview.base_revision}, and revision "
            f"{base.rules.revision} is in force: make a new one with `zego-retention rules preview FILE`"
        )
    return list(islice(_find_sooner(database, reader, base, preview, now, after), limit))


def forecast(
    database: Database, reader: PolicyReader, now: datetime, progress: Callable[[int], None] | None = None
) -> Forecast:
    """How much there is, by state, rule, app and vendor, and how many files are deleted on each of the next 90 days.

    Raises:
        NotPossible: other rules came into force meanwhile.
    """
    base = find_base(database, reader)
    tally = Tally(now)
    for change in compare_inventory(database, reader, base, None, timedelta(0), now, progress=progress):
        tally.add(change)
    return tally.forecast(base.rules.revision)


def describe_share(count: int, total: int) -> str:
    """A number of files and their share of all: `28 of 29 files, 97 %`. Not all is never 100 %, and some never 0 %."""
    if not total:
        return count_of(0, "file")
    percent = round(100 * count / total)
    if 0 < count < total:
        percent = min(max(percent, 1), 99)
    return f"{count:,} of {count_of(total, 'file')}, {percent} %"


def _find_sooner(
    database: Database, reader: PolicyReader, base: Base, preview: Preview, now: datetime, after: int
) -> Iterator[Change]:
    start = place = None
    if after:
        with database.read() as tx:
            file = find_file(tx, after)
        if file is None:
            raise NoSuchThing(f"there is no file {after}")
        place = find_place(file)
        # Ranks are counted from the newest file of a stream on.
        counts = file.stream_id and any(rule.keep_latest for rule in (*base.rules.rules, *preview.rules))
        start = store.find_start(file) if counts else place
    changes = compare_inventory(database, reader, base, preview.rules, preview.cooling_off, now, start=start)
    return (
        change
        for change in changes
        if change.effect is Effect.SOONER and (place is None or find_place(change.before) < place)
    )
