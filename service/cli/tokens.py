"""`zego-retention tokens`: who may use the API."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from service.cli.invocation import ExitCode, Invocation
from service.cli.options import NUMBER, actor, as_json, by, moment, one_json
from service.cli.tables import make_table, number, prose, word
from service.cli.wording import parse_moment, relative, safe
from service.core.durations import parse_duration
from service.core.model import Role
from service.usecases.tokens import create_token, list_tokens, revoke_token

if TYPE_CHECKING:
    from datetime import datetime


@click.group("tokens")
def tokens_group() -> None:
    """Bearer tokens of the API: add, list, revoke."""


@tokens_group.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True, help="What it may do.")
@click.option("--expires", metavar="TIME|DURATION", help="When it ends, for example 2026-12-31 or 90d.")
@by
@one_json
@click.pass_obj
def add_command(
    invocation: Invocation,
    name: str,
    role: str,
    expires: str | None,
    by: str | None,
    as_json: bool,  # noqa: FBT001
) -> int:
    """Make a token and show its text, this once."""
    now = invocation.now()
    expires_at = None if expires is None else _read_expiry(expires, now)
    with invocation.opened() as service:
        made = create_token(service.database, name, Role(role), expires_at, actor(by), now)
    if as_json:
        invocation.print_json([made])
        return ExitCode.DONE
    ends = f", ends {relative(expires_at, now)}" if expires_at else ""
    invocation.note(f"token {made['id']} ({safe(name)}, {role}{ends}); its text is shown only now:")
    invocation.print_plain(f"{made['token']}\n")
    return ExitCode.DONE


@tokens_group.command("list")
@as_json
@click.pass_obj
def list_command(invocation: Invocation, as_json: bool) -> int:  # noqa: FBT001
    """List tokens, without their text."""
    with invocation.opened() as service:
        if as_json:
            invocation.print_json(list_tokens(service.database))
            return ExitCode.DONE
        found = list(list_tokens(service.database))
    if not found:
        invocation.note("no tokens")
        return ExitCode.DONE
    now = invocation.now()
    columns = [number("id"), prose("name"), word("role"), word("state"), word("ends"), word("last used"), prose("by")]
    rows = [
        (
            *(token[key] for key in ("id", "name", "role")),
            _state(token, now),
            *(relative(parse_moment(token[key]), now) for key in ("expires_at", "last_used_at")),
            token["created_by"],
        )
        for token in found
    ]
    invocation.show(make_table(invocation.out, columns, rows))
    return ExitCode.DONE


@tokens_group.command("revoke")
@click.argument("token_id", metavar="ID", type=NUMBER)
@by
@click.pass_obj
def revoke_command(invocation: Invocation, token_id: int, by: str | None) -> int:
    """Make a token useless from now on."""
    with invocation.opened() as service:
        revoked = revoke_token(service.database, token_id, actor(by), invocation.now())
    invocation.show(f"Token {token_id} ({safe(revoked['name'])}) is revoked.")
    return ExitCode.DONE


def _read_expiry(text: str, now: datetime) -> datetime:
    with suppress(ValueError):
        return now + parse_duration(text)
    with suppress(click.BadParameter):
        return moment(text)
    raise click.BadParameter(
        f"{text!r} is neither a time nor a duration; write for example 2026-12-31 or 90d", param_hint="--expires"
    )


def _state(token: dict[str, Any], now: datetime) -> str:
    if token["revoked_at"] is not None:
        return "revoked"
    ends = parse_moment(token["expires_at"])
    return "expired" if ends is not None and ends <= now else "usable"
