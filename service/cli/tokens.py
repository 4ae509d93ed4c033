"""`zego-retention tokens`: who may use the API and the console."""

from __future__ import annotations

import click

from service.cli.invocation import ExitCode, Invocation
from service.cli.options import NUMBER, as_json, by, limit, name_actor, one_json, read_moment
from service.model import Role


@click.group("tokens")
def tokens_group() -> None:
    """Access tokens of the API: add, list, revoke."""


@tokens_group.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True, help="What it may do.")
@click.option("--expires", metavar="TIME", help="When it ends: a time, or for example 90d from now (default: never).")
@by
@one_json
@click.pass_obj
def add_command(
    invocation: Invocation, /, *, name: str, role: str, expires: str | None, by: str | None, as_json: bool
) -> int:
    """Make a token and show its text, this once."""
    from service.audit.tokens import make_token
    from service.cli.lists import print_forms
    from service.cli.wording import absolute, safe
    from service.views.audit import describe_new_token

    now = invocation.now()
    expires_at = None if expires is None else read_moment(expires, now)
    with invocation.opened() as service:
        token, text = make_token(service.database, name, Role(role), expires_at, name_actor(by), now)
    if as_json:
        print_forms(invocation, [describe_new_token(token, text)])
        return ExitCode.DONE
    ends = "" if expires_at is None else f", ends {absolute(expires_at, now)}"
    invocation.note(f"token {token.id} ({safe(name)}, {role}{ends}); its text is shown only now:")
    invocation.print_plain(f"{text}\n")
    return ExitCode.DONE


@tokens_group.command("list")
@limit
@as_json
@click.pass_obj
def list_command(invocation: Invocation, /, *, limit: int | None, as_json: bool) -> int:
    """List tokens, without their text."""
    from service.cli.lists import print_list
    from service.views.audit import TOKENS

    return print_list(invocation, TOKENS, None, limit, as_json=as_json)


@tokens_group.command("revoke")
@click.argument("token", metavar="ID", type=NUMBER)
@by
@click.pass_obj
def revoke_command(invocation: Invocation, /, *, token: int, by: str | None) -> int:
    """Make a token useless from now on."""
    from service.audit.tokens import revoke_token
    from service.cli.wording import safe

    with invocation.opened() as service:
        revoked = revoke_token(service.database, token, name_actor(by), invocation.now())
    invocation.show(f"Token {token} ({safe(revoked.name)}) is revoked.")
    return ExitCode.DONE
