"""`zego-retention files delete` and `zego-retention erasures`: files that are deleted because somebody asks for it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from service.cli.holds import choose_app
from service.cli.invocation import CommandFailed, Invocation
from service.cli.lists import add_list, add_show, describe_counts
from service.cli.options import NUMBER, by, name_actor, one_json
from service.units import count_of

if TYPE_CHECKING:
    from service.files.erase import ErasurePreview


@click.group("erasures")
def erasures_group() -> None:
    """What `files delete` was asked to delete: list, show."""


add_list(erasures_group, "views.holds:ERASURES", "List erasures, the newest first.")
add_show(erasures_group, "views.holds:ERASURES", "Show an erasure, and how its files stand now.")


@click.command("delete")
@click.argument("files", metavar="[ID]...", type=NUMBER, nargs=-1)
@click.option(
    "--stream", "stream_pattern", metavar="PATTERN", help="The files of the streams that fit, not those to come."
)
@click.option("--app", "app_id", help="The AppID of the streams; not needed where one app is configured.")
@click.option("--reason", required=True, help="Why, for the record.")
@click.option("--count", type=NUMBER, metavar="N", help="Do it without asking, if it takes N files; else do nothing.")
@by
@one_json
@click.pass_obj
def delete_command(
    invocation: Invocation,
    /,
    *,
    count: int | None,
    by: str | None,
    as_json: bool,
    **target: Any,  # noqa: ANN401
) -> int:
    """Have files deleted because somebody asks for it, whatever the rules say; the next sweep does it.

    Shows first what would be deleted; then the number of files is to be typed, or given with --count. Held files stay
    until they are released, unconfirmed ones until they are confirmed.
    """
    from service.cli.orders import report_order
    from service.files.erase import ErasureRequest, erase_files, preview_erasure

    if bool(target["files"]) == (target["stream_pattern"] is not None):
        raise click.UsageError("give either IDs or --stream")
    with invocation.opened() as service:
        if not target["files"]:
            target["app_id"] = choose_app(service, target["app_id"])
        request, apps = ErasureRequest(**target), service.app_ids
        if count is None:
            count = _ask(invocation, preview_erasure(service.database, request, known_apps=apps))
        actor, now = name_actor(by), invocation.now()
        _, order = erase_files(service.database, actor, request, now, known_apps=apps, expect=count)
        return report_order(invocation, service, order, _describe_erased, as_json=as_json)


def _ask(invocation: Invocation, preview: ErasurePreview) -> int:
    """Show what would be deleted, and have the number of files typed; nothing is done without it."""
    files = count_of(preview.files, "file")
    parts = [f"{files} would be deleted: {describe_counts(preview.by_state)}; {describe_counts(preview.by_vendor)}."]
    if preview.held or preview.unconfirmed:
        parts.append(f"Of these, {preview.held:,} held and {preview.unconfirmed:,} unconfirmed stay until that ends.")
    if preview.unknown_stream:
        parts.append(f"Not deleted: {count_of(preview.unknown_stream, 'file')} whose stream is not known.")
    if preview.ended:
        parts.append(f"Not there any more: {count_of(preview.ended, 'file')} of those named.")
    invocation.err.print("\n".join(parts))
    if not preview.files:
        raise CommandFailed("nothing was done: no file that is still there fits")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CommandFailed(f"nothing was done; to delete {files}, add --count {preview.files}")
    typed: int = click.prompt(f"Type the number of files to delete ({preview.files})", type=int, err=True)
    if typed != preview.files:
        raise CommandFailed(f"{typed} is not {preview.files}: nothing was done")
    return typed


def _describe_erased(result: dict[str, Any]) -> str:
    text = f"Erasure {result['erasure']} takes {count_of(result['files'], 'file')}; the next sweep deletes them."
    if result["held"] or result["unconfirmed"]:
        text += f"\nOf these, {result['held']:,} held and {result['unconfirmed']:,} unconfirmed stay until that ends."
    if result["unknown_stream"]:
        text += f"\nNot deleted: {count_of(result['unknown_stream'], 'file')} whose stream is not known."
    return text
