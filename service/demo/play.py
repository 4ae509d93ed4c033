"""The demo: callbacks arrive, files become due, a sweep meets trouble, and what came of it is compared with ZEGO.

It plays on a ZEGO on loopback, the real web side, and the real service on SQLite in a temporary folder.
"""

from __future__ import annotations

import http.client
import os
import random
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from flask import Flask
from rich.text import Text

from service.cli.show import describe_counts, show, show_table
from service.demo.recordings import NOT_STORED, RECORDINGS, RULES, SHAPES, TROUBLES, Recording
from service.filters import FileFilter
from service.holds.holds import place_hold
from service.leader.store import COMMAND
from service.logs import configure_logging
from service.model import END_STATES, Actor, FileState, Role, Vendor
from service.people.people import add_person
from service.preview.apply import apply_rules
from service.preview.make import Candidate
from service.rules.file import parse_rules
from service.sandbox import Sandbox
from service.sandbox.callbacks import callback_body
from service.settings import Listen, load_settings
from service.stopping import stop_signals
from service.sweep.dry_run import dry_run
from service.sweep.records import Trigger
from service.views.files import FILES, File
from service.views.runs import RUNS
from service.web.address import CannotListen, bind
from service.web.app import create_app
from service.web.front import create_front
from service.web.server import build_server
from service.wiring import Service, open_service
from service.worker import Worker

_APP: Final = "1234567890"
_CONSOLE_PORT: Final = 8080
_MORE_RECORDINGS: Final = 300
_INTRODUCTION: Final = """\
ZEGO keeps CDN recordings; this service deletes them when their time has come. This demo does the
whole job on this machine: a ZEGO sandbox, the real web side, the real sweep. Nothing leaves it."""
_NEXT_STEPS: Final = """\
1. Copy from ZEGO's console, of your project:
     export ZEGO_RETENTION_APP_ID=…
     export ZEGO_RETENTION_SERVER_SECRET=…
     export ZEGO_RETENTION_CALLBACK_SECRET=…
     export ZEGO_RETENTION_PUBLIC_URL=https://where-zego-reaches-you
2. Say how long recordings are kept, and that nothing is deleted by itself yet:
     export ZEGO_RETENTION_KEEP=30d
     export ZEGO_RETENTION_SWEEP_EVERY=off
3. {command} serve
     takes callbacks; a reverse proxy with TLS passes them on to 127.0.0.1:8080
4. In ZEGO's console, enter the callback URL: Project → Server callback → Recording file
     it is https://where-zego-reaches-you/zego/callback
5. {command} doctor
     in a second terminal with the same exports: checks all of it
6. {command} rules preview FILE, then rules apply
     if one window for all is not enough: rules as above
7. {command} sweep --dry-run
     what would be deleted now? If that is right, unset ZEGO_RETENTION_SWEEP_EVERY and start `serve` again:
     it then sweeps every 15 minutes"""


def run_demo(now: Callable[[], datetime], *, serves: bool = False) -> bool:
    """Play the demo; True if everything came out as it had to. `serves`: its world then runs on until interrupted."""
    configure_logging(None, "CRITICAL")
    started = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it like Ctrl-C: nothing is left behind
    show(_INTRODUCTION)
    broken = _play(now, serves=serves)
    if broken:
        show("", "The demo failed:", *(f"- {line}" for line in broken))
        return False
    command = "zego-retention"
    if not shutil.which(command):
        command = os.path.relpath(Path(sys.executable).parent / command)
    _begin("6  Next: your own app")
    show(_NEXT_STEPS.format(command=command), "")
    show(f"The demo took {time.monotonic() - started:.0f} s and left nothing behind.")
    return True


