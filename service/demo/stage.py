"""What the demo plays on: a temporary folder, a ZEGO on loopback, and the real web side as a process of its own."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from service.demo.cast import APP_ID, GONE, LOCKED, POISON, RECORDINGS
from service.lifeline import with_lifeline
from service.setting_sources import PREFIX
from service.settings import load_settings
from service.wiring import open_service
from service.zego.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from service.wiring import Service

_START_S: Final = 30
_STOP_S: Final = 10
_CODE_FAILED: Final = 1000

# A proxy of the surroundings has no business between two processes of one machine.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class StageError(Exception):
    """A part of the demo could not be set up; the text says which, in one line."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The parts, ready: ZEGO, the service in this process, the web side's address, and the callback secret."""

    sandbox: Sandbox
    service: Service
    web_url: str
    callback_secret: str

    def post_callback(self, body: bytes, content_type: str) -> tuple[int, str]:
        """Send a callback as ZEGO would; returns status and body of the answer."""
        request = urllib.request.Request(  # noqa: S310  (an address that this stage made)
            f"{self.web_url}/zego/callback", data=body, headers={"Content-Type": content_type}, method="POST"
        )
        try:
            with _direct.open(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@contextmanager
def build_stage(now: Callable[[], datetime]) -> Iterator[Stage]:
    """Set everything up, and take everything away at the end of the block.

    Raises:
        StageError: the web side did not start.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zego-retention-demo-")))
        server_secret, callback_secret = secrets.token_hex(16), secrets.token_hex(16)
        sandbox = stack.enter_context(_fill(Sandbox({APP_ID: server_secret}, now), now()))
        environ = {
            f"{PREFIX}{name}": value
            for name, value in {
                "DATABASE_URL": f"sqlite:///{folder / 'demo.db'}",
                "LISTEN": f"127.0.0.1:{_free_port()}",
                "APP_ID": APP_ID,
                "SERVER_SECRET": server_secret,
                "CALLBACK_SECRET": callback_secret,
                "API_URL": sandbox.url,
            }.items()
        }
        settings = load_settings(environ)
        service = open_service(settings, now=now)
        stack.callback(service.close)
        web_url = f"http://{settings.listen}"
        stack.enter_context(_web_side(environ, folder, web_url))
        yield Stage(sandbox, service, web_url, callback_secret)


def _fill(sandbox: Sandbox, now: datetime) -> Sandbox:
    """Put the recordings where their vendors keep them, and have three of them make trouble."""
    for recording in RECORDINGS:
        if recording is not GONE:
            created_at = now - recording.age
            sandbox.add_file(
                APP_ID, recording.vendor, recording.file_id, created_at=created_at, stream_id=recording.stream
            )
    sandbox.poison(POISON.file_id, _CODE_FAILED)
    sandbox.fail_file(LOCKED.file_id, "Locked", "the file is being transcoded", times=1)
    return sandbox


@contextmanager
def _web_side(environ: Mapping[str, str], folder: Path, url: str) -> Iterator[None]:
    outer = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
    log_path = folder / "web.log"
    with log_path.open("wb") as log:
        web = subprocess.Popen(
            [sys.executable, "-P", "-m", "service", "web"],
            cwd=folder,
            env=with_lifeline({**outer, **environ}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        _wait_until_ready(web, url, log_path)
        yield
    finally:
        web.terminate()
        try:
            web.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            web.kill()
            web.wait()


def _wait_until_ready(web: subprocess.Popen[bytes], url: str, log_path: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and web.poll() is None:
        try:
            with _direct.open(f"{url}/readyz", timeout=5):
                return
        except OSError:  # nobody listens yet, or it is not ready yet
            time.sleep(0.05)
    said = log_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    raise StageError(f"the web side did not start: {said[-1] if said else 'it said nothing'}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
