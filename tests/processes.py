"""The service as real processes, each of them ended by the test that started it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zlib import crc32

from service.model import Vendor
from service.sandbox.callbacks import callback_body
from tests.world import APP, CALLBACK_SECRET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

MAX_WAIT_S = 30


@dataclass
class Running:
    """A command of the service that was started, and the file that its output goes to."""

    process: subprocess.Popen[bytes]
    output: Path

    def log(self) -> str:
        return self.output.read_text(encoding="utf-8")

    def errors(self) -> list[str]:
        """What was said beside the log's records."""
        return [line for line in self.log().splitlines() if not line.startswith("{")]

    def wait_for(self, words: str) -> None:
        wait_until(lambda: words in self.log() or self.process.poll() is not None)
        assert words in self.log(), self.log()

    def end(self, signum: int = signal.SIGTERM) -> int:
        self.process.send_signal(signum)
        return self.process.wait(MAX_WAIT_S)


@contextmanager
def running(
    command: str, variables: Mapping[str, str], folder: Path, *arguments: str, module: str = "service", code: str = ""
) -> Iterator[Running]:
    """Start a command (of another module, or by code, if given) with nothing but these settings; kill it at the end."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ZEGO_RETENTION_")}
    output = folder / f"{module}-{time.monotonic_ns()}.log"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *(("-c", code) if code else ("-m", module)), command, *arguments],
            env=inherited | dict(variables),
            cwd=folder,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Running(process, output)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def wait_until(happened: Callable[[], bool], timeout_s: float = MAX_WAIT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def answers(port: int, host: str = "127.0.0.1") -> bool:
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


def ask(
    port: int, method: str, path: str, body: bytes | None = None, host: str = "127.0.0.1", **headers: str
) -> tuple[int, bytes]:
    """One request; its status and body."""
    connection = http.client.HTTPConnection(host, port, timeout=MAX_WAIT_S)
    try:
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def signed_callback(file_id: str, age: timedelta = timedelta(0), stream: str = "room") -> bytes:
    """A callback as ZEGO would send it now, of a recording that ended so long ago."""
    now = datetime.now(UTC)
    return callback_body(
        Vendor.TENCENT,
        app_id=APP,
        secret=CALLBACK_SECRET,
        file_id=file_id,
        stream=stream,
        began=now - age - timedelta(hours=1),
        ended=now - age,
        now=now,
        nonce=str(crc32(file_id.encode())),
    )[0]


def send_callback(port: int, file_id: str, age: timedelta = timedelta(0), stream: str = "room") -> int:
    """Send such a callback; the status of the answer."""
    return ask(port, "POST", "/zego/callback", signed_callback(file_id, age, stream))[0]
