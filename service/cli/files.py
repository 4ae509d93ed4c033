"""`zego-retention files`: the inventory, the fate of one file, and what a person can do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from service.cli.erasures import delete_command
from service.cli.invocation import ExitCode, Invocation
from service.cli.options import NUMBER, as_json, by, limit, name_actor, one_json, read_moment
from service.model import END_STATES, FileState, Vendor
from service.units import count_of

if TYPE_CHECKING:

    from service.views.files import Attempt, Explanation, ExplanationLine, File

_MOMENTS = ("due_before", "due_after")
_UNSHOWN = ("state_reason", "held", "wait_reason", "revision", "attempts")

ids = click.argument("ids", metavar="ID...", type=NUMBER, nargs=-1, required=True)


@click.group("files")
def files_group() -> None:
    """The inventory: list, show, explain, retry, confirm, delete."""


files_group.add_command(delete_command)


@files_group.command("list")
@click.option("--state", type=click.Choice([state.value for state in FileState]), help="Only files in this state.")
@click.option("--app", "app_id", help="Only files of this AppID.")
@click.option("--vendor", type=click.Choice([v.value for v in Vendor]), help="Only files of this vendor.")
@click.option("--stream", metavar="PATTERN", help="Only streams that fit; * and ? are special, as in rules.")
@click.option("--name", metavar="PATTERN", help="Only names that fit: for Ws and Huawei the file id is the name.")
@click.option("--text", help="Only files with this in their file id, stream or name; upper and lower case differ.")
@click.option("--due-before", metavar="TIME", help="Only files due before this time, or for example 7d from now.")
@click.option("--due-after", metavar="TIME", help="Only files due after this time.")
@click.option("--adopted", is_flag=True, default=None, help="Only files that no callback announced, but a listing.")
@click.option("--unknown-stream", is_flag=True, default=None, help="Only files whose stream is not known.")
@limit
@as_json
@click.pass_obj
def list_command(
    invocation: Invocation,
    /,
    *,
    limit: int | None,
    as_json: bool,
    **conditions: Any,  # noqa: ANN401  (as click hands them over, by the names of the filter)
) -> int:
    """List files, the oldest entry first."""
    from service.cli.lists import print_list
    from service.files.list_store import FileFilter
    from service.views.files import FILES

    for name in _MOMENTS:
        if conditions[name] is not None:
            conditions[name] = read_moment(conditions[name], invocation.now())
    state, vendor = conditions.pop("state"), conditions.pop("vendor")
    wanted = FileFilter(state=state and FileState(state), vendor=vendor and Vendor(vendor), **conditions)
    return print_list(invocation, FILES, wanted, limit, as_json=as_json)


@files_group.command("show")
@ids
@as_json
@click.pass_obj
def show_command(invocation: Invocation, /, *, ids: tuple[int, ...], as_json: bool) -> int:
    """Show everything that is known of files."""
    from service.cli.lists import print_forms, show_facts
    from service.views.files import FILES

    with invocation.opened() as service:
        found = [FILES.show(service.database, number) for number in ids]
    if as_json:
        print_forms(invocation, found)
        return ExitCode.DONE
    for position, file in enumerate(found):
        if position:
            invocation.show("")
        show_facts(invocation, file, first=_begin(file), last=_describe_last(file, invocation), skip=_UNSHOWN)
    return ExitCode.DONE


@files_group.command("explain")
@click.argument("file", metavar="ID", type=NUMBER)
@one_json
@click.pass_obj
def explain_command(invocation: Invocation, /, *, file: int, as_json: bool) -> int:
    """Say why a file is kept or deleted, and what happens next."""
    from service.cli.lists import print_forms
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
    from service.files.lists import FileFilter, list_files

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
    late = _name("had neither failed nor waited any more", result["too_late"])
    return f"{count_of(result['retried'], 'file')} will be asked for again by the next sweep.{late}"


def _describe_confirmed(result: dict[str, Any]) -> str:
    again = _name("became suspicious again meanwhile: see `zego-retention files explain ID`", result["suspected_again"])
    late = _name("had ended or was confirmed meanwhile", result["too_late"])
    return f"{count_of(result['confirmed'], 'file')} confirmed.{again}{late}"


def _name(what: str, numbers: list[int]) -> str:
    return f"\n{what.capitalize()}: file {', '.join(map(str, numbers))}." if numbers else ""


def _begin(file: File) -> list[tuple[str, object]]:
    return [("state", f"{file.state.value}: {file.state_reason}" if file.state_reason else file.state.value)]


def _describe_last(file: File, invocation: Invocation) -> list[tuple[str, object]]:
    from service.cli.wording import absolute

    last = file.last_outcome
    if last is None:
        return [("attempts", file.attempts)]
    answer = " ".join(part for part in (last.code, last.message) if part)
    request = f", request {last.request_id}" if last.request_id else ""
    text = f"{last.outcome} {absolute(last.at, invocation.now())}: {answer}{request}"
    return [("attempts", file.attempts), ("last outcome", text)]


def _show_explanation(invocation: Invocation, found: Explanation) -> None:
    from service.cli.lists import show_rows
    from service.cli.tables import make_facts
    from service.cli.wording import absolute
    from service.views.listed import Column, Kind

    file, now = found.file, invocation.now()
    has_ended = file.state in END_STATES
    name = file.name or file.file_id
    facts: list[tuple[str, object]] = [
        ("file", f"{file.id}: {file.vendor} {name}"),
        ("app", file.app_id),
        ("stream", file.stream_id or "not known"),
        ("state", file.state),
        ("why", file.state_reason if has_ended else found.reason),
        ("due", "-" if found.due_at is None else f"{absolute(found.due_at, now)}: {found.date}"),
        *((label, text) for label, text in (("waits", found.wait), ("rank", found.latest)) if text),
    ]
    if found.applied is not None:
        applied = found.applied
        today = "" if applied.number == found.revision_in_force else f"; today it is {found.revision_in_force}"
        when = f"applied {absolute(applied.applied_at, now)} by {applied.applied_by} from {applied.source}"
        facts.append(("rules", f"revision {applied.number}, {when}{today}"))
    facts += [("in the way", text) for text in found.obstacles]
    invocation.show(make_facts([*facts, ("next", found.next_step)]), "")
    if found.lines:
        invocation.show("What counted then, in this order:" if has_ended else "What counts, in this order:", "")
        columns: tuple[Column[ExplanationLine], ...] = (
            Column("rule", lambda line: line.name, Kind.PROSE),
            Column("result", lambda line: line.result),
            Column("why", lambda line: line.why, Kind.PROSE),
        )
        show_rows(invocation, columns, found.lines)
    elif has_ended:
        invocation.show("This service never asked ZEGO to delete it.")
    if file.timeline:
        invocation.show("")
        attempts: tuple[Column[Attempt], ...] = (
            Column("attempt", lambda attempt: attempt.opened_at, Kind.MOMENT),
            Column("run", lambda attempt: attempt.run, Kind.NUMBER, 1),
            Column("outcome", lambda attempt: attempt.outcome or "open"),
            Column("code", lambda attempt: attempt.code),
            Column("message", lambda attempt: attempt.message, Kind.PROSE),
            Column("request id", lambda attempt: attempt.request_id, Kind.PROSE, 2),
        )
        show_rows(invocation, attempts, file.timeline)
