"""`zego-retention rules` and `previews`: the rules in force, what others would do, putting them in force or back."""

from __future__ import annotations

import sys
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import click

from service.cli.frame import CommandFailed, ExitCode, Invocation
from service.cli.options import LISTED
from service.cli.orders import report_order
from service.cli.show import (
    absolute,
    ask_number,
    describe_counts,
    note,
    safe,
    show,
    show_progress,
    show_rows,
    show_table,
    shown_as_json,
)
from service.preview.apply import apply_rules, candidate_of_preview, candidate_of_revision
from service.preview.make import Candidate, describe_emptied, make_preview
from service.rules.file import RulesError, catch_all, format_rules, parse_rules
from service.rules.store import KEEP_SOURCE, find_current_number, keep_differs
from service.units import count_of
from service.views import rules as views
from service.views.export import write_csv
from service.views.form import to_json
from service.views.rules import Preview
from service.views.values import describe_size

NO_RULES: Final = (
    "No rules are in force: nothing is ever deleted. Start the service with ZEGO_RETENTION_KEEP, or put rules in force"
    " with `zego-retention rules apply FILE`."
)
_CHANGES: Final = {
    "newly_due_now": "become due at once",
    "newly_due_in_7_days": "become due within 7 days, those at once included",
    "newly_due_in_30_days": "become due within 30 days, all of these included",
    "sooner": "due sooner in all, all of these included",
    "later": "due later",
    "no_longer_deleted": "deleted by the rules in force, and kept by these",
    "spared": "due now by the rules in force, not by these",
    "moved": "decided by another rule",
    "unchanged": "date unchanged",
    "kept": "kept for ever",
    "held": "held",
    "unconfirmed": "unconfirmed",
    "failed": "failed",
}
_DAYS: Final = (0, 1, 7, 30, 60, 90)
_SOONER: Final = (
    "id, stream: stream_id, file: called, age: ended_at, size: size_bytes, due before: due_before,"
    " due after: due_after, why: reason, vendor, app: app_id"
)


def list_rules(invocation: Invocation) -> None:
    service, now = invocation.service, invocation.now()
    with service.database.read() as tx:
        revision = views.find_current(tx)
        difference = keep_differs(tx, service.settings.keep)
    rules = revision.parsed if revision else []
    as_json = ({"revision": revision and revision.number, **to_json(rule)} for rule in rules)
    if not shown_as_json(invocation, as_json):
        _show_rules(revision, now)
    if difference:
        note(difference)


def _show_rules(revision: views.RevisionDetail | None, now: datetime) -> None:
    if revision is None:
        show(NO_RULES)
        return
    source, person = safe(revision.source), safe(revision.applied_by)
    at, until = absolute(revision.applied_at, now), revision.cooling_until
    show(f"Revision {revision.number}, from {source}, applied by {person} at {at}", "")
    rows = [
        (place, rule.name, _describe_match(rule.match), rule.keep, rule.keep_latest)
        for place, rule in enumerate(revision.parsed, start=1)
    ]
    show_table(("#", "name", "match", "keep", "keep latest"), rows)
    show("", "The first rule that matches a file decides; a file that none matches is kept for ever.")
    if until is not None and until > now and revision.moved_count:
        show(f"A file that became due sooner by it waits until its old date, at most until {absolute(until, now)}.")


def preview(invocation: Invocation, *, file: str | None, keep: bool) -> None:
    made = _preview(invocation, _read_candidate(invocation, file, keep=keep))
    if not shown_as_json(invocation, made):
        _show_preview(made)


def apply(invocation: Invocation, *, file: str | None, keep: bool, preview: int | None, count: int | None) -> ExitCode:
    if preview is not None and file is None and not keep:
        return _apply(invocation, candidate_of_preview(invocation.service.database, preview), preview, count)
    return _apply(invocation, _read_candidate(invocation, file, keep=keep), preview, count)


