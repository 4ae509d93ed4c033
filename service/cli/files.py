"""`zego-retention files`: the inventory, one file's fate, and what a person can do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from service.cli.erasing import delete_command
from service.cli.invocation import ExitCode, Invocation
from service.cli.options import NUMBER, actor, as_json, by, limit, moment, one_json
from service.cli.tables import LISTED, make_facts, make_table, number, prose, word
from service.cli.wording import absolute, parse_moment, relative, safe, size, span
from service.core.model import END_STATES, FileState, Vendor
from service.core.purge import Purge
from service.core.wording import count
from service.db import files
from service.db.files import FileFilter
from service.usecases.explaining import Explanation, explain_file, explanation_as_json
from service.usecases.inventory import confirm_files, list_failed, retry_files
from service.usecases.listing import list_files

if TYPE_CHECKING:
    from datetime import datetime

ids = click.argument("ids", type=NUMBER, nargs=-1, required=True)


@click.group("files")
def files_group() -> None:
    """The inventory: list, show, explain, retry, confirm, delete."""


@files_group.command("list")
@click.option("--state", type=click.Choice([state.value for state in FileState]), help="Only files in this state.")
@click.option("--app", help="Only files of this AppID.")
@click.option(
    "--vendor", type=click.Choice([v.value for v in Vendor], case_sensitive=False), help="Only of this vendor."
)
@click.option("--stream", metavar="PATTERN", help="Only streams that fit; * and ? are special, as in rules.")
@click.option("--due-before", type=moment, metavar="TIME", help="Only files due before this time.")
@click.option("--due-after", type=moment, metavar="TIME", help="Only files due after this time.")
@click.option("--text", help="Only files with this in their file id or stream; upper and lower case differ.")
@limit
@as_json
@click.pass_obj
def list_command(
    invocation: Invocation,
    /,
    *,
    limit: int | None,
    as_json: bool,
    **conditions: Any,  # noqa: ANN401  (as click hands them over)
) -> int:
    """List files, the oldest entry first."""
    wanted = _read_filter(**conditions)
    with invocation.opened() as service:
        if as_json:
            invocation.print_json(list_files(service.database, wanted, limit))
            return ExitCode.DONE
        most = limit or LISTED
        found = list(list_files(service.database, wanted, most + 1))
        with service.database.read() as session:
            total = files.count_files(session, wanted) if len(found) > most else len(found)
    _show_list(invocation, found[:most])
    if len(found) > most:
        more = "more" if total is None else f"{total - most:,} more"
        invocation.note(f"{more}: see them with --limit or --json")
    return ExitCode.DONE


def _read_filter(
    *,
    state: str | None,
    app: str | None,
    vendor: str | None,
    stream: str | None,
    due_before: datetime | None,
    due_after: datetime | None,
    text: str | None,
) -> FileFilter:
    return FileFilter(
        state=FileState(state) if state else None,
        app_id=app,
        vendor=Vendor(vendor) if vendor else None,
        stream=stream,
        due_before=due_before,
        due_after=due_after,
        text=text,
    )


def _show_list(invocation: Invocation, found: list[dict[str, Any]]) -> None:
    if not found:
        invocation.note("no files")
        return
    now = invocation.now()
    several = len({file["app_id"] for file in found}) > 1
    columns = [number("id"), *([word("app")] if several else []), prose("stream"), word("vendor")]
    columns += [word("state"), prose("rule"), word("due")]
    rows = (
        (
            file["id"],
            *([file["app_id"]] if several else []),
            *(file[key] for key in ("stream_id", "vendor", "state", "rule")),
            _describe_due(file, now),
        )
        for file in found
    )
    invocation.show(make_table(invocation.out, columns, rows))


def _describe_due(file: dict[str, Any], now: datetime) -> str:
    """When a file goes: the end of its cooling-off, if that comes later than its date."""
    if file["state"] in END_STATES:
        return "-"
    due, cooling = parse_moment(file["due_at"]), parse_moment(file["cooling_until"])
    if file["state"] == FileState.SCHEDULED and cooling and cooling > max(now, due or now):
        return f"{relative(cooling, now)} (cooling-off)"
    return relative(due, now)


@files_group.command("show")
@ids
@as_json
@click.pass_obj
def show_command(invocation: Invocation, ids: tuple[int, ...], as_json: bool) -> int:  # noqa: FBT001
    """Show everything that is known of files."""
    with invocation.opened() as service:
        found = [explain_file(service.database, file_key, invocation.now()) for file_key in ids]
    if as_json:
        invocation.print_json(explanation.file for explanation in found)
        return ExitCode.DONE
    for position, explanation in enumerate(found):
        invocation.show(*([""] if position else []), make_facts(_facts(explanation, invocation.now())))
    return ExitCode.DONE


@files_group.command("explain")
@click.argument("file_id", metavar="ID", type=NUMBER)
@one_json
@click.pass_obj
def explain_command(invocation: Invocation, file_id: int, as_json: bool) -> int:  # noqa: FBT001
    """Say why a file is where it is, and what happens next."""
    with invocation.opened() as service:
        explanation = explain_file(service.database, file_id, invocation.now())
    if as_json:
        invocation.print_json([explanation_as_json(explanation)])
    else:
        _show_explanation(invocation, explanation)
    return ExitCode.DONE


@files_group.command("retry")
@click.argument("ids", type=NUMBER, nargs=-1)
@click.option("--all-failed", is_flag=True, help="Every file that is failed.")
@by
@click.pass_obj
def retry_command(invocation: Invocation, ids: tuple[int, ...], all_failed: bool, by: str | None) -> int:  # noqa: FBT001
    """Start over with files that failed, or wait for their next attempt."""
    if bool(ids) == all_failed:
        raise click.UsageError("give either IDs or --all-failed")
    with invocation.opened() as service:
        wanted = ids or list_failed(service.database)
        retried = retry_files(service.database, wanted, actor(by), invocation.now())
    invocation.show(f"{count(len(retried), 'file')} to be asked for again; the next sweep does it.")
    return ExitCode.DONE


@files_group.command("confirm")
@ids
@by
@click.pass_obj
def confirm_command(invocation: Invocation, ids: tuple[int, ...], by: str | None) -> int:
    """Vouch for unconfirmed files: from now on the rules decide them."""
    with invocation.opened() as service:
        confirmed = confirm_files(service.database, ids, actor(by), invocation.now())
        found = [explain_file(service.database, file_key, invocation.now()) for file_key in confirmed]
    _show_list(invocation, [explanation.file for explanation in found])
    invocation.show("", f"{count(len(confirmed), 'file')} confirmed.")
    return ExitCode.DONE


def _facts(explanation: Explanation, now: datetime) -> list[tuple[str, object]]:
    file = explanation.file
    last = file["last_outcome"]
    return [
        ("id", file["id"]),
        ("app", file["app_id"]),
        ("vendor", file["vendor"]),
        ("file id", file["file_id"]),
        ("stream", file["stream_id"]),
        ("event", file["event"]),
        ("state", file["state"]),
        ("why", file["state_reason"]),
        ("next", explanation.next_step),
        ("rule", file["rule"] and f"{file['rule']} (revision {explanation.revision})"),
        ("due", absolute(parse_moment(file["due_at"]), now)),
        *((name, text) for name, text in _only_some(file, explanation.cooling, now) if text),
        ("began", absolute(parse_moment(file["began_at"]), now)),
        ("ended", absolute(parse_moment(file["ended_at"]), now)),
        ("received", absolute(parse_moment(file["received_at"]), now)),
        ("duration", span(file["duration_s"])),
        ("size", size(file["size_bytes"])),
        ("replay URL", file["replay_url"]),
        ("attempts", file["attempts"]),
        ("last outcome", last and _describe_outcome(last, now)),
        *_describe_purge(file),
    ]


def _only_some(file: dict[str, Any], why_it_waits: str | None, now: datetime) -> list[tuple[str, str | None]]:
    """What most files do not have."""
    cooling, observed = parse_moment(file["cooling_until"]), parse_moment(file["observed_due_at"])
    adopted, made = parse_moment(file["adopted_at"]), parse_moment(file["vendor_created_at"])
    expires = parse_moment(file["vendor_expires_at"])
    return [
        ("not before", cooling and f"{absolute(cooling, now)}: {(why_it_waits or 'cooling-off').split(', so')[0]}"),
        ("would go", observed and f"{absolute(observed, now)}, if its rule did not only observe"),
        ("approved by", file["approval"]),
        ("name", file["name"]),
        ("adopted", adopted and f"{absolute(adopted, now)}: a listing showed it before any callback"),
        ("made", made and f"{absolute(made, now)}, the vendor says"),
        ("expires", expires and f"{absolute(expires, now)}, by the vendor's own rule"),
    ]


def _describe_outcome(last: dict[str, Any], now: datetime) -> str:
    said = " ".join(part for part in (last["code"], last["message"]) if part)
    request = f", request {last['request_id']}" if last["request_id"] else ""
    return f"{last['outcome']} at {absolute(parse_moment(last['at']), now)}: {said}{request}"


def _describe_purge(file: dict[str, Any]) -> list[tuple[str, str]]:
    """What came of purging the cache, where that was asked for."""
    last = file["last_outcome"]
    purge = last and last["cache_purge"]
    if not purge:
        return []
    return [("cache purge", purge if purge == Purge.DONE else f"{purge}: purge it in Wangsu's console")]


def _show_explanation(invocation: Invocation, explanation: Explanation) -> None:
    now = invocation.now()
    invocation.show(make_facts(_explained_facts(explanation, now)), "")
    columns = [prose("rule"), word("result"), prose("why")]
    rows = [(line.name, line.result.value, line.why) for line in explanation.rules]
    if explanation.as_of is not None and not explanation.attempts:
        invocation.show("This service never asked ZEGO to delete it.")
    else:
        none = "No rules are in force." if explanation.as_of is None else safe(explanation.file["state_reason"])
        table = make_table(invocation.out, columns, rows) if rows else none
        invocation.show(_HEADS[explanation.as_of is None], "", table)
    if explanation.attempts:
        columns = [word("attempt"), word("outcome"), word("code"), prose("message"), prose("request id")]
        attempts = [
            (
                relative(parse_moment(a["opened_at"]), now),
                a["outcome"] or "open",
                a["code"],
                a["message"],
                a["request_id"],
            )
            for a in explanation.attempts
        ]
        invocation.show("", make_table(invocation.out, columns, attempts))


_HEADS = {
    True: "What counts, in this order:",
    False: "What counted when it was let go, in this order, under the rules of then and not of today:",
}


def _explained_facts(explanation: Explanation, now: datetime) -> list[tuple[str, object]]:
    file, decision = explanation.file, explanation.decision
    facts: list[tuple[str, object]] = [
        ("file", f"{file['id']}: {file['vendor']} {file['file_id']}"),
        ("app", file["app_id"]),
        ("stream", file["stream_id"]),
        ("event", file["event"]),
        ("ended", absolute(parse_moment(file["ended_at"]), now)),
        ("duration", span(file["duration_s"])),
        ("size", size(file["size_bytes"])),
        ("state", file["state"]),
        ("why", file["state_reason"]),
    ]
    if explanation.as_of is not None:
        facts.append(("decided", f"{absolute(explanation.as_of, now)}: {decision['reason']}"))
    elif decision["reason"] != file["state_reason"]:
        facts.append(("decided now", decision["reason"]))
    facts += [
        ("due", absolute(parse_moment(decision["due_at"]), now)),
        ("arithmetic", decision["arithmetic"]),
        ("rules", _describe_revision(explanation, now)),
        *(("hold", _describe_hold(hold, now)) for hold in explanation.holds),
    ]
    told = {"erasure": _describe_erasure(explanation, now), "cooling-off": explanation.cooling}
    told["approved by"] = decision["approval"]
    facts += [(name, text) for name, text in told.items() if text]
    facts += _describe_purge(file)
    return [*facts, ("next", explanation.next_step)]


def _describe_revision(explanation: Explanation, now: datetime) -> str:
    applied = explanation.applied
    if applied is None:
        return "none were applied"
    number = explanation.revision if explanation.as_of is not None else explanation.revision_in_force
    through = f" through {applied['through']}" if applied["through"] else ""
    at = absolute(parse_moment(applied["at"]), now)
    text = f"revision {number} from {applied['source']}, applied {at} by {applied['by']}{through}"
    if explanation.as_of is None and explanation.revision != number:
        return f"{text}; on record is what revision {explanation.revision} decided"
    return text if number == explanation.revision_in_force else f"{text}; today it is {explanation.revision_in_force}"


def _describe_hold(hold: dict[str, Any], now: datetime) -> str:
    until = f" until {absolute(parse_moment(hold['until']), now)}" if hold["until"] else ""
    placed = absolute(parse_moment(hold["placed_at"]), now)
    what = "this file" if hold["stream_pattern"] is None else f"stream {hold['stream_pattern']}"
    return f"{hold['id']} on {what}{until}, placed {placed} by {hold['placed_by']}: {hold['reason']}"


def _describe_erasure(explanation: Explanation, now: datetime) -> str | None:
    found = explanation.erasure
    if found is None:
        return None
    at = absolute(parse_moment(found["requested_at"]), now)
    return f"{found['id']}, requested {at} by {found['requested_by']}: {found['reason']}"


files_group.add_command(delete_command)
