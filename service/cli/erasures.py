"""`zego-retention files delete` and `zego-retention erasures`: files that are deleted because somebody asks for it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from service.cli.holds import choose_app
from service.cli.invocation import CommandFailed, ExitCode, Invocation
from service.cli.options import NUMBER, as_json, by, limit, name_actor, one_json
from service.units import count_of

if TYPE_CHECKING:
    from service.files.erase import ErasurePreview


@click.command("delete")
@click.argument("ids", metavar="[ID]...", type=NUMBER, nargs=-1)
@click.option("--stream", metavar="PATTERN", help="Every file of the streams that fit; files to come are not.")
@click.option("--app", help="The AppID of the streams; not needed where one app is configured.")
@click.option("--reason", required=True, help="Why, for the record.")
@click.option("--count", type=NUMBER, metavar="N", help="Do it without asking, if it takes N files; else do nothing.")
@by
@one_json
@click.pass_obj
def delete_command(
    invocation: Invocation,
    /,
    *,
    ids: tuple[int, ...],
    stream: str | None,
    app: str | None,
    reason: str,
    count: int | None,
    by: str | None,
    as_json: bool,
) -> int:
    """Have files deleted because somebody asks for it, whatever the rules say; the next sweep does it.

    Shows first what would be deleted; then the number of files is to be typed, or given with --count. Held files stay
    until they are released, unconfirmed ones until they are confirmed.
    """
    from service.cli.orders import report_order
    from service.files.erase import ErasureRequest, erase_files, preview_erasure

    if bool(ids) == (stream is not None):
        raise click.UsageError("give either IDs or --stream")
    with invocation.opened() as service:
        app_id = app if stream is None else choose_app(service, app)
        request = ErasureRequest(reason, ids, app_id, stream)
        if count is None:
            preview = preview_erasure(service.database, request, known_apps=service.app_ids)
            _show_preview(invocation, preview, as_json=as_json)
            count = _ask(preview)
        erasure, order = erase_files(
            service.database,
            name_actor(by),
            request,
            invocation.now(),
            known_apps=service.app_ids,
            expect=count,
        )
        if not as_json:
            invocation.show(f"Erasure {erasure} is in force.")
        return report_order(invocation, service, order, _describe_erased, as_json=as_json)


@click.group("erasures")
def erasures_group() -> None:
    """What `files delete` was asked to delete: list, show."""


@erasures_group.command("list")
@limit
@as_json
@click.pass_obj
def list_command(invocation: Invocation, /, *, limit: int | None, as_json: bool) -> int:
    """List erasures, the newest first."""
    from service.cli.lists import print_list
    from service.views.holds import ERASURES

    return print_list(invocation, ERASURES, None, limit, as_json=as_json)


@erasures_group.command("show")
@click.argument("erasure", metavar="ID", type=NUMBER)
@one_json
@click.pass_obj
def show_command(invocation: Invocation, /, *, erasure: int, as_json: bool) -> int:
    """Show an erasure, and how its files stand now."""
    from service.cli.lists import print_forms, show_facts
    from service.views.holds import ERASURES

    with invocation.opened() as service:
        found = ERASURES.show(service.database, erasure)
    if as_json:
        print_forms(invocation, [found])
        return ExitCode.DONE
    numbers = ", ".join(map(str, found.file_numbers)) or None
    show_facts(invocation, found, last=[("file numbers", numbers)] if numbers else ())
    return ExitCode.DONE


def _show_preview(invocation: Invocation, preview: ErasurePreview, *, as_json: bool) -> None:
    from service.cli.lists import describe_counts, print_forms
    from service.views.holds import ErasurePreview as Form

    if as_json:
        print_forms(invocation, [Form.model_validate(preview)])
        return
    parts = [f"{count_of(preview.files, 'file')} would be deleted"]
    if preview.files:
        parts.append(f"by state: {describe_counts(preview.by_state)}; by vendor: {describe_counts(preview.by_vendor)}")
    if preview.held or preview.unconfirmed:
        parts.append(f"of these, {preview.held:,} held and {preview.unconfirmed:,} unconfirmed stay until that ends")
    if preview.unknown_stream:
        parts.append(f"not deleted are {count_of(preview.unknown_stream, 'file')} whose stream is not known")
    if preview.ended:
        parts.append(f"{preview.ended:,} of those named are not there any more")
    invocation.show(*(f"{part[0].upper()}{part[1:]}." for part in parts))


def _ask(preview: ErasurePreview) -> int:
    """The number that a person types; nothing is done without one."""
    if not preview.files:
        raise CommandFailed("nothing was done: no file that is still there fits")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CommandFailed(
            f"nothing was done; to delete {count_of(preview.files, 'file')}, add --count {preview.files}"
        )
    typed: int = click.prompt(f"Type the number of files to delete ({preview.files})", type=int, err=True)
    if typed != preview.files:
        raise CommandFailed(f"{typed} is not {preview.files}: nothing was done")
    return typed


def _describe_erased(result: dict[str, Any]) -> str:
    kept = []
    if result["held"]:
        kept.append(f"{result['held']:,} held ones stay until they are released")
    if result["unconfirmed"]:
        kept.append(f"{result['unconfirmed']:,} unconfirmed ones stay until they are confirmed")
    text = f"The next sweep deletes {count_of(result['files'], 'file')}{''.join(f'; {part}' for part in kept)}."
    if result["unknown_stream"]:
        text += f"\nNot deleted: {count_of(result['unknown_stream'], 'file')} of the app whose stream is not known."
    return text
