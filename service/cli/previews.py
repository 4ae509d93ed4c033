"""`zego-retention previews`: what other rules would do, as people see it, and how they agree to it."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Final

import click

from service.cli.invocation import CommandFailed, ExitCode, Invocation
from service.cli.lists import add_list, describe_counts, print_forms, show_rows
from service.cli.options import LISTED, NUMBER, as_json, limit
from service.units import count_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.views.listed import Column
    from service.views.rules import ComparedFile, Preview, RuleEffect
    from service.wiring import Service

_CHANGES: Final = {
    "newly_due_now": "newly due: now",
    "newly_due_in_7_days": "newly due: within 7 days, with those due now",
    "newly_due_in_30_days": "newly due: within 30 days, with all of these",
    "sooner": "due sooner",
    "later": "due later",
    "no_longer_deleted": "deleted by the rules in force, and kept by these",
    "spared": "due now, and not any more by these rules",
    "moved": "decided by another rule",
    "unchanged": "date unchanged",
    "kept": "kept for ever",
    "held": "held",
    "unconfirmed": "unconfirmed",
    "failed": "failed",
}
_DAYS: Final = (0, 1, 7, 30, 60, 90)
_PAGE: Final = 500


@click.group("previews")
def previews_group() -> None:
    """What other rules would do: list, show."""


add_list(previews_group, "views.rules:PREVIEWS", "List previews, the newest first.")


@previews_group.command("show")
@click.argument("preview", metavar="ID", type=NUMBER)
@click.option("--files", is_flag=True, help="List the files that become due sooner, as they are now.")
@limit
@as_json
@click.pass_obj
def show_command(invocation: Invocation, /, *, preview: int, files: bool, limit: int | None, as_json: bool) -> int:
    """Show one preview; with --files, every file that becomes due sooner by it."""
    from service.views.rules import PREVIEWS

    with invocation.opened() as service:
        found = PREVIEWS.show(service.database, preview)
        if files and as_json:
            print_forms(invocation, _list_sooner(invocation, service, preview, limit))
        elif files:
            most = limit or LISTED
            shown = list(_list_sooner(invocation, service, preview, most))
            show_rows(invocation, _make_columns(), shown)
            if len(shown) == most < found.sooner_count:
                invocation.note(f"{found.sooner_count - most:,} more: see them with --limit or --json")
        elif as_json:
            print_forms(invocation, [found])
        else:
            show_preview(invocation, found)
    return ExitCode.DONE


def show_preview(invocation: Invocation, preview: Preview) -> None:
    """Print a preview for people."""
    from service.cli.wording import safe

    base = f"revision {preview.base_revision}" if preview.base_revision else "no rules"
    compared = f"compared over {count_of(preview.files, 'file')}"
    invocation.show(f"Preview {preview.id}: {safe(preview.source)} instead of {base}, {compared}", "")
    _show_effects(invocation, preview)
    _show_changes(invocation, preview)
    _show_days(invocation, preview)
    remarks = [
        *(f'Rule "{safe(each.rule)}" decides no file.' for each in preview.effects if not _has_effect(each)),
        *(f'Rule "{safe(each.rule)}" names app {each.app}, which is not configured.' for each in preview.unknown_apps),
        *(f"These rules would delete every file of app {app}." for app in preview.emptied_apps),
    ]
    if preview.sooner_count:
        wait = f"; they wait for the cooling-off of {preview.cooling_off}" if preview.cooling_off_s else ""
        listed = f"`zego-retention previews show {preview.id} --files` lists them"
        remarks.append(f"Due sooner: {preview.sooner_count:,} of {count_of(preview.files, 'file')}{wait}; {listed}.")
    remarks.append(f"To put these rules in force: `zego-retention rules apply --preview {preview.id}`")
    invocation.show("", *remarks)


def confirm_preview(invocation: Invocation, preview: Preview) -> None:
    """Have a person type how many files become due sooner, where any do.

    Raises:
        CommandFailed: they typed something else.
    """
    if not preview.sooner_count:
        return
    invocation.note(f"To put these rules in force, type how many files become due sooner ({preview.sooner_count}):")
    typed = click.prompt("files", prompt_suffix=": ", default="", show_default=False, err=True)
    if typed.strip().replace(",", "") != str(preview.sooner_count):
        raise CommandFailed(
            f"that is not {preview.sooner_count}, so nothing was applied; if the preview is right, "
            f"`zego-retention rules apply --preview {preview.id}`"
        )


def _has_effect(effect: RuleEffect) -> bool:
    return effect.rule is None or bool(effect.kept or effect.later or effect.due)


def _show_effects(invocation: Invocation, preview: Preview) -> None:
    from service.cli.tables import make_table, number, prose

    columns = [
        prose("rule"),
        number("keeps"),
        number("deletes later"),
        number("deletes now"),
        prose("keeps for lack of"),
    ]
    rows = [
        (
            each.rule or "(no rule)",
            *(f"{count:,}" for count in (each.kept, each.later, each.due)),
            describe_counts(each.unjudged) if each.unjudged else "-",
        )
        for each in preview.effects
    ]
    shown = 5 if any(each.unjudged for each in preview.effects) else 4
    invocation.show(make_table(invocation.out, columns[:shown], [row[:shown] for row in rows]), "")


def _show_changes(invocation: Invocation, preview: Preview) -> None:
    from service.cli.tables import make_table, number, prose
    from service.cli.wording import size

    columns = [prose("files"), number("number"), number("recorded hours"), number("size"), number("size unknown")]
    changes = [(text, preview.changes[name]) for name, text in _CHANGES.items() if preview.changes[name].count]
    rows = [
        (text, f"{each.count:,}", each.hours, size(each.bytes or None), each.unknown_sizes or "-")
        for text, each in changes
    ]
    drop_first = ("size unknown", "recorded hours", "size")
    if rows:
        invocation.show(make_table(invocation.out, columns, rows, drop_first=drop_first), "")


def _show_days(invocation: Invocation, preview: Preview) -> None:
    """Show how many files are deleted in all by when, under the rules in force and under these."""
    from service.cli.tables import make_table, number, prose

    before, after = (list(accumulate(days)) for days in (preview.forecast.in_force, preview.forecast.candidate))
    rows = [(f"day {day}" if day else "now", f"{before[day]:,}", f"{after[day]:,}") for day in _DAYS]
    columns = [prose("deleted by"), number("rules in force"), number("these rules")]
    invocation.show(make_table(invocation.out, columns, rows))


def _list_sooner(invocation: Invocation, service: Service, preview: int, limit: int | None) -> Iterator[ComparedFile]:
    from service.views.rules import list_sooner

    after, left = 0, limit
    while left is None or left > 0:
        size = _PAGE if left is None else min(_PAGE, left)
        page = list_sooner(service.database, service.reader, preview, invocation.now(), size, after)
        yield from page.items
        if page.next_cursor is None:
            return
        after = page.items[-1].id
        left = None if left is None else left - len(page.items)


def _make_columns() -> tuple[Column[ComparedFile], ...]:
    from service.views.listed import Column, Kind

    return (
        Column("id", lambda file: file.id, Kind.NUMBER),
        Column("stream or file id", lambda file: file.stream_id or file.file_id, Kind.PROSE),
        Column("ended", lambda file: file.ended_at, Kind.MOMENT, 2),
        Column("due before", lambda file: file.due_before or "never"),
        Column("due after", lambda file: file.due_after),
        Column("rule", lambda file: file.rule_after, Kind.PROSE, 1),
    )