def rollback(invocation: Invocation, *, revision: int, preview: int | None, count: int | None) -> ExitCode:
    return _apply(invocation, candidate_of_revision(invocation.service.database, revision), preview, count)


def export(invocation: Invocation, *, revision: int | None) -> None:
    database = invocation.service.database
    if revision is None:
        with database.read() as tx:
            revision = find_current_number(tx)
    if not revision:
        raise CommandFailed("no rules are in force, so there is nothing to export")
    sys.stdout.write(views.REVISIONS.show(database, revision).rules_text)


def show_preview(invocation: Invocation, *, number: int, files: bool, as_csv: bool) -> None:
    service, now = invocation.service, invocation.now()
    if as_csv and not files:
        raise click.UsageError("--csv is for --files")
    found = views.PREVIEWS.show(service.database, number)
    limit = invocation.limit or (None if invocation.as_json or as_csv else LISTED)
    sooner = views.iterate_sooner(service.database, service.reader, number, now, limit)
    if as_csv:
        sys.stdout.writelines(write_csv(views.ComparedFile, sooner))
    if as_csv or shown_as_json(invocation, sooner if files else found):
        return
    if not files:
        _show_preview(found)
        return
    rows = list(sooner)
    if not rows:
        note(f"preview {number}: no file becomes due sooner")
        return
    show_rows(invocation, _SOONER, rows, "app, vendor, size, age, why, file", is_list=True)
    if limit is not None and len(rows) == limit < found.sooner_count:
        note(f"{found.sooner_count - limit:,} more: see them with --limit, --json or --csv")


def _describe_match(match: dict[str, Any]) -> str:
    values = {key: value if isinstance(value, list) else [value] for key, value in match.items()}
    if "adopted" in values:
        values["adopted"] = [str(match["adopted"]).lower()]  # as it is written
    return ", ".join(f"{key} {' or '.join(map(str, value))}" for key, value in values.items()) or "every file"


def _apply(invocation: Invocation, candidate: Candidate, preview_id: int | None, count: int | None) -> ExitCode:
    """Apply a candidate; on a terminal show first what it does, and have the number of files due sooner typed.

    Where every file of an app would be deleted, the number is needed in any case.
    """
    service, can_ask = invocation.service, sys.stdin.isatty() and sys.stderr.isatty()
    if preview_id is not None:
        made = views.PREVIEWS.show(service.database, preview_id)
        if can_ask and count is None and made.emptied_apps and made.rules_text == format_rules(candidate.rules):
            for app in made.emptied_apps:
                note(f"{describe_emptied(app)}.")
            count = ask_number(made.sooner_count, "due sooner")
    elif can_ask:
        made = _preview(invocation, candidate)
        _show_preview(made)
        if made.sooner_count and count != made.sooner_count:
            count = ask_number(made.sooner_count, "due sooner")
        preview_id = made.id
    cooling_off, apps = service.settings.cooling_off, service.app_ids
    with show_progress("looking at files") as progress:
        rules = (service.database, service.reader, candidate, invocation.actor, cooling_off, invocation.now)
        applied = apply_rules(*rules, preview_id=preview_id, expect=count, known_apps=apps, progress=progress)
    if applied.order is None:
        note(f"the same rules are in force already, as revision {applied.revision}")
        return ExitCode.DONE
    sooner = f"Due sooner by it: {count_of(applied.sooner_count, 'file')}"
    if applied.cooling_until is not None:
        until = absolute(applied.cooling_until, invocation.now())
        sooner += f". Each waits until its old date, at most until {until}"
        sooner += f"; until then `zego-retention rules rollback {applied.revision - 1}` takes it back"
    show(f"Revision {applied.revision} is in force. {sooner}.")
    return report_order(invocation, applied.order)


def _preview(invocation: Invocation, candidate: Candidate) -> Preview:
    service, now = invocation.service, invocation.now()
    rules = (service.database, service.reader, candidate, invocation.actor, service.settings.cooling_off, now)
    with show_progress("looking at files") as progress:
        return views.describe_preview(make_preview(*rules, progress, known_apps=service.app_ids))


