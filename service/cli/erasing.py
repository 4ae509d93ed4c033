"""`zego-retention files delete`: erasure on request, previewed and typed out before it is done."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from service.cli.holds import default_app
from service.cli.invocation import CommandFailed, ExitCode, Invocation
from service.cli.options import NUMBER, actor, by, one_json
from service.cli.tables import make_table, number, prose, show_progress, word
from service.cli.wording import parse_moment, relative
from service.core.wording import count
from service.usecases.erasing import ErasureRequest, NotAsExpected, preview_erasure, request_erasure

if TYPE_CHECKING:
    from service.wiring import Service

_ENDLESS_S = float("inf")


@click.command("delete")
@click.argument("ids", type=NUMBER, nargs=-1)
@click.option("--stream", metavar="PATTERN", help="Every file of the streams that fit; files to come are not.")
@click.option("--app", help="The AppID of the streams; not needed where one app is configured.")
@click.option("--reason", required=True, help="Why, for the record.")
@click.option(
    "--expect", type=click.IntRange(0), metavar="N", help="Do it if N files would be deleted, without asking."
)
@click.option("--digest", help="With --expect: only if they are the files of the preview that told this digest.")
@by
@one_json
@click.pass_obj
def delete_command(  # noqa: PLR0913, PLR0917 (an option each)
    invocation: Invocation,
    ids: tuple[int, ...],
    stream: str | None,
    app: str | None,
    reason: str,
    expect: int | None,
    digest: str | None,
    by: str | None,
    as_json: bool,  # noqa: FBT001
) -> int:
    """Let files go because somebody asks for it, whatever the rules say; the next sweep deletes them.

    Held files stay. Shows what would be deleted, and asks for the number of files to be typed, or takes it from
    --expect. What was shown when the number was typed is what goes, or nothing.
    """
    if bool(ids) == (stream is not None):
        raise click.UsageError("give either IDs or --stream")
    if digest is not None and expect is None:
        raise click.UsageError("--digest goes with --expect")
    with invocation.opened() as service:
        request = ErasureRequest(ids, app or (default_app(service) if stream is not None else None), stream, reason)
        known = service.app_ids
        preview = preview_erasure(service.database, request, invocation.now(), known_apps=known)
        if expect is None:
            _show_preview(invocation, preview, as_json=as_json)
            expect, digest = _ask(preview), preview["digest"]
        erasure = _request(invocation, service, request, expect, digest, by)
    if as_json:
        invocation.print_json([erasure])
    else:
        taken = f"Erasure {erasure['id']} takes {count(erasure['files'], 'file')}"
        invocation.show(f"{taken}, {expect:,} of them free to go; the next sweep deletes those.")
    return ExitCode.DONE


def _request(
    invocation: Invocation,
    service: Service,
    request: ErasureRequest,
    expect: int,
    digest: str | None,
    by: str | None,
) -> dict[str, Any]:
    with show_progress(invocation.err, "telling files", expect) as progress:
        try:
            return request_erasure(
                service.database,
                request,
                expect,
                actor(by),
                invocation.now(),
                known_apps=service.app_ids,
                patience_s=_ENDLESS_S,
                digest=digest,
                progress=progress,
            )
        except NotAsExpected as error:
            numbers = _list_numbers(error.preview)
            raise CommandFailed(f"{error} ({numbers})" if numbers else str(error)) from None


def _ask(preview: dict[str, Any]) -> int:
    """The number that a person types; nothing is done without one."""
    waiting = preview["held"] + preview["unconfirmed"]
    if not preview["files"] and not waiting:
        raise CommandFailed("nothing was done: no file that is still there fits")
    if not preview["files"]:
        later = f"--expect 0 --digest {preview['digest']}"
        raise CommandFailed(
            f"nothing was done: {count(waiting, 'file')} would be deleted only once they are free; "
            f"to order that, add {later}"
        )
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        expected = f"--expect {preview['files']} --digest {preview['digest']}"
        raise CommandFailed(f"nothing was done; to delete {count(preview['files'], 'file')}, add {expected}")
    typed: int = click.prompt(f"Type the number of files to delete ({preview['files']})", type=int, err=True)
    if typed != preview["files"]:
        raise CommandFailed(f"{typed} is not {preview['files']}; nothing was done")
    return typed


def _show_preview(invocation: Invocation, preview: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        invocation.print_json([preview])
        return
    invocation.show(f"{count(preview['files'], 'file').capitalize()} would be deleted by the next sweep.")
    numbers = _list_numbers(preview)
    if numbers:
        invocation.show(f"Besides: {numbers}.")
    columns = [word("state or vendor"), number("files")]
    rows = [*preview["by_state"].items(), *preview["by_vendor"].items()]
    if rows:
        invocation.show("", make_table(invocation.out, columns, rows))
    if preview["samples"]:
        columns = [number("id"), prose("stream"), word("vendor"), word("state"), prose("rule"), word("ended")]
        keys = ("id", "stream_id", "vendor", "state", "rule")
        now = invocation.now()
        shown = [
            (*(file[key] for key in keys), relative(parse_moment(file["ended_at"]), now)) for file in preview["samples"]
        ]
        invocation.show("", make_table(invocation.out, columns, shown))


def _list_numbers(preview: dict[str, Any]) -> str:
    by_pattern = preview["stream_pattern"] is not None
    told = {
        "held": "held, which stay until they are released",
        "unconfirmed": f"unconfirmed, which {'no pattern takes' if by_pattern else 'go once they are confirmed'}",
        "failed": "given up before, which are taken up again",
        "ended": "deleted or gone already",
    }
    return "; ".join(f"{preview[key]:,} {text}" for key, text in told.items() if preview[key])
