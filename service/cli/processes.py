"""Commands that keep running, and those around them: serve, web, worker, migrate, demo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from service.cli.invocation import ExitCode, Invocation, warn_of_settings

if TYPE_CHECKING:
    from service.settings import Settings


@click.command("serve")
@click.pass_obj
def serve_command(invocation: Invocation) -> int:
    """Run the web side and the worker together, until interrupted.

    A database that does not exist yet is created, an SQLite database is migrated.
    """
    from service.serve import run_serve

    return run_serve(_read_settings(invocation))


@click.command("web")
@click.pass_obj
def web_command(invocation: Invocation) -> int:
    """Run the web side: it receives callbacks and answers the API."""
    from service.web.run import run_web

    return run_web(_read_settings(invocation))


@click.command("worker")
@click.option("--check", is_flag=True, help="Only say whether a worker is running and its sweeps are in time.")
@click.pass_obj
def worker_command(invocation: Invocation, check: bool) -> int:  # noqa: FBT001  (click passes options by name)
    """Run the worker: it deletes what is due. With several, one works and the others stand by."""
    if not check:
        from service.worker import run_worker

        return run_worker(_read_settings(invocation))
    from service.health.checks import Status, judge_worker

    with invocation.opened() as service, service.database.read() as tx:
        settings = service.settings
        health = judge_worker(tx, settings.sweep_slots, settings.claim_lease, service.now())
    invocation.show(health.text)
    return ExitCode.DONE if health.status is Status.OK else ExitCode.FAILED


@click.command("migrate")
@click.pass_obj
def migrate_command(invocation: Invocation) -> int:
    """Bring the database to this release's schema; create it where it does not exist."""
    from service.database import Database
    from service.database.migrate import pending_migrations, upgrade_database
    from service.units import count_of

    settings = invocation.read_settings()
    warn_of_settings(settings)
    database = Database(settings.database_url)
    is_new = database.path is not None and not database.path.exists()
    try:
        database.create_folder()
        pending = pending_migrations(database)
        if pending:
            upgrade_database(database)
    finally:
        database.dispose()
    if is_new:
        invocation.note(f"created a new database: {database.path}")
    done = f"migrated, {count_of(len(pending), 'step')}" if pending else "up to date already"
    invocation.show(f"database {database.name}: {done}")
    return ExitCode.DONE


@click.command("demo")
@click.pass_obj
def demo_command(invocation: Invocation) -> int:
    """Show the main job on embedded parts, with nothing to set up."""
    from service.demo import run_demo

    return ExitCode.DONE if run_demo(invocation.out, invocation.now) else ExitCode.FAILED


def _read_settings(invocation: Invocation) -> Settings:
    """The settings of a process that keeps running; whoever started it first says what there is to say."""
    from service.stopping import has_lifeline

    settings = invocation.read_settings(is_process=True)
    if not has_lifeline(invocation.environ):
        warn_of_settings(settings)
    return settings
