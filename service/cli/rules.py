"""`zego-retention rules`: the rules in force, what others would do, putting them in force, and taking them back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.cli.invocation import CommandFailed, ExitCode, Invocation
from service.cli.lists import add_list, print_forms
from service.cli.options import NUMBER, as_json, by, name_actor, one_json
from service.units import count_of

if TYPE_CHECKING:
    from service.model import Actor
    from service.preview.make import Candidate
    from service.views.rules import Preview, RevisionDetail
    from service.wiring import Service

NO_RULES = (
    "No rules are in force: nothing is ever deleted. Set ZEGO_RETENTION_KEEP, or put rules in force with"
    " `zego-retention rules apply FILE`."
)

file_of_rules = click.argument("file", required=False)
from_keep = click.option("--keep", is_flag=True, help="Take ZEGO_RETENTION_KEEP as the one rule, instead of a file.")
as_previewed = click.option("--preview", metavar="N", type=NUMBER, help="Apply as this preview showed it.")


@click.group("rules")
def rules_group() -> None:
    """The retention rules: list, preview, apply, rollback, history, export."""


@rules_group.command("list")
@as_json
@click.pass_obj
def list_command(invocation: Invocation, /, *, as_json: bool) -> int:
    """List the rules in force, in their order."""
    from service.rules.revisions import keep_differs
    from service.views.form import to_json
    from service.views.rules import find_current

    with invocation.opened() as service, service.database.read() as tx:
        revision = find_current(tx)
        difference = keep_differs(tx, service.settings.keep)
    if as_json:
        rules = [] if revision is None else revision.rules
        invocation.print_json({"revision": revision and revision.number, **to_json(rule)} for rule in rules)
    elif revision is None:
        invocation.show(NO_RULES)
    else:
        _show_rules(invocation, revision)
    if difference:
        invocation.note(difference)
    return ExitCode.DONE


@rules_group.command("preview")
@file_of_rules
@from_keep
@by
@one_json
@click.pass_obj
def preview_command(invocation: Invocation, /, *, file: str | None, keep: bool, by: str | None, as_json: bool) -> int:
    """Show what the rules in FILE ("-": standard input) would do, and store that; changes no rule and no file."""
    from service.cli.previews import show_preview

    with invocation.opened() as service:
        preview = _make_preview(invocation, service, _read_candidate(service, file, keep=keep), name_actor(by))
    if as_json:
        print_forms(invocation, [preview])
    else:
        show_preview(invocation, preview)
    return ExitCode.DONE


@rules_group.command("apply")
@file_of_rules
@from_keep
@as_previewed
@by
@click.pass_obj
def apply_command(
    invocation: Invocation, /, *, file: str | None, keep: bool, preview: int | None, by: str | None
) -> int:
    """Put the rules in FILE ("-": standard input), or of a preview, in force; all files are then decided by them."""
    from service.preview.apply import candidate_of_preview

    with invocation.opened() as service:
        if preview is not None and file is None and not keep:
            candidate = candidate_of_preview(service.database, preview)
        else:
            candidate = _read_candidate(service, file, keep=keep)
        return _apply(invocation, service, candidate, name_actor(by), preview)


@rules_group.command("rollback")
@click.argument("revision", type=NUMBER)
@as_previewed
@by
@click.pass_obj
def rollback_command(invocation: Invocation, /, *, revision: int, preview: int | None, by: str | None) -> int:
    """Put the rules of an earlier REVISION in force again, as a new revision."""
    from service.preview.apply import candidate_of_revision

    with invocation.opened() as service:
        candidate = candidate_of_revision(service.database, revision)
        return _apply(invocation, service, candidate, name_actor(by), preview)


add_list(
    rules_group, "views.rules:REVISIONS", "List every rule set that was in force, the newest first.", name="history"
)


@rules_group.command("export")
@click.option("--revision", type=NUMBER, help="Print this revision, not the one in force.")
@click.pass_obj
def export_command(invocation: Invocation, /, *, revision: int | None) -> int:
    """Print the rules in force, or of an earlier revision, as a rules file."""
    from service.rules.store import find_current_number
    from service.views.rules import REVISIONS

    with invocation.opened() as service:
        if revision is None:
            with service.database.read() as tx:
                revision = find_current_number(tx)
        if not revision:
            raise CommandFailed("no rules are in force, so there is nothing to export")
        found = REVISIONS.show(service.database, revision)
    invocation.print_plain(found.text)
    return ExitCode.DONE


def _show_rules(invocation: Invocation, revision: RevisionDetail) -> None:
    from service.cli.tables import make_table, number, prose, word
    from service.cli.wording import absolute, safe

    now, until = invocation.now(), revision.cooling_until
    source, person = safe(revision.source), safe(revision.applied_by)
    at = absolute(revision.applied_at, now)
    invocation.show(f"Revision {revision.number}, from {source}, applied by {person} at {at}", "")
    columns = [number("#"), prose("name"), prose("match"), word("keep"), number("keep latest")]
    rows = [
        (place, rule.name, _describe_match(rule.match), rule.keep, rule.keep_latest)
        for place, rule in enumerate(revision.rules, start=1)
    ]
    invocation.show(make_table(invocation.out, columns, rows))
    invocation.show("", "The first rule that matches a file decides; a file that none matches is kept for ever.")
    if until is not None and until > now and revision.moved_count:
        invocation.show(f"Files that became due sooner by it are not deleted before {absolute(until, now)}.")


def _apply(invocation: Invocation, service: Service, candidate: Candidate, actor: Actor, preview_id: int | None) -> int:
    """Apply a candidate; on a terminal show first what it does, and have the number of files due sooner typed."""
    from service.cli.orders import report_order
    from service.cli.previews import confirm_preview, show_preview
    from service.cli.tables import show_progress
    from service.cli.wording import absolute
    from service.preview.apply import apply_rules

    if preview_id is None and sys.stdin.isatty() and sys.stderr.isatty():
        preview = _make_preview(invocation, service, candidate, actor)
        show_preview(invocation, preview)
        confirm_preview(invocation, preview)
        preview_id = preview.id
    with show_progress(invocation.err, "looking at files") as progress:
        rules = (service.database, service.reader, candidate, actor, service.settings.cooling_off)
        apps = service.app_ids
        applied = apply_rules(*rules, invocation.now, preview_id=preview_id, known_apps=apps, progress=progress)
    if applied.order is None:
        invocation.note(f"the same rules are in force already, as revision {applied.revision}")
        return ExitCode.DONE
    sooner = f"Due sooner by it: {count_of(applied.sooner_count, 'file')}"
    if applied.cooling_until is not None:
        sooner += f", not deleted before {absolute(applied.cooling_until, invocation.now())}"
        if applied.revision > 1:
            sooner += f"; until then `zego-retention rules rollback {applied.revision - 1}` takes it back"
    invocation.show(f"Revision {applied.revision} is in force. {sooner}.")
    return report_order(invocation, service, applied.order, lambda _: "All files are decided by it.")


def _make_preview(invocation: Invocation, service: Service, candidate: Candidate, actor: Actor) -> Preview:
    from service.cli.tables import show_progress
    from service.preview.make import make_preview
    from service.views.rules import describe_preview

    rules = (service.database, service.reader, candidate, actor, service.settings.cooling_off)
    with show_progress(invocation.err, "looking at files") as progress:
        made = make_preview(*rules, invocation.now(), progress, known_apps=service.app_ids)
    return describe_preview(made)


def _read_candidate(service: Service, file: str | None, *, keep: bool) -> Candidate:
    """The rules to look at, and what to call where they come from."""
    from service.preview.make import Candidate
    from service.rules.file import RulesError, catch_all, parse_rules
    from service.rules.revisions import KEEP_SOURCE

    if keep == (file is not None):
        raise click.UsageError("give either a FILE or --keep (or, to `rules apply`, --preview alone)")
    if file is None:
        if service.settings.keep is None:
            raise CommandFailed("ZEGO_RETENTION_KEEP is not set: set it, for example to 30d, or name a file")
        return Candidate(catch_all(service.settings.keep), KEEP_SOURCE)
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


def _describe_match(match: dict[str, Any]) -> str:
    parts = [
        f"{key} {' or '.join(map(str, value)) if isinstance(value, list) else value}" for key, value in match.items()
    ]
    return ", ".join(parts) or "every file"
