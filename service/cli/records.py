"""`zego-retention callbacks`, `audit` and `tokens`: what ZEGO sent, who changed what, who may use the API."""

from __future__ import annotations

import base64
import sys
from datetime import datetime
from typing import Any

import click

from service.audit.chain import parse_head
from service.audit.tokens import make_token
from service.audit.tokens import revoke_token as revoke
from service.callbacks.replay import place_replay
from service.cli import orders
from service.cli.frame import CommandFailed, ExitCode, Invocation
from service.cli.show import absolute, note, print_json, safe, show, show_facts, shown_as_json
from service.filters import AuditFilter
from service.model import Role, Verdict
from service.orders import read_order
from service.units import count_of
from service.views import audit
from service.views.callbacks import show_callback as read_callback
from service.views.form import take


def show_callback(invocation: Invocation, *, number: int, raw: bool) -> None:
    if raw and invocation.as_json:
        raise click.UsageError("give either --raw or --json")
    found = read_callback(invocation.service.database, number, Role.ADMIN)
    dropped = "dropped (ZEGO_RETENTION_INBOX_KEEP)"
    if shown_as_json(invocation, found):
        return
    if not raw:
        show_facts(found, invocation.now(), skip=("raw_base64", "text", "fields"))
        show("", "Body as it came:", safe(found.text or f"its bytes were {dropped}", lines=True))
    elif found.raw_base64 is None:
        raise CommandFailed(f"the bytes of callback {number} were {dropped}")
    else:
        sys.stdout.buffer.write(base64.b64decode(found.raw_base64))


def replay(invocation: Invocation, *, ids: tuple[int, ...], verdict: Verdict | None, app_id: str | None) -> ExitCode:
    if bool(ids) == bool(verdict) or (ids and app_id):
        raise click.UsageError("give either IDs, or --verdict (and optionally --app)")
    service, now = invocation.service, invocation.now()
    which: dict[str, Any] = {"ids": ids, "verdict": verdict, "app_id": app_id}
    order = place_replay(service.database, invocation.actor, now, known_apps=service.app_ids, **which)
    return orders.report_order(invocation, order)


def order_outcome(invocation: Invocation, *, number: int) -> None:
    order = read_order(invocation.service.database, number)
    if shown_as_json(invocation, order):
        return
    result = None if order.result is None else orders.describe_result(order.kind, order.result)
    show_facts(order, invocation.now(), skip=("failure", "state"), result=result and result.replace("\n", " "))


def verify(invocation: Invocation, *, head: str | None) -> None:
    try:
        noted = None if head is None else parse_head(head)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--head") from None
    proof = audit.verify_audit(invocation.service.database, noted)
    is_json = shown_as_json(invocation, proof)
    if proof.fault is not None:
        raise CommandFailed(f"the audit was altered: {proof.fault}")
    if not is_json:
        found = "" if noted is None else ", and the given head is one of them"
        show(f"{count_of(proof.entries, 'entry', 'entries')}, all as they were written{found}.")
        show(f"head  {proof.head}", "Note the head down elsewhere, and give it to --head the next time.")


def export(invocation: Invocation, *, after: int | None) -> None:
    print_json(audit.AUDIT_EXPORT.iterate(invocation.service.database, AuditFilter(), after=after or 0))


def add_token(invocation: Invocation, *, name: str, role: Role, expires: datetime | None) -> None:
    now = invocation.now()
    token, text = make_token(invocation.service.database, name, role, expires, invocation.actor, now)
    ends = "" if expires is None else f", ends {absolute(expires, now)}"
    try:
        if not shown_as_json(invocation, take(audit.NewToken, token, token=text)):
            note(f"token {token.id} ({safe(name)}, {role}{ends}); its text is shown only now:")
            sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError as error:
        revoke(invocation.service.database, token.id, invocation.actor, invocation.now())
        why = f"its text could not be written ({error.strerror})"
        raise CommandFailed(f"token {token.id} was made and is revoked again: {why}") from None


def revoke_token(invocation: Invocation, *, number: int) -> None:
    revoke(invocation.service.database, number, invocation.actor, invocation.now())
    show(f"Token {number} is revoked.")
