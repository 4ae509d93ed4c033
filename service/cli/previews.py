"""`zego-retention previews`: what other rules would do, as people see it, and how they agree to it."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Final

import click

from service.cli.invocation import CommandFailed, ExitCode, Invocation
from service.cli.options import LISTED, NUMBER, as_json, limit
from service.units import count_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.views.rules import Amount, ComparedFile, Forecast, NamedAmount, Preview
    from service.wiring import Service

_CHANGES: Final = {
    "newly_due_now": "newly due: now",
    "newly_due_in_7_days": "newly due: within 7 days, now included",
    "newly_due_in_30_days": "newly due: within 30 days, these included",
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


@previews_group.command("list")
@limit
@as_json
@click.pass_obj
def list_command(invocation: Invocation, /, *, limit: int | None, as_json: bool) -> int:
    """List previews, the newest first."""
    from service.cli.lists import print_list
    from service.views.rules import PREVIEWS

    return print_list(invocation, PREVIEWS, None, limit, as_json=as_json)


@previews_group.command("show")
@click.argument("preview", metavar="ID", type=NUMBER)
@click.option("--files", is_flag=True, help="List the files that become due sooner, as they are now.")
@limit
@as_json
@click.pass_obj
def show_command(invocation: Invocation, /, *, preview: int, files: bool, limit: int | None, as_json: bool) -> int:
    """Show one preview; with --files, every file that becomes due sooner by it."""
    from service.cli.lists import print_forms
    from service.views.rules import PREVIEWS

    with invocation.opened() as service:
        found = PREVIEWS.show(service.database, preview)
        if files and as_json:
            print_forms(invocation, _list_sooner(invocation, service, preview, limit))
        elif files:
            _show_files(invocation, service, found, limit or LISTED)
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
    _show_days(invocation, {"rules in force": preview.forecast.in_force, "these rules": preview.forecast.candidate})
    for rule in preview.effects:
        if rule.rule is not None and not (rule.kept or rule.later or rule.due):
            invocation.show("", f'Rule "{safe(rule.rule)}" decides no file.')
    for unknown in preview.unknown_apps:
        invocation.show("", f'Rule "{safe(unknown.rule)}" names app {unknown.app}, which is not configured.')
    for app in preview.emptied_apps:
        invocation.show("", f"These rules would delete every file of app {app}.")
    if preview.sooner_count:
        share = f"{preview.sooner_count:,} of {count_of(preview.files, 'file')}"
        wait = f"; they wait for the cooling-off of {preview.cooling_off}" if preview.cooling_off_s else ""
        listed = f"`zego-retention previews show {preview.id} --files` lists them"
        invocation.show("", f"Due sooner: {share}{wait}; {listed}.")
    invocation.show("", f"To put these rules in force: `zego-retention rules apply --preview {preview.id}`")


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


def show_forecast(invocation: Invocation, found: Forecast) -> None:
    """Print a forecast for people."""
    by = f"under revision {found.revision}" if found.revision else "without any rules"
    invocation.show(f"{count_of(found.count, 'file').capitalize()} {by}", "")
    parts = {"state": found.by_state, "rule": found.by_rule, "app": found.by_app, "vendor": found.by_vendor}
    for name, amounts in parts.items():
        _show_amounts(invocation, name, amounts)
    _show_days(invocation, {"files": found.days})


def _show_effects(invocation: Invocation, preview: Preview) -> None:
    from service.cli.lists import describe_counts
    from service.cli.tables import make_table, number, prose

    unjudged = any(effect.unjudged for effect in preview.effects)
    columns = [prose("rule"), number("keeps"), number("deletes later"), number("deletes now")]
    rows = [
        [effect.rule or "(no rule)", f"{effect.kept:,}", f"{effect.later:,}", f"{effect.due:,}"]
        for effect in preview.effects
    ]
    if unjudged:
        columns.append(prose("keeps for lack of"))
        for row, effect in zip(rows, preview.effects, strict=True):
            row.append(describe_counts(effect.unjudged) if effect.unjudged else "-")
    invocation.show(make_table(invocation.out, columns, rows), "")


def _show_changes(invocation: Invocation, preview: Preview) -> None:
    changes = [(text, preview.changes[name]) for name, text in _CHANGES.items()]
    amounts: list[tuple[str, Amount]] = [(text, change) for text, change in changes if change.count]
    if amounts:
        _show_table_of_amounts(invocation, "files", amounts)


def _show_amounts(invocation: Invocation, name: str, amounts: list[NamedAmount]) -> None:
    if amounts:
        _show_table_of_amounts(invocation, name, [(amount.name or "(none)", amount) for amount in amounts])


def _show_table_of_amounts(invocation: Invocation, name: str, amounts: list[tuple[str, Amount]]) -> None:
    from service.cli.tables import make_table, number, prose
    from service.cli.wording import size

    columns = [prose(name), number("number"), number("recorded hours"), number("size"), number("size unknown")]
    rows = [
        (
            text,
            f"{each.count:,}",
            _describe_hours(each),
            size(each.bytes) if each.bytes else "-",
            each.unknown_sizes or "-",
        )
        for text, each in amounts
    ]
    drop_first = ("size unknown", "recorded hours", "size")
    invocation.show(make_table(invocation.out, columns, rows, drop_first=drop_first), "")


def _describe_hours(amount: Amount) -> str:
    known = "-" if amount.hours is None else f"{amount.hours:,.1f}"
    return f"{known} (+ {amount.unknown_durations:,} unknown)" if amount.unknown_durations else known


def _show_days(invocation: Invocation, days: dict[str, list[int]]) -> None:
    """Show how many files are deleted in all by when, a column for each set of rules."""
    from service.cli.tables import make_table, number, prose

    sums = {name: list(accumulate(counts)) for name, counts in days.items()}
    rows = [("now" if day == 0 else f"day {day}", *(f"{counts[day]:,}" for counts in sums.values())) for day in _DAYS]
    invocation.show(make_table(invocation.out, [prose("deleted by"), *map(number, sums)], rows))


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


def _show_files(invocation: Invocation, service: Service, preview: Preview, limit: int) -> None:
    from service.cli.lists import show_rows
    from service.cli.wording import relative
    from service.views.listed import Column, Kind

    now = invocation.now()
    found = list(_list_sooner(invocation, service, preview.id, limit))
    columns: tuple[Column[ComparedFile], ...] = (
        Column("id", lambda file: file.id, Kind.NUMBER),
        Column("stream or file id", lambda file: file.stream_id or file.file_id, Kind.PROSE),
        Column("ended", lambda file: file.ended_at, Kind.MOMENT, 2),
        Column("due before", lambda file: relative(file.due_before, now) if file.due_before else "never"),
        Column("due after", lambda file: file.due_after, Kind.MOMENT),
        Column("rule", lambda file: file.rule_after, Kind.PROSE, 1),
    )
    if found:
        show_rows(invocation, columns, found)
    more = preview.sooner_count - len(found)
    if not found:
        invocation.note("no file becomes due sooner by it")
    elif more > 0 and len(found) == limit:
        invocation.note(f"{more:,} more: see them with --limit or --json")
