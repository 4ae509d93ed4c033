"""`zego-retention callbacks`: the inbox with its quarantine, and judging stored callbacks again."""

from __future__ import annotations

import base64
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from service.cli.invocation import CommandFailed, ExitCode, Invocation
from service.cli.newest import print_newest
from service.cli.options import NUMBER, actor, as_json, by, limit, one_json
from service.cli.tables import make_facts, make_table, number, prose, word
from service.cli.wording import absolute, parse_moment, relative, safe
from service.core.model import Verdict
from service.core.wording import count
from service.db import inbox
from service.db.inbox import CallbackFilter
from service.usecases.listing import list_callbacks
from service.usecases.replaying import (
    Replayed,
    StoredCallback,
    find_missing,
    find_pruned,
    list_to_replay,
    replay_callbacks,
    show_callback,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from service.db.engine import Database

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
    invocation: Invocation,
    verdict: str | None,
    app: str | None,
    limit: int | None,
    as_json: bool,  # noqa: FBT001
) -> int:
    """List stored callbacks, the newest first."""
    wanted = CallbackFilter(Verdict(verdict) if verdict else None, app)
    with invocation.opened() as service:
        return print_newest(
            invocation,
            service.database,
            lambda most: list_callbacks(service.database, wanted, most),
            lambda session: inbox.count_callbacks(session, wanted),
            _show_list,
            limit,
            as_json=as_json,
        )


def _show_list(invocation: Invocation, found: list[dict[str, Any]]) -> None:
    if not found:
        invocation.note("no callbacks")
        return
    now = invocation.now()
    several = len({callback["app_id"] for callback in found}) > 1
    columns = [number("id"), *([word("app")] if several else [])]
    columns += [word("received"), word("event"), word("verdict"), prose("reason")]
    rows = (
        (
            callback["id"],
            *([callback["app_id"]] if several else []),
            relative(parse_moment(callback["received_at"]), now),
            *(callback[key] for key in ("event", "verdict", "reason")),
        )
        for callback in found
    )
    invocation.show(make_table(invocation.out, columns, rows))


@callbacks_group.command("show")
@click.argument("callback_id", metavar="ID", type=NUMBER)
@one_json
@click.pass_obj
def show_command(invocation: Invocation, callback_id: int, as_json: bool) -> int:  # noqa: FBT001
    """Show one callback with its body as it came."""
    with invocation.opened() as service:
        found = show_callback(service.database, callback_id)
    if found is None:
        raise CommandFailed(f"there is no callback {callback_id}: see `zego-retention callbacks list`")
    if as_json:
        raw = {"fields": found.fields, "raw_base64": base64.b64encode(found.raw).decode()}
        invocation.print_json([found.facts | raw])
    else:
        _show_callback(invocation, found)
    return ExitCode.DONE


def _show_callback(invocation: Invocation, found: StoredCallback) -> None:
    facts, now = found.facts, invocation.now()
    rows = [
        ("id", facts["id"]),
        ("verdict", facts["verdict"]),
        ("reason", facts["reason"]),
        ("file", facts["file"]),
        ("app", facts["app_id"]),
        ("event", facts["event"]),
        ("received", absolute(parse_moment(facts["received_at"]), now)),
        ("repeats", facts["repeats"]),
        ("content type", facts["content_type"]),
    ]
    invocation.show(make_facts(rows))
    if found.fields is not None:
        read = json.dumps(found.fields, indent=2, ensure_ascii=False)
        invocation.show("", "Read as:", safe(read, lines=True))
    if facts["pruned_at"]:
        invocation.show("", f"Its body was dropped {absolute(parse_moment(facts['pruned_at']), now)} (INBOX_KEEP).")
        return
    body = safe(found.raw.decode("utf-8", "backslashreplace"), lines=True)
    invocation.show("", f"Body as it came ({count(len(found.raw), 'byte')}):", body)


@callbacks_group.command("replay")
@click.argument("ids", type=NUMBER, nargs=-1)
@click.option("--verdict", type=one_verdict, help="Every callback judged like this.")
@click.option("--all", "everything", is_flag=True, help="Every stored callback.")
@by
@as_json
@click.pass_obj
def replay_command(
    invocation: Invocation,
    ids: tuple[int, ...],
    verdict: str | None,
    everything: bool,  # noqa: FBT001
    by: str | None,
    as_json: bool,  # noqa: FBT001
) -> int:
    """Judge stored callbacks again, with today's settings and code. Nothing is doubled."""
    if bool(ids) + bool(verdict) + everything != 1:
        raise click.UsageError("give one of IDs, --verdict or --all")
    with invocation.opened() as service:
        chosen = _choose(service.database, ids, Verdict(verdict) if verdict else None)
        replayed = replay_callbacks(service.ingest, chosen, actor(by))
        if as_json:
            return _print_replayed(invocation, replayed)
        results = list(replayed)
        pruned = 0 if ids else _count_pruned(service.database, Verdict(verdict) if verdict else None)
    _show_replayed(invocation, results, one_by_one=bool(ids))
    if pruned:
        invocation.note(f"{count(pruned, 'callback')} passed over: what they said was dropped after INBOX_KEEP")
    return _code(result.after for result in results)


def _choose(database: Database, ids: tuple[int, ...], verdict: Verdict | None) -> Iterable[int]:
    if not ids:
        return list_to_replay(database, verdict)
    missing = find_missing(database, ids)
    if missing:
        raise CommandFailed(f"there is no callback {missing[0]}: see `zego-retention callbacks list`")
    if pruned := find_pruned(database, ids):
        raise CommandFailed(
            f"callback {pruned[0]} cannot be judged again: its body was dropped after INBOX_KEEP; nothing was replayed"
        )
    return ids


def _count_pruned(database: Database, verdict: Verdict | None) -> int:
    with database.read() as session:
        return inbox.count_pruned(session, verdict)


def _print_replayed(invocation: Invocation, replayed: Iterator[Replayed]) -> int:
    verdicts = []
    for result in replayed:
        verdicts.append(result.after)
        told = {"id": result.callback_id, "old": result.before.value, "new": result.after.value}
        invocation.print_json([told | {"reason": result.reason}])
    return _code(verdicts)


def _show_replayed(invocation: Invocation, results: list[Replayed], *, one_by_one: bool) -> None:
    if one_by_one:
        columns = [number("id"), word("old"), word("new"), prose("reason")]
        rows = [(r.callback_id, r.before.value, r.after.value, r.reason) for r in results]
        invocation.show(make_table(invocation.out, columns, rows))
        return
    changes = Counter((result.before.value, result.after.value) for result in results)
    rows_of_counts = [(old, new, f"{many:,}") for (old, new), many in sorted(changes.items())]
    if changes:
        columns = [word("old"), word("new"), number("callbacks")]
        invocation.show(make_table(invocation.out, columns, rows_of_counts), "")
    invocation.show(f"{count(len(results), 'callback')} judged again.")


def _code(verdicts: Iterable[Verdict]) -> int:
    """Failed where understanding some callback raised an error; it stays stored and is tried again."""
    return ExitCode.FAILED if Verdict.PENDING in set(verdicts) else ExitCode.DONE
