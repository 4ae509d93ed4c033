"""`zego-retention doctor`: is everything in order, and if not, what is the fix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.table import Table

from service.cli.invocation import ExitCode, Invocation
from service.cli.options import as_json
from service.cli.wording import cell, safe
from service.core.wording import count
from service.settings import Settings, SettingsError
from service.usecases.access import AppAccess
from service.usecases.diagnosis import Check, Status
from service.usecases.doctor import Examined, examine
from service.wiring import build_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.wiring import Service


@click.command("doctor", short_help="Check everything; tell what is wrong, and the fix.")
@as_json
@click.pass_obj
def doctor_command(invocation: Invocation, as_json: bool) -> int:  # noqa: FBT001
    """Check settings, database, rules, worker, credentials and clock; changes nothing."""
    statuses = set()
    for check in _examine(invocation):
        statuses.add(check.status)
        if as_json:
            told = {"check": check.name, "status": check.status.value, "text": check.text, "fix": check.fix or None}
            invocation.print_json([told])
        else:
            _show_check(invocation, check)
    if Status.PROBLEM in statuses:
        return ExitCode.FAILED
    return ExitCode.NEEDS_PERSON if Status.ATTENTION in statuses else ExitCode.DONE


def _examine(invocation: Invocation) -> Iterator[Check]:
    try:
        settings = invocation.read_settings()
    except SettingsError as error:
        yield Check("settings", Status.PROBLEM, str(error), "nothing else can be looked at before")
        return
    yield from _check_settings(settings)
    service = build_service(settings, now=invocation.now)
    try:
        yield from examine(_examined(service))
    finally:
        service.close()


def _check_settings(settings: Settings) -> Iterator[Check]:
    if settings.apps:
        yield Check("settings", Status.OK, f"{count(len(settings.apps), 'app')} configured")
    else:
        fix = "set APP_ID, SERVER_SECRET and CALLBACK_SECRET from ZEGO's console, or [[apps]] in the TOML file"
        yield Check("settings", Status.PROBLEM, "no app is configured, so every callback is refused", fix)
    yield from (Check("settings", Status.WARNING, warning, "remove or correct it") for warning in settings.warnings)
    where = "ZEGO's console: Project → Server callback → Recording file"
    if settings.public_url:
        yield Check("callback URL", Status.OK, f"{settings.public_url}/zego/callback, to be entered in {where}")
    else:
        text = "<where ZEGO reaches this service>/zego/callback, to be entered in"
        yield Check("callback URL", Status.OK, f"{text} {where}; set PUBLIC_URL to see it whole")


def _examined(service: Service) -> Examined:
    settings = service.settings
    return Examined(
        database=service.database,
        apps=[
            AppAccess(app.app_id, app.name, app.api_url, service.clients[app.app_id].search_media)
            for app in settings.apps
        ],
        keep=settings.keep,
        slots=settings.sweep_slots,
        patience=settings.claim_lease,
        reconcile_every=settings.reconcile_every,
        now=service.now,
        confirm_all=settings.confirm == "all",
    )


def _show_check(invocation: Invocation, check: Check) -> None:
    text = safe(check.text) + (f" → {safe(check.fix)}" if check.fix else "")
    line = Table.grid(padding=(0, 2, 0, 0))
    line.add_column(min_width=len("attention"), no_wrap=True)
    line.add_column(min_width=len("app 1234567890"), overflow="fold")
    line.add_column(overflow="fold")
    line.add_row(cell(check.status.value), cell(check.name), text)
    invocation.show(line)
