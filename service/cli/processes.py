"""Commands that keep running, and those around them: serve, web, worker, migrate, demo, doctor.

Each loads what it needs by itself: the web side is slow to load, and the worker.
"""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.table import Column, Table

from service.cli.frame import CommandFailed, ExitCode, Invocation
from service.cli.show import make_cell, note, print_json, safe, show
from service.database import Database
from service.database.copy import copy_everything
from service.database.migrate import is_blank, pending_migrations, upgrade_database
from service.health.check import Check, Status
from service.health.checks import check_worker
from service.health.doctor import examine
from service.leader.leader import is_alive
from service.leader.store import find_leader
from service.settings import SettingsError, load_settings
from service.settings.names import PREFIX
from service.settings.values import parse_database_url
from service.units import count_of
from service.wiring import IF_NEW, Service


def demo(invocation: Invocation, *, serves: bool) -> ExitCode:
    from service.demo.play import run_demo

    return ExitCode.DONE if run_demo(invocation.now, serves=serves) else ExitCode.FAILED


def serve(invocation: Invocation) -> int:
    from service.serve import run_serve

    return run_serve(invocation.read_settings(stays=True))


def web(invocation: Invocation) -> None:
    from service.web.server import run_web

    run_web(invocation.read_settings(stays=True))


def worker(invocation: Invocation, *, check: bool) -> int:
    if not check:
        from service.worker import run_worker

        run_worker(invocation.read_settings(stays=True))
        return ExitCode.DONE
    service = invocation.service
    with service.database.read() as tx:
        [(status, text, *_)] = check_worker(service.settings, tx, invocation.now())
    show(text)
    return ExitCode.DONE if status is Status.OK else ExitCode.FAILED


def migrate(invocation: Invocation, *, copied_from: str | None) -> None:
    database = Database(invocation.read_settings().database_url)
    try:
        if copied_from is not None:
            _copy(invocation, copied_from, database)
            return
        pending = upgrade_database(database)
    finally:
        database.dispose()
    if database.path is not None and is_blank(pending):
        note(f"created a new database: {database.path}; {IF_NEW}")
    done = f"migrated, {count_of(len(pending), 'step')}" if pending else "up to date already"
    show(f"database {database.name}: {done}")


def _copy(invocation: Invocation, url: str, target: Database) -> None:
    """Copy everything from a database that nobody uses, and of which nothing waits elsewhere."""
    import service.tables  # noqa: F401  (it declares what is to be copied)

    try:
        given = {f"{PREFIX}DATABASE_URL": parse_database_url(url)}
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--from") from None
    others = {name: value for name, value in invocation.environ.items() if name != f"{PREFIX}DATABASE_URL_FILE"}
    source = Service(load_settings(others | given), now=invocation.now)
    try:
        _require_at_rest(source, target)
        upgrade_database(target)
        copied = copy_everything(source.database, target)
    finally:
        source.close()
    counts = f"{count_of(copied['media_files'], 'file')}, {count_of(copied['callbacks'], 'callback')}"
    show(f"copied from {source.database.name} to {target.name}: {counts}, and everything else")
    note("move or rename the old database, so that nothing is started on it: it would delete by what it knows")


def _require_at_rest(source: Service, target: Database) -> None:
    """Refuse to copy what is not there, not of this release, the target itself, in use, or not whole."""
    database, path = source.database, source.database.path
    if path is not None and not path.exists():
        raise CommandFailed(f"there is no database {path}: correct --from")
    if database.url == target.url:
        raise CommandFailed(f"--from is {target.name} itself: set ZEGO_RETENTION_DATABASE_URL to the new database")
    if pending_migrations(database):
        raise CommandFailed(f"{database.name} is not migrated: run `zego-retention migrate` on it first")
    with database.read() as tx:
        leader = find_leader(tx)
    if leader is not None and is_alive(leader, source.settings.claim_lease, source.now()):
        raise CommandFailed(f"{leader.holder} works on {database.name}: stop the service, then copy")
    if waiting := source.spool.describe_waiting():
        raise CommandFailed(f"{waiting}: start the service on the old database until they are, then copy")


def test_channels(invocation: Invocation) -> ExitCode:
    from service.notify.notifier import send_test

    settings = invocation.read_settings()
    if not settings.notify:
        raise CommandFailed("no channel is set: set ZEGO_RETENTION_NOTIFY, for example to dingtalk://secret@token/")
    results = send_test(settings)
    if invocation.as_json:
        print_json({"channel": name, "sent": reason is None, "reason": reason} for name, reason in results.items())
    else:
        show(*(f"{name}: {f'not sent: {reason}' if reason else 'sent'}" for name, reason in results.items()))
    return ExitCode.FAILED if any(results.values()) else ExitCode.DONE


def doctor(invocation: Invocation) -> ExitCode:
    statuses = set()
    for check in _examine(invocation):
        statuses.add(check.status)
        if invocation.as_json:
            print_json([{"check": check.name, "status": check.status, "text": check.text, "fix": check.fix or None}])
            continue
        name = Column(min_width=len("app 1234567890"), overflow="fold")
        line = Table.grid(Column(min_width=len("attention")), name, Column(overflow="fold"), padding=(0, 2, 0, 0))
        fix = f" → {safe(check.fix)}" if check.fix else ""
        line.add_row(make_cell(check.status), make_cell(check.name), safe(check.text) + fix)
        show(line)
    if Status.PROBLEM in statuses:
        return ExitCode.FAILED
    return ExitCode.DONE if statuses <= {Status.OK, Status.NOTE} else ExitCode.NEEDS_PERSON


def _examine(invocation: Invocation) -> Iterator[Check]:
    try:
        settings = invocation.read_settings(warns=False)
    except SettingsError as error:
        yield Check("settings", Status.PROBLEM, str(error), "correct it first; nothing else can be checked")
        return
    service = Service(settings, now=invocation.now)
    try:
        yield from examine(settings, service.database, service.clients, service.now)
    finally:
        service.close()
