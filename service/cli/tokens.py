"""`zego-retention tokens`: who may use the API and the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from service.cli.invocation import ExitCode, Invocation
from service.cli.lists import add_list, print_forms
from service.cli.options import MOMENT, NUMBER, OneOf, by, name_actor, one_json
from service.model import Role

if TYPE_CHECKING:
    from datetime import datetime


@click.group("tokens")
def tokens_group() -> None:
    """Access tokens of the API: add, list, revoke."""


add_list(tokens_group, "views.audit:TOKENS", "List tokens, without their text.")


@tokens_group.command("add")
@click.argument("name")
@click.option("--role", type=OneOf(Role), required=True, help="What it may do.")
@click.option("--expires", type=MOMENT, help="When it ends: a time, or for example 90d from now (default: never).")
@by
@one_json
@click.pass_obj
def add_command(
    invocation: Invocation, /, *, name: str, role: Role, expires: datetime | None, by: str | None, as_json: bool
) -> int:
    """Make a token and show its text, this once."""
    from service.audit.tokens import make_token
    from service.cli.wording import absolute, safe
    from service.views.audit import describe_new_token

    now = invocation.now()
    with invocation.opened() as service:
        token, text = make_token(service.database, name, role, expires, name_actor(by), now)
    if as_json:
        print_forms(invocation, [describe_new_token(token, text)])
        return ExitCode.DONE
    ends = "" if expires is None else f", ends {absolute(expires, now)}"
    invocation.note(f"token {token.id} ({safe(name)}, {role}{ends}); its text is shown only now:")
    invocation.print_plain(f"{text}\n")
    return ExitCode.DONE


@tokens_group.command("revoke")
@click.argument("token", metavar="ID", type=NUMBER)
@by
@click.pass_obj
def revoke_command(invocation: Invocation, /, *, token: int, by: str | None) -> int:
    """Make a token useless from now on."""
    from service.audit.tokens import revoke_token

    with invocation.opened() as service:
        revoke_token(service.database, token, name_actor(by), invocation.now())
    invocation.show(f"Token {token} is revoked.")
    return ExitCode.DONE
