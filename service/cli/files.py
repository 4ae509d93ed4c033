"""`zego-retention files` and `holds`: the fate of a file, and what a person can do about it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

import click

from service.cli.frame import CommandFailed, ExitCode, Invocation
from service.cli.orders import describe_left_out, have_understood, report_order, understand_what_waits
from service.cli.show import (
    absolute,
    ask_number,
    describe_counts,
    note,
    safe,
    show,
    show_facts,
    show_rows,
    shown_as_json,
)
from service.files import actions
from service.filters import FileFilter
from service.holds import holds
from service.model import END_STATES, FileState
from service.orders import describe_waiting
from service.units import count_of
from service.views.files import FILES, FileDetail, explain_file
from service.wiring import Service


def show_files(invocation: Invocation, *, ids: tuple[int, ...]) -> None:
    found = [FILES.show(invocation.service.database, number) for number in ids]
    if shown_as_json(invocation, found):
        return
    for file in found:
        show_facts(file, invocation.now(), skip=("last_outcome", "timeline"))
        _show_attempts(invocation, file)
        show("")


def explain(invocation: Invocation, *, number: int) -> None:
    service, now = invocation.service, invocation.now()
    found = explain_file(service.database, service.reader, number, now, service.settings)
    if shown_as_json(invocation, found):
        return
    file, applied, decided_by = found.file, found.applied, None
    if applied is not None:
        at = absolute(applied.applied_at, now)
        decided_by = f"revision {applied.number}, applied {at} by {applied.applied_by}"
    elif found.erasure is not None:
        at = absolute(found.erasure.requested_at, now)
        decided_by = f"erasure {found.erasure.id}, requested {at} by {found.erasure.requested_by}"
    show(f"File {file.id}: {file.vendor} {safe(file.file_id)} of app {file.app_id}")
    show(f"Stream: {safe(file.stream_id or 'not known')}", "")
    show_facts(found, now, skip=("file", "lines", "holds", "erasure", "applied"), decided_by=decided_by)
    has_ended = file.state in END_STATES
    if found.lines:
        show("", "What counted then, in this order:" if has_ended else "What counts, in this order:", "")
        show_rows(invocation, "rule: name, result, why", found.lines)
    elif has_ended:
        show("", "This service never asked ZEGO to delete it.")
    _show_attempts(invocation, file)


def retry(invocation: Invocation, *, ids: tuple[int, ...], all_failed: bool) -> ExitCode:
    if bool(ids) == all_failed:
        raise click.UsageError("give either IDs or --all-failed")
    database = invocation.service.database
    wanted = ids or [file.id for file in FILES.iterate(database, FileFilter(state=FileState.FAILED))]
    if not wanted:
        note("no file has failed")
        return ExitCode.DONE
    return report_order(invocation, actions.retry_files(database, invocation.actor, wanted, invocation.now()))


def confirm(invocation: Invocation, *, ids: tuple[int, ...]) -> ExitCode:
    database = invocation.service.database
    return report_order(invocation, actions.confirm_files(database, invocation.actor, ids, invocation.now()))


def delete(invocation: Invocation, *, count: int | None, **target: Any) -> ExitCode:
    if bool(target["files"]) == (target["stream_pattern"] is not None):
        raise click.UsageError("give either IDs or --stream")
    service = invocation.service
    if not target["files"]:
        target["app_id"] = _choose_app(service, target["app_id"])
        have_understood(service, target["app_id"])
    request, apps = actions.ErasureRequest(**target), service.app_ids
    if count is None:
        count = _ask(actions.preview_erasure(service.database, request, known_apps=apps))
    actor, now = invocation.actor, invocation.now()
    _, order = actions.erase_files(service.database, actor, request, now, known_apps=apps, expect=count)
    return report_order(invocation, order)


def add_hold(invocation: Invocation, **target: Any) -> ExitCode:
    if (target["file"] is None) == (target["stream_pattern"] is None):
        raise click.UsageError("give either --file or --stream")
    service, now, waiting = invocation.service, invocation.now(), 0
    if target["file"] is None:
        target["app_id"] = _choose_app(service, target["app_id"])
        waiting = understand_what_waits(service, target["app_id"])
    hold, order = holds.place_hold(service.database, invocation.actor, now=now, known_apps=service.app_ids, **target)
    if not invocation.as_json:
        show(f"Hold {hold} is in force.")
    code = report_order(invocation, order)
    if waiting:
        note(f"{describe_waiting(waiting)}; a file that matches is held from its first moment on")
    return code


def release_hold(invocation: Invocation, *, number: int) -> ExitCode:
    database = invocation.service.database
    return report_order(invocation, holds.release_hold(database, invocation.actor, number, invocation.now()))


def _choose_app(service: Service, given: str | None) -> str | None:
    """The app that is meant: the one given, or the only one that is configured."""
    return next(iter(service.app_ids)) if given is None and len(service.app_ids) == 1 else given


def _ask(preview: actions.ErasurePreview) -> int:
    """Show what would be deleted, and have the number of files typed; nothing is done without it."""
    if not preview.files:
        raise CommandFailed(f"nothing was done: {actions.describe_nothing(preview)}")
    files = count_of(preview.files, "file")
    text = f"The erasure would take {files}: {describe_counts(preview.by_state)}; {describe_counts(preview.by_vendor)}."
    text += describe_left_out(asdict(preview))
    if preview.ended:
        text += f"\nAlready deleted or gone: {count_of(preview.ended, 'file')} of those named."
    note(text)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CommandFailed(f"nothing was done; to delete {files}, add --count {preview.files}")
    return ask_number(preview.files, "to delete")


def _show_attempts(invocation: Invocation, file: FileDetail) -> None:
    if file.timeline:
        columns = "attempt: opened_at, run: run_id, outcome, code, message, request id: request_id"
        show("")
        show_rows(invocation, columns, file.timeline, "request id, run")
