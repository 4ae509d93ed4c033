"""`zego-retention audit`: who changed what, what came of it, and the proof that nobody altered that record."""

from __future__ import annotations

import click

from service.cli.invocation import CommandFailed, ExitCode, Invocation
from service.cli.lists import add_list, print_forms, show_facts
from service.cli.options import NUMBER, one_json
from service.units import count_of


@click.group("audit")
def audit_group() -> None:
    """The record of who changed what: list, order, verify, export."""


add_list(
    audit_group,
    "views.audit:AUDIT",
    "List changes, the newest first.",
    click.option("--action", metavar="ACTION", help="Only changes of this kind, for example hold.place."),
    click.option("--by", "actor", metavar="NAME", help="Only changes by this person or token."),
    wanted="filters:AuditFilter",
)


@audit_group.command("order")
@click.argument("number", type=NUMBER)
@one_json
@click.pass_obj
def order_command(invocation: Invocation, /, *, number: int, as_json: bool) -> int:
    """Show what came of an order, by the number of its entry."""
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
        found = "" if noted is None else ", and the head given is among them"
        invocation.show(f"{count_of(proof.entries, 'entry', 'entries')}, all as they were written{found}.")
        invocation.show(f"head  {proof.head}", "Note the head down elsewhere, and give it to --head the next time.")
    return ExitCode.DONE


@audit_group.command("export")
@click.option("--after", type=NUMBER, help="Only entries beyond this number.")
@click.pass_obj
def export_command(invocation: Invocation, /, *, after: int | None) -> int:
    """Print every entry as a line of JSON, the oldest first."""
    from service.views.audit import export_audit

    with invocation.opened() as service:
        print_forms(invocation, export_audit(service.database, after or 0))
    return ExitCode.DONE
