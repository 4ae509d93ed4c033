"""Rules: revisions, previews of what other rules would do, and the forecast of what those in force do."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, zip_longest
from typing import Any

from pydantic import TypeAdapter

from service.database import Database, Transaction
from service.files.policy import PolicyReader
from service.model import FileState, Vendor
from service.preview import make
from service.preview import store as preview_store
from service.rules import store
from service.views.form import Listed, Page, show_as, take


@dataclass(frozen=True, slots=True)
class Rule:
    """A retention rule, as in a rules file."""

    name: str
    match: dict[str, Any]
    keep: str
    keep_latest: int | None


@dataclass(frozen=True, slots=True)
class RevisionWithDiff(store.Revision):
    """A rule set that was in force, with its difference to the one before; not `by_person`: the setting KEEP did it.

    `moved_count` files become due sooner by it, as its preview shows; `moved_called` of them have been called.
    """

    diff: str


@dataclass(frozen=True, slots=True)
class RevisionDetail(RevisionWithDiff):
    """A rule set with its rules."""

    parsed: list[Rule]


@dataclass(frozen=True)
class Amount:
    """How much: files, hours of recording and bytes, as far as known, and of how many files they are not."""

    count: int
    hours: float | None
    unknown_durations: int
    bytes: int
    unknown_sizes: int


@dataclass(frozen=True)
class NamedAmount(Amount):
    """How much there is of something; the name is null for files that no rule decides."""

    name: str | None


@dataclass(frozen=True)
class ComparedFile:
    """A file in short, with what two rule sets say of it; `reason`: why it is due then, or what keeps it."""

    id: int
    app_id: str
    vendor: Vendor
    file_id: str
    stream_id: str | None
    state: FileState
    ended_at: datetime
    rule_before: str | None
    due_before: datetime | None
    rule_after: str | None
    due_after: datetime | None
    name: str | None = None
    size_bytes: int | None = None
    reason: str | None = None

    @property
    def called(self) -> str:
        """Its name, or its id where it has none."""
        return self.name or self.file_id


@dataclass(frozen=True)
class Category(Amount):
    """The files that have something in common in a preview, their share of all, and a few of them."""

    share: float
    by_rule: list[NamedAmount]
    by_app: list[NamedAmount]
    by_vendor: list[NamedAmount]
    samples: list[ComparedFile]


@dataclass(frozen=True)
class RuleEffect:
    """What a rule does with the files that it decides; `unjudged` are kept for lack of a fact, by that fact."""

    rule: str | None
    kept: int
    later: int
    due: int
    unjudged: dict[str, int]


@dataclass(frozen=True)
class PreviewInShort:
    """What other rules would do, to files up to `highest_id`: `sooner_count` of them become due sooner."""

    id: int
    as_of: datetime
    made_by: str
    through: str
    base_revision: int
    highest_id: int
    source: str
    sooner_count: int


@dataclass(frozen=True)
class Preview(PreviewInShort):
    """What other rules would do; `changes` by kind of change (docs/rules.md), `forecast` by day from now on.

    Of `emptied_apps` every file that can be deleted is due within a day; `unknown_apps` are named by a rule and not
    configured.
    """

    rules_text: str
    cooling_off: str
    cooling_off_s: float
    files: int
    changes: dict[str, Category]
    effects: list[RuleEffect]
    emptied_apps: list[str]
    unknown_apps: list[dict[str, str]]
    forecast: dict[str, list[int]]


@dataclass(frozen=True)
class Forecast(Amount):
    """How much there is, and how many files are deleted now and on each of the next 90 days (`days`)."""

    as_of: datetime
    revision: int
    by_state: list[NamedAmount]
    by_rule: list[NamedAmount]
    by_app: list[NamedAmount]
    by_vendor: list[NamedAmount]
    days: list[int]


show_as(store.Revision, rules_text=None, preview_highest_id=None)
show_as(RevisionDetail, text="rules_text", rules="parsed")


def describe_preview(preview: preview_store.Preview) -> Preview:
    """A preview with what it found."""
    return TypeAdapter(Preview).validate_python(preview._asdict() | preview.result)


def list_sooner(
    database: Database, reader: PolicyReader, number: int, now: datetime, limit: int, after: int = 0
) -> Page[ComparedFile]:
    """Files that a preview makes due sooner, as they are now; `after` is the number of the last one of the page before.

    NoSuchThing: there is no such preview or file. NotPossible: other rules are in force than it was compared with.
    """
    found = list(iterate_sooner(database, reader, number, now, limit + 1, after))
    return Page(found[:limit], found[limit - 1].id if len(found) > limit else None)


def iterate_sooner(
    database: Database, reader: PolicyReader, number: int, now: datetime, limit: int | None = None, after: int = 0
) -> Iterator[ComparedFile]:
    """All of these files, or the first `limit`, in one walk over the inventory that holds no transaction open."""
    found, adapter = make.find_preview(database, number), TypeAdapter(ComparedFile)
    for change in islice(make.iterate_sooner(database, reader, found, now, after), limit):
        yield adapter.validate_python(change.to_json())


def make_forecast(database: Database, reader: PolicyReader, now: datetime) -> Forecast:
    """Count the whole inventory under the rules in force; NotPossible if others came into force meanwhile."""
    return TypeAdapter(Forecast).validate_python(make.make_forecast(database, reader, now))


def find_current(tx: Transaction) -> RevisionDetail | None:
    """The rules in force; None: there are none yet."""
    return _find_revision(tx, store.find_current_number(tx))


def _find_revision(tx: Transaction, number: int) -> RevisionDetail | None:
    found, before = store.find_revision(tx, number), store.find_revision(tx, number - 1)
    if found is None:
        return None
    rules = [Rule(**{"match": {}, "keep_latest": None} | rule) for rule in tomllib.loads(found.rules_text)["rules"]]
    return take(RevisionDetail, _add_diff(found, before), parsed=rules)


def _add_diff(revision: store.Revision, before: store.Revision | None) -> RevisionWithDiff:
    old = before.rules_text.splitlines() if before else []
    names = (f"revision {revision.number - 1}", f"revision {revision.number}")
    diff = "\n".join(difflib.unified_diff(old, revision.rules_text.splitlines(), *names, lineterm=""))
    return take(RevisionWithDiff, revision, diff=diff)


def _list_revisions(tx: Transaction, _: None, cursor: int, size: int) -> Iterator[RevisionWithDiff]:
    found = store.list_revisions(tx, size + 1, before=cursor or None)
    return (_add_diff(each, before) for each, before in zip_longest(found[:size], found[1:]))


def _find_preview(tx: Transaction, number: int) -> Preview | None:
    found = preview_store.find_preview(tx, number)
    return None if found is None else describe_preview(found)


REVISIONS = Listed[None, RevisionWithDiff, RevisionDetail](
    "revision",
    "rules history",
    RevisionWithDiff,
    _list_revisions,
    lambda tx, _: store.find_current_number(tx),
    "revision: number, applied: applied_at, by: applied_by, through, source, preview: preview_id, sooner: moved_count",
    "through, sooner, preview",
    _find_revision,
    key="number",
)
"""Rule sets, the newest first."""

PREVIEWS = Listed[None, PreviewInShort, Preview](
    "preview",
    "rules preview FILE",
    PreviewInShort,
    lambda tx, _, cursor, size: preview_store.list_previews(tx, size, before=cursor or None),
    lambda tx, _: len(preview_store.list_previews(tx)),
    "id, made: as_of, by: made_by, source, sooner: sooner_count",
    "by",
    _find_preview,
)
"""Previews, the newest first."""
