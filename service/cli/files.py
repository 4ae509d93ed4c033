"""`zego-retention files`: the inventory, the fate of one file, and what a person can do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from service.cli.erasures import delete_command
from service.cli.invocation import ExitCode, Invocation
from service.cli.lists import add_list, print_forms, show_facts
from service.cli.options import MOMENT, NUMBER, OneOf, as_json, by, name_actor, one_json
from service.model import END_STATES, FileState, Vendor
from service.units import count_of

if TYPE_CHECKING:
    from service.views.files import Explanation, FileDetail

ids = click.argument("ids", metavar="ID...", type=NUMBER, nargs=-1, required=True)


@click.group("files")
def files_group() -> None:
    """The inventory: list, show, explain, retry, confirm, delete."""


files_group.add_command(delete_command)


add_list(
    files_group,
    "views.files:FILES",
    "List files, the oldest entry first.",
    click.option("--state", type=OneOf(FileState), help="Only files in this state."),
    click.option("--app", "app_id", help="Only files of this AppID."),
    click.option("--vendor", type=OneOf(Vendor), help="Only files of this vendor."),
    click.option("--stream", metavar="PATTERN", help="Only streams that fit; * and ? are special, as in rules."),
    click.option("--name", metavar="PATTERN", help="Only names that fit: for Ws and Huawei the file id is the name."),
    click.option("--text", help="Only files with this in file id, stream or name; upper and lower case differ."),
    click.option("--due-before", type=MOMENT, help="Only files due before this time, or for example 7d from now."),
    click.option("--due-after", type=MOMENT, help="Only files due after this time."),
    click.option("--adopted", is_flag=True, default=None, help="Only files that a listing shows, and no callback."),
    click.option("--unknown-stream", is_flag=True, default=None, help="Only files whose stream is not known."),
    wanted="filters:FileFilter",
)


@files_group.command("show")
@ids
@as_json
@click.pass_obj
def show_command(invocation: Invocation, /, *, ids: tuple[int, ...], as_json: bool) -> int:
    """Show everything that is known of files."""
    from service.views.files import FILES

    with invocation.opened() as service:
        found = [FILES.show(service.database, number) for number in ids]
    if as_json:
        print_forms(invocation, found)
        return ExitCode.DONE
    for file in found:
        show_facts(invocation, file, skip=("last_outcome", "timeline"))
        _show_attempts(invocation, file)
        invocation.show("")
    return ExitCode.DONE


@files_group.command("explain")
@click.argument("file", metavar="ID", type=NUMBER)
@one_json
@click.pass_obj
def explain_command(invocation: Invocation, /, *, file: int, as_json: bool) -> int:
    """Say why a file is kept or deleted, and what happens next."""
    from service.views.files import explain_file

    with invocation.opened() as service:
        explanation = explain_file(service.database, service.reader, file, invocation.now())
    if as_json:
        print_forms(invocation, [explanation])
    else:
        _show_explanation(invocation, explanation)
    return ExitCode.DONE


@files_group.command("retry")
@click.argument("ids", metavar="[ID]...", type=NUMBER, nargs=-1)
@click.option("--all-failed", is_flag=True, help="Every file that is failed.")
@by
@one_json
@click.pass_obj
def retry_command(
    invocation: Invocation, /, *, ids: tuple[int, ...], all_failed: bool, by: str | None, as_json: bool
) -> int:
    """Start over with files that failed, or that wait for their next attempt."""
    from service.cli.orders import report_order
    from service.files.actions import retry_files
    from service.files.lists import list_files
    from service.filters import FileFilter

    if bool(ids) == all_failed:
        raise click.UsageError("give either IDs or --all-failed")
    with invocation.opened() as service:
        wanted = ids or [file.id for file in list_files(service.database, FileFilter(state=FileState.FAILED))]
        if not wanted:
            invocation.note("no file is failed")
            return ExitCode.DONE
        order = retry_files(service.database, name_actor(by), wanted, invocation.now())
        return report_order(invocation, service, order, _describe_retried, as_json=as_json)


@files_group.command("confirm")
@ids
@by
@one_json
@click.pass_obj
def confirm_command(invocation: Invocation, /, *, ids: tuple[int, ...], by: str | None, as_json: bool) -> int:
    """Confirm that unconfirmed files are what they seem to be: from now on the rules decide them."""
    from service.cli.orders import report_order
    from service.files.actions import confirm_files

    with invocation.opened() as service:
        order = confirm_files(service.database, name_actor(by), ids, invocation.now())
        return report_order(invocation, service, order, _describe_confirmed, as_json=as_json)


def _describe_retried(result: dict[str, Any]) -> str:
    late = _name("these had neither failed nor waited any more", result["too_late"])
    return f"{count_of(result['retried'], 'file')} will be asked for again by the next sweep.{late}"


def _describe_confirmed(result: dict[str, Any]) -> str:
    again = _name("these became suspicious again meanwhile", result["suspected_again"])
    late = _name("these had ended or were confirmed meanwhile", result["too_late"])
    return f"{count_of(result['confirmed'], 'file')} confirmed.{again}{late}"


def _name(what: str, numbers: list[int]) -> str:
    return f"\nNot done, {what}: file {', '.join(map(str, numbers))}" if numbers else ""


def _show_explanation(invocation: Invocation, found: Explanation) -> None:
    from service.cli.tables import make_table, prose, word
    from service.cli.wording import absolute

    file, applied = found.file, found.applied
    has_ended = file.state in END_STATES
    first: list[tuple[str, object]] = [
        ("file", f"{file.id}: {file.vendor} {file.file_id}, app {file.app_id}"),
        ("stream", file.stream_id or "not known"),
    ]
    if applied is not None:
        at = absolute(applied.applied_at, invocation.now())
        first.append(("decided by", f"revision {applied.number}, applied {at} by {applied.applied_by}"))
    show_facts(invocation, found, first=first, skip=("file", "lines", "holds", "erasure", "applied"))
    if found.lines:
        invocation.show("", "What counted then, in this order:" if has_ended else "What counts, in this order:", "")
        rows = [(line.name, line.result, line.why) for line in found.lines]
        invocation.show(make_table(invocation.out, [prose("rule"), word("result"), prose("why")], rows))
    elif has_ended:
        invocation.show("", "This service never asked ZEGO to delete it.")
    _show_attempts(invocation, file)


def _show_attempts(invocation: Invocation, file: FileDetail) -> None:
    from service.cli.tables import make_table, number, prose, word
    from service.cli.wording import relative

    columns = [word("attempt"), number("run"), word("outcome"), word("code"), prose("message"), prose("request id")]
    rows = [
        (
            relative(each.opened_at, invocation.now()),
            each.run,
            each.outcome or "open",
            each.code,
            each.message,
            each.request_id,
        )
        for each in file.timeline
    ]
    if rows:
        table = make_table(invocation.out, columns, rows, drop_first=("request id", "run"))
        invocation.show("", table)
