"""`zego-retention callbacks`: what ZEGO sent, with its quarantine, and judging it again."""

from __future__ import annotations

import base64
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from service.cli.invocation import CommandFailed, ExitCode, Invocation
from service.cli.options import NUMBER, as_json, by, limit, name_actor, one_json
from service.model import Role, Verdict
from service.units import count_of

if TYPE_CHECKING:
    from service.views.callbacks import CallbackDetail

one_verdict = click.Choice([verdict.value for verdict in Verdict])


@click.group("callbacks")
def callbacks_group() -> None:
    """What ZEGO sent: list, show, replay."""


@callbacks_group.command("list")
@click.option("--verdict", type=one_verdict, help="Only callbacks judged like this.")
@click.option("--app", help="Only callbacks of this AppID.")
@limit
@as_json
@click.pass_obj
def list_command(
    invocation: Invocation, /, *, verdict: str | None, app: str | None, limit: int | None, as_json: bool
) -> int:
    """List stored callbacks, the newest first."""
    from service.callbacks.store import CallbackFilter
    from service.cli.lists import print_list
    from service.views.callbacks import CALLBACKS

    wanted = CallbackFilter(Verdict(verdict) if verdict else None, app)
    return print_list(invocation, CALLBACKS, wanted, limit, as_json=as_json)


@callbacks_group.command("show")
@click.argument("callback", metavar="ID", type=NUMBER)
@click.option("--raw", is_flag=True, help="Print the body as it came, byte by byte, and nothing else.")
@one_json
@click.pass_obj
def show_command(invocation: Invocation, /, *, callback: int, raw: bool, as_json: bool) -> int:
    """Show one callback with its body."""
    from service.cli.lists import print_forms
    from service.views.callbacks import show_callback

    if raw and as_json:
        raise click.UsageError("give either --raw or --json")
    with invocation.opened() as service:
        found = show_callback(service.database, callback, Role.ADMIN)
    if as_json:
        print_forms(invocation, [found])
    elif raw:
        _print_raw(invocation, found)
    else:
        _show_callback(invocation, found)
    return ExitCode.DONE


@callbacks_group.command("replay")
@click.argument("ids", metavar="[ID]...", type=NUMBER, nargs=-1)
@click.option("--verdict", type=one_verdict, help="Every callback judged like this.")
@click.option("--app", help="With --verdict: only callbacks of this AppID.")
@by
@one_json
@click.pass_obj
def replay_command(
    invocation: Invocation,
    /,
    *,
    ids: tuple[int, ...],
    verdict: str | None,
    app: str | None,
    by: str | None,
    as_json: bool,
) -> int:
    """Judge stored callbacks again, with the secrets and the code of now. Nothing is doubled."""
    from service.callbacks.replay import place_replay
    from service.cli.orders import report_order

    if bool(ids) == bool(verdict) or (ids and app):
        raise click.UsageError("give either IDs, or --verdict (with --app, if you like)")
    with invocation.opened() as service:
        order = place_replay(
            service.database,
            name_actor(by),
            invocation.now(),
            ids=ids,
            verdict=Verdict(verdict) if verdict else None,
            app_id=app,
        )
        return report_order(invocation, service, order, _describe_replayed, as_json=as_json)


def _print_raw(invocation: Invocation, found: CallbackDetail) -> None:
    if found.raw_base64 is None:
        raise CommandFailed(f"the bytes of callback {found.id} were dropped")
    invocation.print_plain("")
    sys.stdout.flush()
    sys.stdout.buffer.write(base64.b64decode(found.raw_base64))


def _show_callback(invocation: Invocation, found: CallbackDetail) -> None:
    from service.cli.lists import show_facts
    from service.cli.wording import safe

    show_facts(invocation, found, skip=("raw_base64", "text", "fields"))
    if found.fields is not None:
        read = json.dumps(found.fields, indent=2, ensure_ascii=False)
        invocation.show("", "Read as:", safe(read, lines=True))
    if found.text is None:
        invocation.show("", "Its bytes were dropped (ZEGO_RETENTION_INBOX_KEEP).")
    else:
        body = safe(found.text, lines=True)
        invocation.show("", f"Body as it came ({count_of(found.body_bytes or 0, 'byte')}):", body)


def _describe_replayed(result: dict[str, Any]) -> str:
    parts = [f"{count_of(result['replayed'], 'callback')} judged again"]
    if result["still_refused"]:
        parts.append(f"{result['still_refused']:,} refused as before")
    if result["without_bytes"]:
        parts.append(f"{result['without_bytes']:,} left out, their bytes were dropped")
    return f"{'; '.join(parts)}."
