"""Rules: revisions, previews of what other rules would do, and the forecast of what those in force do."""

from __future__ import annotations

import difflib
import tomllib
from datetime import datetime
from typing import Any

from service.database import Database, Transaction
from service.files.policy import PolicyReader
from service.model import FileState, Vendor
from service.preview import make
from service.preview import store as preview_store
from service.preview.forecast import Change
from service.rules import store
from service.views.form import AT, Form, Known, eg
from service.views.listed import Column, Kind, Listed, Page, cut, encode_cursor, find_row, read_rows, take_from

RULES = '[[rules]]\nname = "trial rooms"\nmatch = { stream = "trial-*" }\nkeep = "1d"\n'
"""Rules for examples."""


class Rule(Form):
    """A retention rule, as in a rules file."""

    name: str = eg("trial rooms")
    match: dict[str, Any] = eg({"stream": "trial-*"})
    keep: str = eg("1d")
    keep_latest: int | None = eg(None)


class Revision(Form):
    """A rule set that was in force, with its difference to the one before."""

    number: int = eg(2)
    applied_at: datetime = eg(AT)
    applied_by: str = eg("support desk")
    through: str = eg("API")
    by_person: bool = eg(True, "false: the setting KEEP applied it")
    source: str = eg("the API")
    cooling_until: datetime | None = eg("2026-03-02T12:00:00Z")
    preview_id: int | None = eg(7)
    moved_count: int = eg(12, "files that become due sooner by it, as its preview shows")
    moved_called: int = eg(0, "how many of them have been called")
    diff: str = eg('--- revision 1\n+++ revision 2\n@@ -1 +1 @@\n-keep = "30d"\n+keep = "1d"')


class RevisionDetail(Revision):
    """A rule set with its rules."""

    text: str = eg(RULES)
    rules: list[Rule]


class Amount(Form):
    """How much: files, hours of recording and bytes, as far as known, and of how many files they are not."""

    count: int = eg(12)
    hours: float | None = eg(9.5)
    unknown_durations: int = eg(0)
    bytes: int = eg(104857600)
    unknown_sizes: int = eg(0)


class NamedAmount(Amount):
    """How much there is of something; the name is null for files that no rule decides."""

    name: str | None = eg("trial rooms")


class ComparedFile(Form):
    """A file in short, with what two rule sets say of it."""

    id: int = eg(17)
    app_id: str = eg("1234567890")
    vendor: Vendor = eg("Tencent")
    file_id: str = eg("5285890784273533167")
    stream_id: Known = eg("trial-7")
    state: FileState = eg("scheduled")
    ended_at: datetime = eg(AT)
    rule_before: str | None = eg("everything else")
    due_before: datetime | None = eg("2026-03-31T12:00:00Z")
    rule_after: str | None = eg("trial rooms")
    due_after: datetime | None = eg("2026-03-02T12:00:00Z")


class Category(Amount):
    """The files that have something in common in a preview, and a few of them."""

    share: float = eg(0.12, "that of all files")
    by_rule: list[NamedAmount]
    by_app: list[NamedAmount]
    by_vendor: list[NamedAmount]
    samples: list[ComparedFile]


class RuleEffect(Form):
    """What a rule does with the files that it decides; `unjudged` are kept for lack of a fact, by that fact."""

    rule: str | None = eg("trial rooms")
    kept: int = eg(0)
    later: int = eg(88)
    due: int = eg(12)
    unjudged: dict[str, int] = eg({"size": 3})


class UnknownApp(Form):
    """A rule that names an app which is not configured."""

    rule: str = eg("trial rooms")
    app: str = eg("987654321")


class DeletionsByDay(Form):
    """Files deleted now, and on each of the next 90 days, under the rules in force and under the candidate."""

    in_force: list[int] = eg([0, 12, 3])
    candidate: list[int] = eg([12, 0, 3])


class PreviewInShort(Form):
    """What other rules would do: `sooner_count` files become due sooner."""

    id: int = eg(7)
    as_of: datetime = eg(AT)
    made_by: str = eg("support desk")
    through: str = eg("API")
    base_revision: int = eg(1)
    highest_id: int = eg(61_000, "files that became known later were not looked at")
    source: str = eg("the API")
    sooner_count: int = eg(12)


class Preview(PreviewInShort):
    """What other rules would do, file by file; `changes` by kind of change (docs/rules.md)."""

    rules_text: str = eg(RULES)
    cooling_off: str = eg("1d")
    cooling_off_s: float = eg(86400.0)
    files: int = eg(100)
    changes: dict[str, Category]
    effects: list[RuleEffect]
    emptied_apps: list[str] = eg([], "apps of which every file is deleted at once")
    unknown_apps: list[UnknownApp]
    forecast: DeletionsByDay


