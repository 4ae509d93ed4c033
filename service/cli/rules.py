"""`zego-retention rules`: the rules in force, what others would do, and putting them in force."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.cli.invocation import CommandFailed, ExitCode, Invocation
from service.cli.options import as_json, by, one_json, who
from service.cli.tables import make_table, number, prose, show_progress, word
from service.cli.wording import absolute, count, safe
from service.core.model import UNDECIDED_STATES
from service.core.rules_file import RulesError, catch_all, parse_rules
from service.db import files, revisions
from service.usecases.policy import KEEP_SOURCE, Preview, apply_rules, keep_differs, preview_rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.core.rules import RetentionRule
    from service.db.engine import Database
    from service.wiring import Service

_NO_RULES = "No rules are in force: nothing is ever deleted. Set KEEP, or apply a file with `rules apply FILE`."

candidate = click.argument("file", required=False)
from_keep = click.option("--keep", is_flag=True, help="Take the KEEP setting as the one rule, instead of a file.")


@click.group("rules")
def rules_group() -> None:
    """The retention rules: list, preview, apply, export."""


@rules_group.command("list")
@as_json
@click.pass_obj
def list_command(invocation: Invocation, as_json: bool) -> int:  # noqa: FBT001
    """List the rules in force, in their order."""
    with invocation.opened() as service:
        with service.database.read() as session:
            revision = revisions.current_revision(session)
        difference = keep_differs(service.database, service.settings.keep)
    rules = [] if revision is None else tomllib.loads(revision.rules)["rules"]
    if as_json:
        invocation.print_json(
            {"revision": revision and revision.number, "position": n, **_whole(rule)}
            for n, rule in enumerate(rules, start=1)
        )
    elif revision is None:
        invocation.show(_NO_RULES)
    else:
        applied = absolute(revision.applied_at, invocation.now())
        invocation.show(
            f"Revision {revision.number}, from {safe(revision.source)}, "
            f"applied by {safe(revision.applied_by)} at {applied}",
            "",
        )
        columns = [number("#"), prose("name"), prose("match"), word("keep"), number("keep latest")]
        rows = [
            (n, rule["name"], _describe_match(rule.get("match")), rule["keep"], rule.get("keep_latest"))
            for n, rule in enumerate(rules, start=1)
        ]
        invocation.show(make_table(invocation.out, columns, rows))
        invocation.show("", "The first rule that matches a file decides; a file that none matches is kept for ever.")
    if difference:
        invocation.note(difference)
    return ExitCode.DONE


@rules_group.command("preview")
@candidate
@from_keep
@one_json
@click.pass_obj
def preview_command(invocation: Invocation, file: str | None, keep: bool, as_json: bool) -> int:  # noqa: FBT001
    """Show what the rules in FILE ("-": standard input) would do; changes nothing."""
    with invocation.opened() as service:
        rules, source = _read_candidate(service, file, keep=keep)
        preview = _preview(invocation, service, rules)
    if as_json:
        invocation.print_json([_preview_as_json(preview)])
    else:
        _show_preview(invocation, source, preview)
    return ExitCode.DONE


@rules_group.command("apply")
@candidate
@from_keep
@click.option("--yes", "-y", is_flag=True, help="Do not ask, even if files become due at once.")
@by
@click.pass_obj
def apply_command(invocation: Invocation, file: str | None, keep: bool, yes: bool, by: str | None) -> int:  # noqa: FBT001
    """Put the rules in FILE ("-": standard input) in force, and decide every file anew."""
    with invocation.opened() as service:
        rules, source = _read_candidate(service, file, keep=keep)
        preview = _preview(invocation, service, rules)
        _show_preview(invocation, source, preview)
        if preview.newly_due and not yes and _can_ask() and not click.confirm("Apply these rules?", err=True):
            raise CommandFailed("the rules were not applied; nothing was changed")
        with show_progress(invocation.err, "deciding files", _count_undecided(service.database)) as progress:
            applied = apply_rules(service.database, rules, source, who(by), invocation.now, progress)
    how = "Applied as" if applied.is_new else "The same rules are in force already as"
    invocation.show(f"{how} revision {applied.revision}; {count(applied.decided, 'file')} decided anew.")
    return ExitCode.DONE


@rules_group.command("export")
@click.pass_obj
def export_command(invocation: Invocation) -> int:
    """Print the rules in force as a rules file."""
    with invocation.opened() as service, service.database.read() as session:
        revision = revisions.current_revision(session)
    if revision is None:
        raise CommandFailed("no rules are in force, so there is nothing to export")
    invocation.print_plain(revision.rules)
    return ExitCode.DONE


def _read_candidate(service: Service, file: str | None, *, keep: bool) -> tuple[tuple[RetentionRule, ...], str]:
    """The rules to look at, and what to call where they come from."""
    if keep == (file is not None):
        raise click.UsageError("give either a FILE or --keep")
    if file is None:
        if service.settings.keep is None:
            raise CommandFailed("KEEP is not set; set ZEGO_RETENTION_KEEP, for example to 30d, or name a file")
        return catch_all(service.settings.keep), KEEP_SOURCE
    name = "standard input" if file == "-" else file
    try:
        return parse_rules(_read_text(file)), name
    except OSError as error:
        raise CommandFailed(f"cannot read {name}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise CommandFailed(f"{name}: a rules file is UTF-8 text") from None
    except RulesError as error:
        raise CommandFailed(f"{name}: {error}") from None


def _read_text(file: str) -> str:
    raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    return raw.decode("utf-8")


def _preview(invocation: Invocation, service: Service, rules: Sequence[RetentionRule]) -> Preview:
    with service.database.read() as session:
        live = sum(n for state, n in files.count_by_state(session).items() if state.value not in ("deleted", "gone"))
    with show_progress(invocation.err, "looking at files", live) as progress:
        return preview_rules(service.database, rules, invocation.now(), progress)


def _show_preview(invocation: Invocation, source: str, preview: Preview) -> None:
    invocation.show(f"{safe(source)}, held against {count(preview.files, 'file')}:", "")
    columns = [prose("rule"), number("kept"), number("later"), number("due now")]
    in_order = sorted(preview.effects, key=lambda effect: effect.rule is None)
    rows = [(effect.rule or "(no rule)", effect.kept, effect.later, effect.due) for effect in in_order]
    invocation.show(make_table(invocation.out, columns, rows))
    moved = f"{preview.sooner:,} sooner, {preview.later:,} later, {preview.unchanged:,} as before"
    invocation.show("", f"Compared with the rules in force, files go: {moved}.")
    if preview.rescued:
        invocation.show(f"The next sweep would spare {count(preview.rescued, 'file')} that the rules in force let go.")
    if preview.newly_due:
        invocation.show(f"The next sweep would delete {count(preview.newly_due, 'file')} that the rules in force keep.")


def _preview_as_json(preview: Preview) -> dict[str, Any]:
    names = ("files", "due", "newly_due", "rescued", "sooner", "later", "unchanged")
    effects = [{"rule": e.rule, "kept": e.kept, "later": e.later, "due": e.due} for e in preview.effects]
    return {name: getattr(preview, name) for name in names} | {"rules": effects}


def _whole(rule: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": rule["name"],
        "match": rule.get("match", {}),
        "keep": rule["keep"],
        "keep_latest": rule.get("keep_latest"),
    }


def _describe_match(match: dict[str, Any] | None) -> str:
    if not match:
        return "every file"
    parts = [f"{key} {' or '.join(value) if isinstance(value, list) else value}" for key, value in match.items()]
    return ", ".join(parts)


def _can_ask() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _count_undecided(database: Database) -> int:
    with database.read() as session:
        return sum(n for state, n in files.count_by_state(session).items() if state in UNDECIDED_STATES)
