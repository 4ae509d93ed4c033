"""`zego-retention callbacks`: what ZEGO sent, with its quarantine, and judging it again."""

from __future__ import annotations

import base64
import sys
from typing import Any

import click

from service.cli.invocation import CommandFailed, ExitCode, Invocation
from service.cli.lists import add_list, print_forms, show_facts
from service.cli.options import NUMBER, OneOf, by, name_actor, one_json
from service.model import Role, Verdict
from service.units import count_of


@click.group("callbacks")
def callbacks_group() -> None:
    """What ZEGO sent: list, show, replay."""


add_list(
    callbacks_group,
    "views.callbacks:CALLBACKS",
    "List stored callbacks, the newest first.",
    click.option("--verdict", type=OneOf(Verdict), help="Only callbacks judged like this."),
    click.option("--app", "app_id", help="Only callbacks of this AppID."),
    wanted="filters:CallbackFilter",
)


@callbacks_group.command("show")
@click.argument("callback", metavar="ID", type=NUMBER)
@click.option("--raw", is_flag=True, help="Print the body as it came, byte by byte, and nothing else.")
@one_json
@click.pass_obj
def show_command(invocation: Invocation, /, *, callback: int, raw: bool, as_json: bool) -> int:
    """Show one callback with its body."""
    from service.cli.wording import safe
    from service.views.callbacks import show_callback

    if raw and as_json:
        raise click.UsageError("give either --raw or --json")
    with invocation.opened() as service:
        found = show_callback(service.database, callback, Role.ADMIN)
    if as_json:
        print_forms(invocation, [found])
    elif raw and found.raw_base64 is None:
        raise CommandFailed(f"the bytes of callback {callback} were dropped (ZEGO_RETENTION_INBOX_KEEP)")
    elif raw:
        sys.stdout.buffer.write(base64.b64decode(found.raw_base64 or ""))
    else:
        show_facts(invocation, found, skip=("raw_base64", "text", "fields"))
        text = found.text or "its bytes were dropped (ZEGO_RETENTION_INBOX_KEEP)"
        invocation.show("", "Body as it came:", safe(text, lines=True))
    return ExitCode.DONE


@callbacks_group.command("replay")
@click.argument("ids", metavar="[ID]...", type=NUMBER, nargs=-1)
@click.option("--verdict", type=OneOf(Verdict), help="Every callback judged like this.")
@click.option("--app", "app_id", help="With --verdict: only callbacks of this AppID.")
@by
@one_json
@click.pass_obj
def replay_command(
    invocation: Invocation,
    /,
    *,
    by: str | None,
    as_json: bool,
    **chosen: Any,  # noqa: ANN401
) -> int:
    """Judge stored callbacks again, with the secrets and the code of now. Nothing is doubled."""
    from service.callbacks.replay import place_replay
    from service.cli.orders import report_order

    if bool(chosen["ids"]) == bool(chosen["verdict"]) or (chosen["ids"] and chosen["app_id"]):
        raise click.UsageError("give either IDs, or --verdict (with --app, if you like)")
    with invocation.opened() as service:
        order = place_replay(service.database, name_actor(by), invocation.now(), **chosen)
        return report_order(invocation, service, order, _describe_replayed, as_json=as_json)


def _describe_replayed(result: dict[str, Any]) -> str:
    refused = f"; {result['still_refused']:,} refused as before" if result["still_refused"] else ""
    dropped = f"; {result['without_bytes']:,} left out: their bytes were dropped" if result["without_bytes"] else ""
    return f"{count_of(result['replayed'], 'callback')} judged again{refused}{dropped}."