class Forecast(Amount):
    """How much there is, and how many files are deleted now and on each of the next 90 days (`days`)."""

    as_of: datetime = eg(AT)
    revision: int = eg(2)
    by_state: list[NamedAmount]
    by_rule: list[NamedAmount]
    by_app: list[NamedAmount]
    by_vendor: list[NamedAmount]
    days: list[int] = eg([0, 12, 3])


def describe_preview(preview: preview_store.Preview) -> Preview:
    """The form of a preview."""
    return Preview(**dict(PreviewInShort.model_validate(preview)), rules_text=preview.rules_text, **preview.result)


def list_sooner(
    database: Database, reader: PolicyReader, number: int, now: datetime, limit: int, after: int = 0
) -> Page[ComparedFile]:
    """Files that a preview makes due sooner, as they are now; `after` is the number of the last one of the page before.

    Raises:
        NoSuchThing: there is no such preview, or no such file.
        NotPossible: other rules are in force than it was compared with.
    """
    found = make.list_sooner(database, reader, make.find_preview(database, number), now, after, limit + 1)
    changes, resume = cut(found, limit, lambda change: change.before.id)
    return Page[ComparedFile](items=list(map(_describe_change, changes)), next_cursor=encode_cursor(resume))


def make_forecast(database: Database, reader: PolicyReader, now: datetime) -> Forecast:
    """Count the whole inventory under the rules in force.

    Raises:
        NotPossible: other rules came into force meanwhile.
    """
    return Forecast(**make.make_forecast(database, reader, now))


def find_current(tx: Transaction) -> RevisionDetail | None:
    """The rules in force; None: there are none yet."""
    return REVISIONS.find(tx, store.find_current_number(tx))


def _describe_change(change: Change) -> ComparedFile:
    facts = {name: getattr(change.before, name) for name in tuple(ComparedFile.model_fields)[:7]}
    before, after = change.date_before, change.date_after
    return ComparedFile(
        **facts, rule_before=change.before.rule, due_before=before, rule_after=change.after.rule, due_after=after
    )


def _describe_preview(_tx: Transaction, preview: preview_store.Preview) -> Preview:
    return describe_preview(preview)


def _describe_revision(tx: Transaction, revision: store.Revision) -> Revision:
    before = store.find_revision(tx, revision.number - 1)
    old = before.rules_text.splitlines() if before else []
    names = (f"revision {before.number if before else 0}", f"revision {revision.number}")
    diff = "\n".join(difflib.unified_diff(old, revision.rules_text.splitlines(), *names, lineterm=""))
    return Revision(**{name: getattr(revision, name) for name in Revision.model_fields if name != "diff"}, diff=diff)


def _describe_in_full(tx: Transaction, revision: store.Revision) -> RevisionDetail:
    rules = [Rule(**{"match": {}, "keep_latest": None} | rule) for rule in tomllib.loads(revision.rules_text)["rules"]]
    return RevisionDetail(**dict(_describe_revision(tx, revision)), text=revision.rules_text, rules=rules)


REVISIONS = Listed[None, Revision, RevisionDetail](
    "revision",
    "rules history",
    Page[Revision],
    read_rows(
        lambda tx, _, cursor, size: store.list_revisions(tx, size, before=cursor or None),
        _describe_revision,
        lambda revision: revision.number,
    ),
    lambda tx, _wanted: store.find_current_number(tx),
    find_row(store.find_revision, _describe_in_full),
    (
        Column("revision", lambda each: each.number, Kind.NUMBER),
        Column("applied", lambda each: each.applied_at, Kind.MOMENT),
        Column("by", lambda each: each.applied_by, Kind.PROSE),
        Column("through", lambda each: each.through, priority=2),
        Column("source", lambda each: each.source, Kind.PROSE),
        Column("sooner", lambda each: each.moved_count, Kind.NUMBER, 1),
    ),
)
"""Rule sets, the newest first."""

PREVIEWS = Listed[None, PreviewInShort, Preview](
    "preview",
    "rules preview FILE",
    Page[PreviewInShort],
    read_rows(
        lambda tx, _, cursor, size: preview_store.list_previews(tx, size, before=cursor or None),
        take_from(PreviewInShort),
    ),
    lambda tx, _wanted: len(preview_store.list_previews(tx)),
    find_row(preview_store.find_preview, _describe_preview),
    (
        Column("id", lambda each: each.id, Kind.NUMBER),
        Column("made", lambda each: each.as_of, Kind.MOMENT),
        Column("by", lambda each: each.made_by, Kind.PROSE, 1),
        Column("source", lambda each: each.source, Kind.PROSE),
        Column("sooner", lambda each: each.sooner_count, Kind.NUMBER),
    ),
)
"""Previews, the newest first."""
