"""`zego-retention audit`: who changed what, what came of it, and the proof that nobody altered that record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from service.cli.invocation import CommandFailed, ExitCode, Invocation
from service.cli.options import NUMBER, as_json, limit, one_json
from service.units import count_of

if TYPE_CHECKING:
    from service.views.audit import AuditProof


@click.group("audit")
def audit_group() -> None:
    """The record of who changed what: list, order, verify, export."""


@audit_group.command("list")
@click.option("--action", metavar="ACTION", help="Only changes of this kind, for example hold.place.")
@click.option("--by", "actor", metavar="NAME", help="Only changes by this person or token.")
@limit
@as_json
@click.pass_obj
def list_command(
    invocation: Invocation, /, *, action: str | None, actor: str | None, limit: int | None, as_json: bool
) -> int:
    """List changes, the newest first."""
    from service.audit.store import AuditFilter
    from service.cli.lists import print_list
    from service.views.audit import AUDIT

    return print_list(invocation, AUDIT, AuditFilter(action, actor), limit, as_json=as_json)


@audit_group.command("order")
@click.argument("number", type=NUMBER)
@one_json
@click.pass_obj
def order_command(invocation: Invocation, /, *, number: int, as_json: bool) -> int:
    """Show what came of an order, by the number of its entry."""
    from service.cli.lists import print_forms, show_facts
    from service.views.audit import show_order

    with invocation.opened() as service:
        order = show_order(service.database, number)
    if as_json:
        print_forms(invocation, [order])
    else:
        show_facts(invocation, order, skip=("failure",))
    return ExitCode.DONE


@audit_group.command("verify")
@click.option("--head", metavar="NUMBER:HASH", help="A head noted earlier: is it still there?")
@one_json
@click.pass_obj
def verify_command(invocation: Invocation, /, *, head: str | None, as_json: bool) -> int:
    """Follow the whole chain, and say whether every entry is as it was written."""
    from service.audit.chain import parse_head
    from service.cli.lists import print_forms
    from service.views.audit import verify_audit

    try:
        noted = None if head is None else parse_head(head)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--head") from None
    with invocation.opened() as service:
        proof = verify_audit(service.database, noted)
    if as_json:
        print_forms(invocation, [proof])
    if proof.fault is not None:
        raise CommandFailed(f"the audit was altered: {proof.fault}")
    if not as_json:
        _show_proof(invocation, proof, has_noted=noted is not None)
    return ExitCode.DONE


@audit_group.command("export")
@click.option("--after", type=NUMBER, default=None, help="Only entries beyond this number.")
@click.pass_obj
def export_command(invocation: Invocation, /, *, after: int | None) -> int:
    """Print every entry as a line of JSON, the oldest first."""
    from service.cli.lists import print_forms
    from service.views.audit import export_audit

    with invocation.opened() as service:
        print_forms(invocation, export_audit(service.database, after or 0))
    return ExitCode.DONE


def _show_proof(invocation: Invocation, proof: AuditProof, *, has_noted: bool) -> None:
    noted = ", and the head given is among them" if has_noted else ""
    invocation.show(f"{count_of(proof.entries, 'entry', 'entries')}, all as they were written{noted}.")
    if proof.entries:
        invocation.show(f"head  {proof.head}", "Note the head down elsewhere, and give it to --head the next time.")