def _read_candidate(invocation: Invocation, file: str | None, *, keep: bool) -> Candidate:
    """The rules to look at, and what to call where they come from."""
    if keep == (file is not None):
        raise click.UsageError("give either a FILE or --keep (or, to `rules apply`, --preview alone)")
    if file is None:
        window = invocation.service.settings.keep
        if window is None:
            raise CommandFailed("ZEGO_RETENTION_KEEP is not set: set it, for example to 30d, or name a file")
        return Candidate(catch_all(window), KEEP_SOURCE)
    name = "standard input" if file == "-" else file
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return Candidate(parse_rules(raw.decode("utf-8")), name)
    except OSError as error:
        raise CommandFailed(f"cannot read {name}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise CommandFailed(f"{name}: a rules file is UTF-8 text") from None
    except RulesError as error:
        raise CommandFailed(f"{name}: {error}") from None


def _share(part: int, whole: int) -> str:
    """A part of a whole, never rounded to all of it."""
    return f"{min(100 * part / max(whole, 1), 100 if part == whole else 99.9):.3g} %"


def _describe_known(amount: views.Amount, unknown: int, text: str) -> str:
    """What is known of an amount, and of how many files it is not."""
    return "unknown" if unknown == amount.count else f"{text} and {unknown:,} unknown" if unknown else text


def _show_preview(preview: Preview) -> None:
    base = f"revision {preview.base_revision}" if preview.base_revision else "no rules"
    files = count_of(preview.files, "file")
    show(f"Preview {preview.id}: {safe(preview.source)} instead of {base}, compared over {files}", "")
    effects = []
    for each in preview.effects:
        counts = (f"{count:,}" for count in (each.kept, each.later, each.due))
        unjudged = describe_counts(each.unjudged) if each.unjudged else None
        effects.append((each.rule or "(no rule)", *counts, unjudged))
    show_table(("rule", "keeps", "deletes later", "deletes now", "keeps for lack of"), effects, ("keeps for lack of",))
    changes = []
    for name, text in _CHANGES.items():
        found = preview.changes[name]
        if found.count:
            hours = _describe_known(found, found.unknown_durations, f"{found.hours or 0:,.1f}")
            size = _describe_known(found, found.unknown_sizes, describe_size(found.bytes))
            changes.append((text, f"{found.count:,}", _share(found.count, preview.files), hours, size))
    if changes:
        show("")
        show_table(("files", "number", "share", "recorded hours", "size"), changes)
    # How many files are deleted in all by when, under the rules in force and under these.
    before, after = (list(accumulate(days)) for days in (preview.forecast["in_force"], preview.forecast["candidate"]))
    days = [(f"day {day}" if day else "now", f"{before[day]:,}", f"{after[day]:,}") for day in _DAYS]
    show("")
    show_table(("deleted by", "rules in force", "these rules"), days)
    show("")
    for each in preview.effects:
        if each.rule is not None and not (each.kept or each.later or each.due):
            show(f'Rule "{safe(each.rule)}" decides no file.')
    for unknown in preview.unknown_apps:
        show(f'Rule "{safe(unknown["rule"])}" names app {unknown["app"]}, which is not configured.')
    show(*(f"{describe_emptied(app)}." for app in preview.emptied_apps))
    if preview.sooner_count:
        wait = ""
        if preview.cooling_off_s:
            wait = f"; each waits until its old date, at most for the cooling-off of {preview.cooling_off}"
        listed = f"`zego-retention previews show {preview.id} --files` lists them"
        share = _share(preview.sooner_count, preview.files)
        show(f"Due sooner: {preview.sooner_count:,} of {files} ({share}){wait}; {listed}.")
    show(f"To put these rules in force: `zego-retention rules apply --preview {preview.id}`")
