"""`serve`: web side and worker as two child processes of one that only watches over them (docs/operations.md).

Two processes, so that a worker that dies never takes the callback URL away.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Final

import structlog

from service import __version__
from service.database import Database, DatabaseUnavailable, UnfitDatabase
from service.health.callbacks import describe_callback_url
from service.health.checks import describe_waiting
from service.logs import is_for_people
from service.rules.store import find_current
from service.schedule import describe_slots
from service.settings import Settings
from service.settings.values import CALLBACK_PATH
from service.stopping import StopSignals, stop_signals, with_lifeline
from service.units import count_of, format_duration
from service.web.address import check_address, is_answering
from service.web.inherited import find_inherited
from service.wiring import open_service

_EARLY_S: Final = 3.0
_SHORTEST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
_STABLE_S: Final = 60.0
_LOOK_S: Final = 0.1
_MAX_STOPPING_S: Final = 90.0

log = structlog.get_logger(__name__)


def run_serve(settings: Settings) -> int:
    """Run both sides until SIGTERM or SIGINT; both may finish their work. Returns the exit code.

    A side that ends at the very start stops everything: something is wrong that waiting does not cure. Later it is
    started again, after 1 s, then 2 s, up to 30 s. Raises CannotListen, or DatabaseUnavailable where waiting would not
    help either, or KeyboardInterrupt if a person gave up before both sides ran.
    """
    with stop_signals(second_ends=False) as signals:
        if not find_inherited(os.environ):
            check_address(settings.listen)
        rules = _prepare(settings)
        sides = [_Side("web"), _Side("worker")]
        if is_for_people(settings.log_format):
            with suppress(OSError):  # a full disk behind it ends no service
                sys.stdout.write(describe_start(settings, rules))
                sys.stdout.flush()
        try:
            code = _watch(sides, signals, settings, rules)
        finally:
            _stop([side.process for side in sides if side.process is not None], signals)
        log.info("serve_stopped")
        return code


def describe_start(settings: Settings, rules: str) -> str:
    """What a person needs to know: where it listens, what to register, what is in force. The log follows."""
    url = describe_callback_url(settings)
    no_url = "set ZEGO_RETENTION_PUBLIC_URL to where ZEGO reaches this service; register that and /zego/callback"
    more = "" if settings.callback_paths[0] == CALLBACK_PATH else "; `zego-retention doctor` shows it whole"
    secrets = "ZEGO_RETENTION_SERVER_SECRET and ZEGO_RETENTION_CALLBACK_SECRET"
    no_app = f"none, so every callback is refused: set ZEGO_RETENTION_APP_ID, {secrets}"
    force = _describe_force(settings)
    off = "" if settings.sweep_slots else " (ZEGO_RETENTION_SWEEP_EVERY): nothing is deleted by itself"
    return (
        f"zego-retention {__version__} is starting; Ctrl-C stops it\n"
        f"  address       http://{settings.listen}\n"
        f"  callback URL  {url + more if settings.public_url else no_url}\n"
        "                (ZEGO's console: Project → Server callback → Recording file)\n"
        f"  apps          {', '.join(app.name for app in settings.apps) or no_app}\n"
        f"  rules         {rules}\n"
        f"  sweeps        {force['sweeps']}{off}\n"
        f"  cooling-off   {force['cooling_off']}\n"
        f"  database      {force['database']}\n"
    )


def _describe_force(settings: Settings) -> dict[str, str]:
    """When files are deleted, how long what changes waits, and where everything is kept: without user and password."""
    database = Database(settings.database_url).name
    return {
        "sweeps": describe_slots(settings.sweep_slots),
        "cooling_off": format_duration(settings.cooling_off),
        "database": database,
    }


class _Side:
    """One child process, started again after a pause when it has ended (monotonic seconds)."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.process: subprocess.Popen[bytes] | None = None
        self.pause_s = self._started_at = self._start_again_at = 0.0

    def look(self) -> int | None:
        """The exit code of a process that has ended since the last look; one whose pause is over is started."""
        now = time.monotonic()
        if self.process is None:
            if now >= self._start_again_at:
                self._started_at = now
                # In a session of its own: a Ctrl-C reaches it through us, once.
                # -P: a folder called "service" where we were started must not be taken for ours.
                command, environ = [sys.executable, "-P", "-m", "service", self.command], with_lifeline(os.environ)
                sockets = find_inherited(os.environ) if self.command == "web" else ()
                self.process = subprocess.Popen(command, env=environ, start_new_session=True, pass_fds=sockets)  # noqa: S603  (our own)
            return None
        code = self.process.poll()
        if code is not None:
            before = 0.0 if now - self._started_at > _STABLE_S else self.pause_s
            self.pause_s = min(max(2 * before, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)
            self.process, self._start_again_at = None, now + self.pause_s
        return code


def _prepare(settings: Settings) -> str:
    """Make the database ready; which rules are in force. A server that is away is left to both sides to await."""
    try:
        service = open_service(settings, creates_database=True)
    except DatabaseUnavailable as error:
        if settings.database_url.startswith("sqlite") or isinstance(error, UnfitDatabase):
            raise
        log.error("database_not_ready", detail=str(error))
        return "unknown until the database is ready"
    try:
        with service.database.read() as tx:
            revision, waiting = find_current(tx), describe_waiting(tx)
    finally:
        service.close()
    if revision is None:
        return "none, so nothing is ever deleted: set ZEGO_RETENTION_KEEP, or see `zego-retention rules apply --help`"
    said = f"revision {revision.number}, {count_of(len(revision.rules), 'rule')}; see `zego-retention rules list`"
    return "; ".join([said, *(waiting or ())])


def _watch(sides: list[_Side], signals: StopSignals, settings: Settings, rules: str) -> int:
    """Keep both sides running until a signal comes (0), or one ends within three seconds or before all runs (1)."""
    early, announced = time.monotonic() + _EARLY_S, False
    while True:
        for side in sides:
            code = side.look()
            if code is not None:
                if time.monotonic() < early or not announced:
                    log.error("side_failed", side=side.command, code=code)
                    return 1
                log.error("side_ended", side=side.command, code=code, again_in_s=side.pause_s)
        if not announced and (find_inherited(os.environ) or is_answering(settings.listen)):
            announced = True
            apps = [app.app_id for app in settings.apps]
            facts = {"callback_url": describe_callback_url(settings), "apps": apps, "rules": rules}
            log.info("serve_running", listen=str(settings.listen), **facts, **_describe_force(settings))
        signum = signals.wait(_LOOK_S)
        if signum == signal.SIGINT and not announced:
            raise KeyboardInterrupt
        if signum is not None:
            log.info("serve_stopping", signal=signal.Signals(signum).name)
            return 0


def _stop(running: list[subprocess.Popen[bytes]], signals: StopSignals) -> None:
    """Ask both sides to finish, and wait; a second signal, or too long a wait, ends them at once."""
    for process in running:
        process.terminate()
    deadline = time.monotonic() + _MAX_STOPPING_S
    while any(process.poll() is None for process in running) and time.monotonic() < deadline:
        if signals.wait(_LOOK_S) is not None:
            break
    for process in running:
        process.kill()  # (does nothing to one that has ended)
        process.wait()