def find_broken(files: list[File], stored: set[str]) -> list[str]:
    """What came out otherwise than it had to: `files` of the inventory, and ids of those that ZEGO still stores."""
    found = {file.file_id: (file.state, file.last_outcome and file.last_outcome.outcome) for file in files}
    wanted = {each.file_id: (each.state, each.outcome) for each in RECORDINGS}
    broken = [
        f"{file_id}: {wanted.get(file_id)} was expected, but it is {found.get(file_id)}"
        for file_id in sorted(found | wanted)
        if found.get(file_id) != wanted.get(file_id)
    ]
    left = {file.file_id for file in files if file.state not in END_STATES}
    return broken if stored == left else [*broken, f"ZEGO stores {sorted(stored)}, but {sorted(left)} are left"]


def _play(now: Callable[[], datetime], *, serves: bool) -> list[str]:
    """Set everything up, play every scene, take everything away; what came out otherwise than it had to."""
    server_secret, callback_secret = secrets.token_hex(16), secrets.token_hex(16)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="zego-retention-demo-"))
        sandbox = stack.enter_context(Sandbox({_APP: server_secret}, now))
        sandbox.troubles |= TROUBLES
        for each in RECORDINGS:
            if each.file_id != NOT_STORED:
                sandbox.add_file(_APP, each.vendor, each.file_id, created_at=now() - each.age, stream_id=each.stream)
        variables = {
            "DATABASE_URL": f"sqlite:///{folder}/demo.db",
            "APP_ID": _APP,
            "SERVER_SECRET": server_secret,
            "CALLBACK_SECRET": callback_secret,
            "API_URL": sandbox.url,
        }
        settings = load_settings({f"ZEGO_RETENTION_{name}": value for name, value in variables.items()})
        service = open_service(settings, now=now, creates_database=True)
        stack.callback(service.close)
        service.leader.try_to_lead()
        service.take_over(makes_calls=False)  # (there was no leader before whose calls could still be under way)
        # There is no file yet, so nothing becomes due sooner: no preview is asked for.
        rules = Candidate(parse_rules(RULES), "the demo")
        apply_rules(service.database, service.reader, rules, Actor("demo", "demo"), settings.cooling_off, now)
        _begin("1  The rules: the first that matches a recording decides how long it is kept")
        show(RULES.rstrip())
        port = stack.enter_context(_serve(create_app(settings, now=now), _CONSOLE_PORT if serves else 0))
        broken = _send_callbacks(port, callback_secret, now())
        service.catch_up.run()
        _sweep(service)
        files = list(FILES.iterate(service.database, FileFilter()))
        _show_files(files, now())
        stored = {file_id for vendor in Vendor for file_id in sandbox.files(_APP, vendor)}
        broken += find_broken(files, stored)
        if not broken:
            show(
                "", f"Proof: ZEGO still stores {len(stored)} files, exactly those that the inventory lists as present."
            )
        if serves and not broken:
            _fill(sandbox, port, callback_secret, now())
            _run_on(service, port)
    return broken


def _fill(sandbox: Sandbox, port: int, secret: str, now: datetime) -> None:
    """Give the console something to show: more recordings of the last weeks, and some that no callback announced."""
    chance = random.Random(1)  # noqa: S311  (made-up recordings, the same each time)
    for number in range(_MORE_RECORDINGS):
        stream, vendor = f"{chance.choice(('trial', 'lesson', 'exam', 'town-hall', 'room'))}-{number}", Vendor.HUAWEI
        age, file_id = timedelta(hours=chance.randrange(1, 40 * 24)), f"record/{stream}/1.mp4"
        sandbox.add_file(_APP, vendor, file_id, created_at=now - age, stream_id=stream)
        if number % 20:
            _post(port, Recording(stream, vendor, file_id, age, "json", FileState.SCHEDULED), secret, now)


def _run_on(service: Service, port: int) -> None:
    """Let the worker work, and people look at the console, until a signal comes."""
    password, now = secrets.token_urlsafe(12), service.now()
    add_person(service.database, "demo", Role.ADMIN, password, Actor("demo", "demo"), now)
    place_hold(
        service.database,
        Actor("demo", "demo"),
        reason="a question of the parents",
        now=now,
        known_apps=service.app_ids,
        app_id=_APP,
        stream_pattern="room-1*",
    )
    _begin("6  The console")
    show(f"Open http://127.0.0.1:{port}/ and sign in as demo with the password {password}; Ctrl-C ends it.")
    service.leader.name = service.leader.name.removesuffix(COMMAND)
    with stop_signals(second_ends=True) as signals:
        Worker(service).run(signals)


