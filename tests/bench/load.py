"""The load: signed callbacks over keep-alive connections, from a process of its own.

`python -m tests.bench.load` sends them and prints one line of JSON; `send` starts that and reads the line. One thread
and plain sockets: it costs a fraction of what any server here costs, and says which share of a core it used.
"""

from __future__ import annotations

import gc
import json
import select
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from service.sandbox.callbacks import callback_body
from tests.world import APP, CALLBACK_SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_WAIT_S = 300.0


@dataclass(frozen=True, slots=True)
class Load:
    """What to send: `count` callbacks from number `first` on, as fast as they are answered, or `rate` a second."""

    port: int
    count: int
    connections: int = 32
    first: int = 0
    rate: float = 0.0


@dataclass(slots=True)
class Result:
    """How it went. Latencies count from when a callback was due; `cpu` is the generator's share of a core."""

    statuses: dict[str, int]
    per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu: float
    ended: float

    @property
    def stored(self) -> int:
        """How many were answered 200."""
        return self.statuses.get("200", 0)


def build_request(number: int, now: datetime) -> bytes:
    """One callback, as ZEGO would send it; equal numbers name the same file."""
    body, content_type = callback_body(
        "Tencent",
        app_id=APP,
        secret=CALLBACK_SECRET,
        file_id=str(10**18 + number),
        stream=f"room-{number % 500}",
        began=now - timedelta(hours=1),
        ended=now,
        now=now,
        nonce=str(1_000_000 + number),
    )
    head = f"POST /zego/callback HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


@contextmanager
def sending(load: Load) -> Iterator[subprocess.Popen[str]]:
    """Send beside what the caller does; `read_result` waits for the end."""
    arguments = [sys.executable, "-m", "tests.bench.load", json.dumps(asdict(load))]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def read_result(process: subprocess.Popen[str]) -> Result:
    text, _ = process.communicate(timeout=_MAX_WAIT_S + 60)
    return Result(**json.loads(text))


def send(load: Load) -> Result:
    """Send, and wait for the end."""
    with sending(load) as process:
        return read_result(process)


class _Sender:
    """One thread that keeps all connections busy; each has at most one request open."""

    def __init__(self, load: Load) -> None:
        now = datetime.now(UTC)
        self._load = load
        self._requests = deque(build_request(load.first + number, now) for number in range(load.count))
        self._poll = select.epoll()
        self._idle: deque[socket.socket] = deque()
        self._open: dict[int, tuple[socket.socket, float, bytes]] = {}
        self.statuses: Counter[str] = Counter()
        self.latencies: list[float] = []

    def run(self) -> None:
        for _ in range(self._load.connections):
            self._connect()
        started, sent = time.monotonic(), 0
        while self._requests or self._open:
            now = time.monotonic()
            due = started + sent / self._load.rate if self._load.rate else now
            if self._requests and self._idle and due <= now:
                self._send(due)
                sent += 1
                continue
            if now - started > _MAX_WAIT_S:
                self.statuses["no answer"] += len(self._requests) + len(self._open)
                return
            for number, _ in self._poll.poll(max(due - now, 0) if self._requests and self._idle else 1.0):
                self._receive(number)

    def _connect(self) -> None:
        connection = socket.create_connection(("127.0.0.1", self._load.port), 30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._idle.append(connection)

    def _send(self, due: float) -> None:
        connection = self._idle.popleft()
        self._open[connection.fileno()] = (connection, due, b"")
        self._poll.register(connection.fileno(), select.EPOLLIN)
        with suppress(OSError):  # noticed when its answer is read
            connection.sendall(self._requests.popleft())

    def _receive(self, number: int) -> None:
        connection, due, answer = self._open[number]
        data = b""
        with suppress(OSError):
            data = connection.recv(65_536)
        answer += data
        head, end, rest = answer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or b"0")
        self._open[number] = (connection, due, answer)
        if data and not (end and len(rest) >= length):
            return
        self._poll.unregister(number)
        del self._open[number]
        if data:
            self.latencies.append(time.monotonic() - due)
            self._idle.append(connection)
        else:
            connection.close()
            self._connect()
        self.statuses[head[9:12].decode() if data else "cut"] += 1


def main() -> None:
    sender = _Sender(Load(**json.loads(sys.argv[1])))
    gc.disable()
    started, cpu = time.monotonic(), time.process_time()
    sender.run()
    ended, used, latencies = time.monotonic(), time.process_time() - cpu, sorted(sender.latencies) or [0.0]
    p50, p99 = (round(1000 * latencies[int(len(latencies) * share)], 2) for share in (0.5, 0.99))
    per_second = len(sender.latencies) / (ended - started)
    longest = round(1000 * latencies[-1], 2)
    result = Result(dict(sender.statuses), per_second, p50, p99, longest, used / (ended - started), ended)
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
