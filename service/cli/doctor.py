"""`zego-retention doctor`: is everything in order, and if not, what is the fix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from service.cli.invocation import ExitCode, Invocation
from service.cli.options import as_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.health.checks import Check


@click.command("doctor")
@as_json
@click.pass_obj
def doctor_command(invocation: Invocation, as_json: bool) -> int:  # noqa: FBT001  (click passes options by name)
    """Check settings, database, rules, worker, files, credentials and clock; change nothing.

    Exits 3 if something is not ok, and 1 if something does not work at all.
    """
    from service.health.checks import Status

    statuses = set()
    for check in _examine(invocation):
        statuses.add(check.status)
        if as_json:
            shown = {"check": check.name, "status": check.status, "text": check.text, "fix": check.fix or None}
            invocation.print_json([shown])
        else:
            _show_check(invocation, check)
    if Status.PROBLEM in statuses:
        return ExitCode.FAILED
    return ExitCode.DONE if statuses <= {Status.OK} else ExitCode.NEEDS_PERSON


def _examine(invocation: Invocation) -> Iterator[Check]:
    from service.health.checks import Check, Status
    from service.health.doctor import Doctor
    from service.settings import SettingsError
    from service.wiring import Service

    try:
        settings = invocation.read_settings()
    except SettingsError as error:
        yield Check("settings", Status.PROBLEM, str(error), "correct it; nothing else can be looked at before")
        return
    service = Service(settings, now=invocation.now)
    try:
        yield from Doctor(settings, service.database, service.clients, service.now).examine()
    finally:
        service.close()


def _show_check(invocation: Invocation, check: Check) -> None:
    from rich.table import Table

    from service.cli.wording import cell, safe

    text = safe(check.text) + (f" → {safe(check.fix)}" if check.fix else "")
    line = Table.grid(padding=(0, 2, 0, 0))
    line.add_column(min_width=len("attention"), no_wrap=True)
    line.add_column(min_width=len("app 1234567890"), overflow="fold")
    line.add_column(overflow="fold")
    line.add_row(cell(check.status.value), cell(check.name), text)
    invocation.show(line)
