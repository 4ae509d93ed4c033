"""The load: which recordings ZEGO announces and when (pure), and sending it as ZEGO does: again until a 2xx."""

from __future__ import annotations

import heapq
import http.client
import itertools
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from service.model import Vendor
from service.sandbox.callbacks import callback_body
from tests.chaos.witness import Kind, Recording
from tests.world import APP, CALLBACK_SECRET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from service.sandbox import Sandbox

_RETRY_AFTER_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
_MAX_ANSWER_S: Final = 12.0
_SENDERS: Final = 24
_STREAMS: Final = ("room-1", "room-2", "soon-1", "soon-2", "pause-1", "pause-2", "pause-3", "held-1", "keep-1", "day-1")
_WEIGHTS: Final = (5, 4, 6, 5, 2, 2, 2, 2, 2, 2)
_STALE_S: Final = 3_600
_AGES_S: Final = (0, 0, 3, 10, 3_600)


@dataclass(frozen=True, slots=True)
class Announcement:
    """One recording that is announced `at` seconds after the start; it ended `age_s` before that.

    `copies` more requests carry the same callback.
    """

    at: float
    number: int
    vendor: Vendor
    stream: str
    age_s: int
    kind: Kind
    copies: int

    @property
    def file_id(self) -> str:
        if self.vendor is Vendor.TENCENT:
            return str(5 * 10**18 + self.number)
        return f"record/{APP}/{self.stream}/{self.number:06}.mp4"


def make_load(seed: int, seconds: int, rate: float, burst: int) -> list[Announcement]:
    """Everything that is announced: at this rate, and once `burst` recordings at a time that are due already."""
    chance = random.Random(f"load {seed} {seconds}")
    moments = [chance.uniform(0, seconds) for _ in range(int(rate * seconds))]
    load = [_draw(chance, at, number) for number, at in enumerate(sorted(moments))]
    at = chance.uniform(0.2, 0.6) * seconds
    first = len(load)
    vendors = list(Vendor)
    load += [
        Announcement(at, first + number, vendors[number % 3], "soon-3", 3_600, Kind.FRESH, 0) for number in range(burst)
    ]
    return sorted(load, key=lambda each: (each.at, each.number))


def _draw(chance: random.Random, at: float, number: int) -> Announcement:
    kind = chance.choices(list(Kind), (85, 5, 5, 5))[0]
    stream = chance.choices(_STREAMS, _WEIGHTS)[0]
    age_s = chance.choice(_AGES_S)
    if kind is Kind.STALE:  # signed an hour ago, and the recording had ended before that
        age_s = _STALE_S + 60 + age_s
    if kind is Kind.CONFLICT:  # its second content has to arrive before the first is due
        stream, age_s = "room-1", 0
    return Announcement(at, number, chance.choice(list(Vendor)), stream, age_s, kind, chance.choice((0, 0, 0, 1, 2)))


@dataclass
class Sender:
    """Sends a load to the web sides; `recordings` says what was answered, `statuses` what each request met."""

    load: Sequence[Announcement]
    ports: Sequence[int]
    sandbox: Sandbox
    recordings: dict[str, Recording] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    _queue: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _lock: threading.Condition = field(default_factory=threading.Condition)
    _open: int = 0

    def run(self) -> None:
        """Send everything; returns when each callback was answered 2xx or given up."""
        began = time.monotonic()
        for each in self.load:
            self._put(began + each.at, lambda each=each: self._begin(each))  # type: ignore[misc]
        with ThreadPoolExecutor(_SENDERS, "sender") as pool:
            while True:
                with self._lock:
                    if not self._queue and not self._open:
                        return
                    wait_s = self._queue[0][0] - time.monotonic() if self._queue else 1.0
                    if wait_s > 0:
                        self._lock.wait(min(wait_s, 1.0))
                        continue
                    _, _, work = heapq.heappop(self._queue)
                    self._open += 1
                pool.submit(self._do, work)

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            with self._lock:
                self._open -= 1
                self._lock.notify()

    def _put(self, at: float, work: Callable[[], None]) -> None:
        with self._lock:
            heapq.heappush(self._queue, (at, next(self._numbers), work))
            self._lock.notify()

    def _begin(self, each: Announcement) -> None:
        """Store the file at the sandbox, then announce it."""
        now = datetime.now(UTC).replace(microsecond=0)
        ended = now - timedelta(seconds=each.age_s)
        recording = Recording(each.vendor, each.file_id, each.stream, ended, each.kind)
        self.recordings[each.file_id] = recording
        if each.kind is not Kind.FORGED:
            self.sandbox.add_file(APP, each.vendor, each.file_id, created_at=ended, stream_id=each.stream)
        signed_at = now - timedelta(seconds=_STALE_S) if each.kind is Kind.STALE else now
        body = self._build(each, ended, signed_at, each.stream)
        if each.kind is Kind.CONFLICT:
            other = self._build(each, ended, signed_at, "another")
            self._send(recording, other, 0, is_second=True)
        for _ in range(1 + each.copies):
            self._send(recording, body, 0)

    def _build(self, each: Announcement, ended: datetime, signed_at: datetime, stream: str) -> tuple[bytes, str]:
        return callback_body(
            each.vendor,
            app_id=APP,
            secret="a wrong secret" if each.kind is Kind.FORGED else CALLBACK_SECRET,
            file_id=each.file_id,
            stream=stream,
            began=ended - timedelta(minutes=30),
            ended=ended,
            now=signed_at,
            nonce=str(100_000 + each.number),
        )

    def _send(self, recording: Recording, body: tuple[bytes, str], tries: int, *, is_second: bool = False) -> None:
        sent_at = datetime.now(UTC)
        status = post_callback(self.ports[next(self._numbers) % len(self.ports)], *body)
        answered_at = datetime.now(UTC)
        self.statuses[str(status) if status else "no answer"] += 1
        recording.note(sent_at, answered_at, status, is_second=is_second)
        is_answered = status is not None and status < 500
        if not is_answered and tries < len(_RETRY_AFTER_S):
            again = time.monotonic() + _RETRY_AFTER_S[tries]
            self._put(again, lambda: self._send(recording, body, tries + 1, is_second=is_second))


def post_callback(port: int, body: bytes, content_type: str) -> int | None:
    """The status of the answer; None: there was none."""
    return ask(port, "POST", "/zego/callback", body, {"Content-Type": content_type}, _MAX_ANSWER_S)[0]


def ask(
    port: int, method: str, path: str, body: bytes | None, headers: dict[str, str], timeout_s: float
) -> tuple[int | None, bytes]:
    """One request; its status (None: there was no answer) and body."""
    connection: Any = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return None, b""
    finally:
        connection.close()