def _send_callbacks(port: int, secret: str, now: datetime) -> list[str]:
    """Send what ZEGO would send; where another answer came than had to."""
    posts = [
        (each, each.stream, SHAPES[each.shape] + ", signed an hour ago" * bool(each.sent_ago)) for each in RECORDINGS
    ]
    posts.append((RECORDINGS[0], "trial-anna again", "a repeat: changes nothing"))
    posts.append((RECORDINGS[3]._replace(stream="trial-x"), "a forged one", "claims that lesson-7 is a trial room"))
    rows, broken = [], []
    for recording, name, shape in posts:
        signed_with, wanted = ("a guess", 401) if name == "a forged one" else (secret, 200)
        status = _post(port, recording, signed_with, now)
        if status != wanted:
            broken.append(f"answer to {name}: {wanted} was expected, but it is {status}")
        rows.append((name, recording.vendor, shape, status))
    _begin("2  Callbacks arrive over HTTP, signed, in all the shapes that ZEGO is known for")
    show_table(("stream", "vendor", "written as", "answer"), rows)
    show("", "200: stored durably. 401: the signature is wrong, so it is in quarantine and changes nothing.")
    return broken


def _post(port: int, recording: Recording, secret: str, now: datetime) -> int:
    """Send the callback that announces a recording; the status of the answer."""
    ended = now - recording.age
    body, content_type = callback_body(
        recording.vendor,
        app_id=_APP,
        secret=secret,
        file_id=recording.file_id,
        stream=recording.stream,
        began=ended - timedelta(minutes=45),
        ended=ended,
        now=now - recording.sent_ago,
        shape=recording.shape,
        size_bytes=184_000_000,
    )
    # (urllib would ask a proxy of the surroundings, which has no business between two ends of one process.)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/zego/callback", body, {"Content-Type": content_type})
    status = connection.getresponse().status
    connection.close()
    return status


def _sweep(service: Service) -> None:
    everything = (service.database, service.reader, service.app_ids, service.sweeper.limits, service.now())
    due = dry_run(*everything, confirm_all=False, limit=0)
    _begin("3  A dry run: what would be deleted now?")
    show(f"{due.total} of {len(RECORDINGS)} files. Nothing was touched yet.")
    run = RUNS.show(service.database, service.sweeper.run(Trigger.COMMAND, threading.Event()) or 0)
    _begin("4  One sweep")
    show(f"{run.calls} calls of DeleteMedia; files: {describe_counts(run.outcomes)}.")
    show(
        "One call failed because of one file (trial-ben): it was split in halves until that file was alone,",
        "and the others were deleted. trial-dora is locked, and the answer says nothing of trial-hana, which is",
        "not reported as deleted. All three are retried later.",
    )


def _begin(scene: str) -> None:
    show("", Text(scene, style="bold"), "")


def _show_files(files: list[File], now: datetime) -> None:
    rows = []
    for file in files:
        age = now - (file.ended_at or now)
        outcome = file.last_outcome and file.last_outcome.outcome
        words = f"{age.days}d" if age.days else f"{age.seconds // 3600}h"
        rows.append((file.stream_id, words, file.state, outcome, file.state_reason))
    _begin("5  The outcome of each file, as the inventory has it")
    show_table(("stream", "age", "state", "outcome", "why"), rows)


@contextmanager
def _serve(app: Flask, port: int) -> Iterator[int]:
    """The web side on a port of loopback, or a free one if that is taken; its number."""
    try:
        sockets = bind(Listen("127.0.0.1", port))
    except CannotListen:
        sockets = bind(Listen("127.0.0.1", 0))
    server = build_server(create_front(app))
    thread = threading.Thread(target=server.run, args=(sockets,), name="web", daemon=True)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield int(sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(10)
        app.extensions["zego-retention"].close()
