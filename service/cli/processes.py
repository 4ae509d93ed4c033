"""Commands that keep running, and those around them: serve, web, worker, migrate, demo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import structlog

from service.cli.invocation import ExitCode, Invocation, find_new_file, warn_of_settings
from service.core.wording import count
from service.db.engine import Database
from service.db.migrate import pending_migrations, upgrade_database
from service.lifeline import has_lifeline
from service.wiring import build_service

if TYPE_CHECKING:
    from service.settings import Settings

log = structlog.get_logger(__name__)

# Imported inside the commands: each process loads only its own libraries (the web server, the scheduler, the sandbox).


@click.command("serve")
@click.pass_obj
def serve_command(invocation: Invocation) -> int:
    """Run the web side and the worker together, until interrupted."""
    from service.supervisor import run_serve  # noqa: PLC0415

    return run_serve(_read_settings(invocation))


@click.command("web")
@click.pass_obj
def web_command(invocation: Invocation) -> int:
    """Run the web side: it takes callbacks in."""
    from service.web.server import run_web  # noqa: PLC0415

    return run_web(_read_settings(invocation))


@click.command("worker")
@click.option("--check", is_flag=True, help="Only tell whether a worker is at work and its sweeps are in time.")
@click.pass_obj
def worker_command(invocation: Invocation, check: bool) -> int:  # noqa: FBT001  (click passes options by name)
    """Run the worker: it sweeps when it is time."""
    from service.worker import check_worker, run_worker  # noqa: PLC0415

    if not check:
        return run_worker(_read_settings(invocation))
    service = build_service(invocation.read_settings(), now=invocation.now)
    try:
        is_well, detail = check_worker(service)
    finally:
        service.close()
    invocation.show(detail)
    return ExitCode.DONE if is_well else ExitCode.FAILED


@click.command("migrate")
@click.pass_obj
def migrate_command(invocation: Invocation) -> int:
    """Bring the database to this release's schema."""
    settings = invocation.read_settings()
    warn_of_settings(settings)
    service = build_service(settings, now=invocation.now)
    try:
        new = find_new_file(service.database)
        service.database.create_folder()
        pending = pending_migrations(service.database)
        if pending:
            upgrade_database(service.database)
    finally:
        service.close()
    if new:
        invocation.note(f"created a new database: {new}")
    done = f"migrated, {count(len(pending), 'step')}" if pending else "up to date already"
    invocation.show(f"database {service.database.name}: {done}")
    return ExitCode.DONE


@click.command("demo")
@click.pass_obj
def demo_command(invocation: Invocation) -> int:
    """Show the main job on embedded parts, with nothing to set up."""
    from service.demo import run_demo  # noqa: PLC0415

    return ExitCode.DONE if run_demo(invocation.out, invocation.now) else ExitCode.FAILED


def _read_settings(invocation: Invocation) -> Settings:
    settings = invocation.read_settings(is_process=True)
    if not has_lifeline(invocation.environ):  # `serve` has warned already
        warn_of_settings(settings)
        _tell_new_file(settings)
    return settings


def _tell_new_file(settings: Settings) -> None:
    database = Database(settings.database_url)
    try:
        new = find_new_file(database)
    finally:
        database.dispose()
    if new:
        log.info("new_database", note=f"{new} does not exist yet: it is created")
