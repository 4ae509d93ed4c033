"""`zego-retention rules`: the rules in force, what others would do, putting them in force, and taking them back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.cli.invocation import CommandFailed, ExitCode, Invocation
from service.cli.options import NUMBER, actor, as_json, by, limit, one_json
from service.cli.previews import confirm, list_of, show_preview
from service.cli.tables import LISTED, make_table, number, prose, show_progress, word
from service.cli.wording import absolute, parse_moment, safe
from service.core.rules_file import RulesError, catch_all, parse_rules
from service.core.wording import count
from service.usecases.applying import apply_rules, candidate_of_preview
from service.usecases.policy import KEEP_SOURCE, Candidate, candidate_of, keep_differs, list_revisions, show_revision
from service.usecases.previewing import count_to_look_at, make_preview

if TYPE_CHECKING:
    from service.core.model import Actor
    from service.wiring import Service

_NO_RULES = "No rules are in force: nothing is ever deleted. Set KEEP, or apply a file with `rules apply FILE`."

file_of_rules = click.argument("file", required=False)
from_keep = click.option("--keep", is_flag=True, help="Take the KEEP setting as the one rule, instead of a file.")
as_previewed = click.option("--preview", "preview_id", type=NUMBER, help="Apply as this preview showed it.")


@click.group("rules")
def rules_group() -> None:
    """The retention rules: list, preview, apply, history, rollback, export."""


@rules_group.command("list")
@as_json
@click.pass_obj
def list_command(invocation: Invocation, as_json: bool) -> int:  # noqa: FBT001
    """List the rules in force, in their order."""
    with invocation.opened() as service:
        revision = show_revision(service.database)
        difference = keep_differs(service.database, service.settings.keep)
    rules = [] if revision is None else revision["rules"]
    if as_json:
        invocation.print_json(
            {"revision": revision and revision["number"], "position": place, **rule}
            for place, rule in enumerate(rules, start=1)
        )
    elif revision is None:
        invocation.show(_NO_RULES)
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
def preview_command(invocation: Invocation, file: str | None, keep: bool, by: str | None, as_json: bool) -> int:  # noqa: FBT001
    """Show what the rules in FILE ("-": standard input) would do, and store that; changes no rule and no file."""
    with invocation.opened(puts_keep_in_force=False) as service:
        candidate = _read_candidate(service, file, keep=keep)
        preview = _preview(invocation, service, candidate, actor(by))
    if as_json:
        invocation.print_json([preview])
        return ExitCode.DONE
    show_preview(invocation, preview)
    invocation.show("", f"To put these rules in force: `zego-retention rules apply --preview {preview['id']}`")
    return ExitCode.DONE


@rules_group.command("apply")
@file_of_rules
@from_keep
@as_previewed
@by
@click.pass_obj
def apply_command(invocation: Invocation, file: str | None, keep: bool, preview_id: int | None, by: str | None) -> int:  # noqa: FBT001
    """Put the rules in FILE ("-": standard input), or of a preview, in force, and decide every file anew."""
    with invocation.opened(puts_keep_in_force=False) as service:
        if preview_id is not None and file is None and not keep:
            candidate = candidate_of_preview(service.database, preview_id)
        else:
            candidate = _read_candidate(service, file, keep=keep)
        _apply(invocation, service, candidate, actor(by), preview_id)
    return ExitCode.DONE


@rules_group.command("rollback")
@click.argument("revision", type=NUMBER)
@as_previewed
@by
@click.pass_obj
def rollback_command(invocation: Invocation, revision: int, preview_id: int | None, by: str | None) -> int:
    """Put the rules of an earlier REVISION in force again, as a new revision."""
    with invocation.opened() as service:
        candidate = candidate_of(service.database, revision)
        _apply(invocation, service, candidate, actor(by), preview_id)
    return ExitCode.DONE


@rules_group.command("history")
@limit
@as_json
@click.pass_obj
def history_command(invocation: Invocation, limit: int | None, as_json: bool) -> int:  # noqa: FBT001
    """List every rule set that was in force, the newest first, each with what it changed."""
    with invocation.opened() as service:
        found = list_revisions(service.database, limit or (None if as_json else LISTED))
        if as_json:
            invocation.print_json(found)
            return ExitCode.DONE
        shown = 0
        for revision in found:
            _show_change(invocation, revision)
            shown += 1
    if not shown:
        invocation.show(_NO_RULES)
    return ExitCode.DONE


@rules_group.command("export")
@click.option("--revision", type=NUMBER, help="Print this revision, not the one in force.")
@click.pass_obj
def export_command(invocation: Invocation, revision: int | None) -> int:
    """Print the rules in force, or of an earlier revision, as a rules file."""
    with invocation.opened() as service:
        found = show_revision(service.database, revision)
    if found is None and revision is None:
        raise CommandFailed("no rules are in force, so there is nothing to export")
    if found is None:
        raise CommandFailed(f"there is no revision {revision}: see `zego-retention rules history`")
    invocation.print_plain(found["text"])
    return ExitCode.DONE


def _show_rules(invocation: Invocation, revision: dict[str, Any]) -> None:
    now = invocation.now()
    invocation.show(
        f"Revision {revision['number']}, from {safe(revision['source'])}, applied by {safe(revision['applied_by'])} "
        f"at {absolute(parse_moment(revision['applied_at']), now)}",
        "",
    )
    columns = [number("#"), prose("name"), prose("match"), word("keep"), number("keep latest"), word("mode")]
    rows = [
        (place, rule["name"], _describe_match(rule["match"]), rule["keep"], rule["keep_latest"], rule["mode"])
        for place, rule in enumerate(revision["rules"], start=1)
    ]
    invocation.show(make_table(invocation.out, columns, rows))
    invocation.show("", "The first rule that matches a file decides; a file that none matches is kept for ever.")
    until = parse_moment(revision["cooling_until"])
    if revision["preview"] is not None and until is not None and until > now:
        before = revision["number"] - 1
        invocation.show(
            f"Files whose date this revision moved earlier are not called before {absolute(until, now)}; "
            f"until then `zego-retention rules rollback {before}` takes it back with nothing lost."
        )


def _show_change(invocation: Invocation, revision: dict[str, Any]) -> None:
    through = f", through {safe(revision['through'])}" if revision["through"] else ""
    bound = f", as preview {revision['preview']} showed it" if revision["preview"] else ""
    invocation.show(
        f"Revision {revision['number']}, from {safe(revision['source'])}, applied by {safe(revision['applied_by'])}"
        f"{through} at {absolute(parse_moment(revision['applied_at']), invocation.now())}{bound}",
        safe(revision["diff"], lines=True),
        "",
    )


def _apply(
    invocation: Invocation, service: Service, candidate: Candidate, actor: Actor, preview_id: int | None
) -> None:
    """Apply a candidate; in a terminal show first what it does, and have the number of hit files typed."""
    if preview_id is None and _can_ask():
        preview = _preview(invocation, service, candidate, actor)
        show_preview(invocation, preview)
        confirm(invocation, preview)
        preview_id = preview["id"]
    total = 2 * count_to_look_at(service.database)
    with show_progress(invocation.err, "looking at files and deciding them", total) as progress:
        applied = apply_rules(
            service.database,
            candidate,
            actor,
            service.settings.cooling_off,
            invocation.now,
            preview_id=preview_id,
            progress=progress,
        )
    how = "Applied as" if applied.is_new else "The same rules are in force already as"
    invocation.show(f"{how} revision {applied.revision}; {count(applied.decided, 'file')} decided anew.")
    if not applied.sooner:
        return
    sooner = f"{count(applied.sooner, 'file')} {list_of(applied.sooner)} due sooner"
    if applied.cooling_until is None:
        invocation.show(f"{sooner}, and COOLING_OFF=0s lets the next sweep take those that are due.")
        return
    before = applied.revision - 1
    back = f"; `zego-retention rules rollback {before}` takes it back" if before else ""
    invocation.show(f"{sooner}, and not called before {absolute(applied.cooling_until, invocation.now())}{back}.")


def _preview(invocation: Invocation, service: Service, candidate: Candidate, actor: Actor) -> dict[str, Any]:
    with show_progress(invocation.err, "looking at files", count_to_look_at(service.database)) as progress:
        cooling_off = service.settings.cooling_off
        return make_preview(service.database, candidate, actor, cooling_off, invocation.now(), progress)


def _read_candidate(service: Service, file: str | None, *, keep: bool) -> Candidate:
    """The rules to look at, and what to call where they come from."""
    if keep == (file is not None):
        raise click.UsageError("give a FILE, --keep or --preview")
    if file is None:
        if service.settings.keep is None:
            raise CommandFailed("KEEP is not set; set ZEGO_RETENTION_KEEP, for example to 30d, or name a file")
        return Candidate(catch_all(service.settings.keep), KEEP_SOURCE)
    name = "standard input" if file == "-" else file
    try:
        return Candidate(parse_rules(_read_text(file)), name)
    except OSError as error:
        raise CommandFailed(f"cannot read {name}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise CommandFailed(f"{name}: a rules file is UTF-8 text") from None
    except RulesError as error:
        raise CommandFailed(f"{name}: {error}") from None


def _read_text(file: str) -> str:
    raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    return raw.decode("utf-8")


def _describe_match(match: dict[str, Any]) -> str:
    if not match:
        return "every file"
    parts = [f"{key} {' or '.join(value) if isinstance(value, list) else value}" for key, value in match.items()]
    return ", ".join(parts)


def _can_ask() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()
