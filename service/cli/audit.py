"""`zego-retention audit`: who changed what, and the proof that nobody altered that record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import click

from service.cli.invocation import CommandFailed, ExitCode, Invocation
from service.cli.newest import print_newest
from service.cli.options import as_json, limit, moment, one_json
from service.cli.spreadsheet import csv_lines
from service.cli.tables import make_table, number, prose, word
from service.core.chain import Head, parse_head
from service.db import audit
from service.db.engine import DatabaseUnavailable
from service.usecases.auditing import AuditAction, chain_entries, export_entries, list_entries, verify_chain

if TYPE_CHECKING:
    from datetime import datetime

    from service.usecases.auditing import Verified
    from service.wiring import Service

_COLUMNS: Final = ("id", "at", "actor", "through", "action", "subject", "detail", "position", "hash")
_SHOWN: Final = 160


@click.group("audit")
def audit_group() -> None:
    """The record of who changed what: list, verify, export."""


@audit_group.command("list")
@click.option(
    "--action",
    type=click.Choice([action.value for action in AuditAction]),
    metavar="ACTION",
    help="Only changes of this kind, for example place_hold.",
)
@limit
@as_json
@click.pass_obj
def list_command(invocation: Invocation, action: str | None, limit: int | None, as_json: bool) -> int:  # noqa: FBT001
    """List changes, the newest first."""
    kind = AuditAction(action) if action else None
    with invocation.opened() as service:
        _chain(invocation, service)
        return print_newest(
            invocation,
            service.database,
            lambda most: list_entries(service.database, limit=most, action=kind),
            lambda session: audit.count_entries(session, action),
            _show_list,
            limit,
            as_json=as_json,
        )


def _show_list(invocation: Invocation, found: list[dict[str, Any]]) -> None:
    if not found:
        invocation.note("no entries")
        return
    columns = [number("id"), word("at"), prose("who"), prose("through"), word("action"), prose("subject")]
    rows = (
        (e["id"], f"{e['at'][:19]}Z", e["actor"], e["through"], e["action"], e["subject"], _brief(e["detail"]))
        for e in found
    )
    invocation.show(make_table(invocation.out, [*columns, prose("detail")], rows))


def _brief(detail: object) -> str:
    text = json.dumps(detail, ensure_ascii=False) if detail else ""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… (whole with --json)"


def _noted_head(_context: click.Context, _option: click.Parameter, text: str | None) -> Head | None:
    try:
        return None if text is None else parse_head(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@audit_group.command("verify")
@click.option("--head", metavar="POSITION:HASH", callback=_noted_head, help="A head noted earlier: is it still there?")
@one_json
@click.pass_obj
def verify_command(invocation: Invocation, head: Head | None, as_json: bool) -> int:  # noqa: FBT001
    """Walk the whole chain, and say whether every entry is as it was written."""
    with invocation.opened() as service:
        _chain(invocation, service)
        verified = verify_chain(service.database, head)
    if as_json:
        invocation.print_json([verified.as_json()])
    if verified.fault is not None:
        raise CommandFailed(f"the audit was tampered with: {verified.fault}")
    if not as_json:
        _show_verified(invocation, verified, has_noted=head is not None)
    return ExitCode.DONE


def _show_verified(invocation: Invocation, verified: Verified, *, has_noted: bool) -> None:
    noted = ", and the head given is among them" if has_noted else ""
    position = verified.head.position
    invocation.show(f"{_entries(position)} chained, all as they were written{noted}.")
    if verified.unchained:
        invocation.show(f"{_entries(verified.unchained)} not chained yet.")
    if position:
        invocation.show(f"head  {verified.head}", "Note the head down elsewhere, and give it to --head the next time.")


def _entries(many: int) -> str:
    return f"{many:,} {'entry' if many == 1 else 'entries'}"


@audit_group.command("export")
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl", help="JSON Lines, or CSV.")
@click.option("--since", type=moment, metavar="TIME", help="Only entries from this time on.")
@click.pass_obj
def export_command(invocation: Invocation, form: str, since: datetime | None) -> int:
    """Print the whole audit, the oldest entry first."""
    with invocation.opened() as service:
        _chain(invocation, service)
        entries = export_entries(service.database, since)
        if form == "jsonl":
            invocation.print_json(entries)
        else:
            for line in csv_lines(_COLUMNS, entries):
                invocation.print_plain(line)
    return ExitCode.DONE


def _chain(invocation: Invocation, service: Service) -> None:
    """Chain what is new, so that it is seen with its place. A database that can only be read is no hindrance."""
    try:
        chain_entries(service.database)
    except DatabaseUnavailable as error:
        invocation.note(f"new entries could not be chained: {error}")
