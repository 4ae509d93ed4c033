"""The service's processes: started again when they have ended, as a service manager does; killed, suspended, misled."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Self

from service.stopping import with_lifeline
from tests.processes import answers, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HOW_TO_GET_FAKETIME: Final = "there is no libfaketime; as root: apt-get install faketime (`make test` does so as root)"

_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108  (where the system keeps it)
_START: Final = """
import runpy, select, time
time.sleep = lambda seconds: select.select((), (), (), seconds) and None
runpy.run_module("service", run_name="__main__", alter_sys=True)
"""
# (libfaketime spoils clock_nanosleep, by which Python sleeps: "Invalid argument".)

_NOISE: Final = ("callback_refused", "quarantine_failed", "callback_understood", "callbacks_understood")
_LOOK_S: Final = 0.1
_START_AGAIN_S: Final = 0.5
_MAX_START_S: Final = 60
_MAX_STOP_S: Final = 60


def find_faketime() -> Path:
    """The library that shows a process another time."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    assert found, HOW_TO_GET_FAKETIME
    return found[0]


@dataclass
class Member:
    """One process of the service, by its name; it is started anew under the same name."""

    name: str
    command: str
    variables: Mapping[str, str]
    port: int | None = None
    process: subprocess.Popen[bytes] | None = None
    ended_at: float = 0.0
    is_struck: bool = False


@dataclass
class Fleet:
    """Starts its members, and again whatever has ended; within a `with` block.

    Until `excused_until` a process may end by itself: without a database, one that starts does.
    """

    members: Sequence[Member]
    folder: Path
    ended: list[str] = field(default_factory=list)
    restarts: Counter[str] = field(default_factory=Counter)
    excused_until: float = 0.0
    _limit: int = resource.RLIM_INFINITY
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _thread: threading.Thread | None = None
    _logs: list[IO[bytes]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.set_clock(0)
        for member in self.members:
            self._start(member)
        self._thread = threading.Thread(target=self._watch, name="fleet", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        for member in self.members:
            if member.process is not None and member.process.poll() is None:
                member.process.kill()
                member.process.wait()
                _forget_clock(member.process.pid)
        for log in self._logs:
            log.close()

    @property
    def ports(self) -> list[int]:
        return [member.port for member in self.members if member.port is not None]

    def wait_until_ready(self) -> None:
        wait_until(lambda: all(map(answers, self.ports)), _MAX_START_S)

    def list_running(self, command: str) -> list[Member]:
        with self._lock:
            members = [member for member in self.members if member.command == command and member.process is not None]
            return [member for member in members if member.process and member.process.poll() is None]

    def kill(self, member: Member) -> None:
        """As the system does when memory is short."""
        with self._lock:
            if member.process is not None and member.process.poll() is None:
                member.is_struck = True
                member.process.kill()

    def suspend(self, member: Member, seconds: float) -> None:
        """As a machine that stands still; killed meanwhile, it is gone."""
        process = member.process
        assert process is not None
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGSTOP)
        time.sleep(seconds)
        with self._lock:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGCONT)

    def set_clock(self, offset_s: int) -> None:
        """Let every process, running or started later, see the time so far off; within two seconds."""
        new = self.folder / "clock.new"
        new.write_text(f"{offset_s:+d}\n")
        new.rename(self.folder / "clock")

    def limit_files(self, size: int | None) -> None:
        """Let no file of a process grow beyond a size, as if the disk were full; None: let all grow again."""
        with self._lock:
            self._limit = resource.RLIM_INFINITY if size is None else size
            for member in self.members:
                self._apply_limit(member)

    def excuse(self, seconds: float) -> None:
        """For so long a process may end by itself."""
        self.excused_until = max(self.excused_until, time.monotonic() + seconds)

    def stop(self) -> None:
        """Ask every process to finish, and wait for it."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        for member in self.members:
            if member.process is not None and member.process.poll() is None:
                member.process.terminate()
        for member in self.members:
            if member.process is None:
                continue
            try:
                code = member.process.wait(_MAX_STOP_S)
            except subprocess.TimeoutExpired:
                self.ended.append(f"{member.name} did not end on SIGTERM within {_MAX_STOP_S} s")
                continue
            if code:
                self.ended.append(f"{member.name} ended with {code} on SIGTERM")

    def read_logs(self, lines: int) -> str:
        """The end of every log, for a person who has to find out what happened."""
        texts = []
        for member in self.members:
            log = (self.folder / f"{member.name}.log").read_text(encoding="utf-8", errors="replace").splitlines()
            found = [line for line in log if not any(each in line for each in _NOISE)]
            texts.append(f"--- {member.name}\n" + "\n".join(found[-lines:]))
        return "\n".join(texts)

    def _start(self, member: Member) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ZEGO_RETENTION_")}
        clock = {
            "LD_PRELOAD": str(find_faketime()),
            "FAKETIME_TIMESTAMP_FILE": str(self.folder / "clock"),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_CACHE_DURATION": "1",
            "NO_FAKE_STAT": "1",
        }
        log = (self.folder / f"{member.name}.log").open("ab")
        self._logs.append(log)
        member.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, member.command],
            env=with_lifeline(inherited | dict(member.variables) | clock),
            cwd=self.folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        self._apply_limit(member)

    def _apply_limit(self, member: Member) -> None:
        if member.process is not None and member.process.poll() is None:
            with suppress(ProcessLookupError):
                hard = resource.prlimit(member.process.pid, resource.RLIMIT_FSIZE)[1]
                resource.prlimit(member.process.pid, resource.RLIMIT_FSIZE, (self._limit, hard))

    def _watch(self) -> None:
        while not self._stop.wait(_LOOK_S):
            with self._lock:
                for member in self.members:
                    self._look(member)

    def _look(self, member: Member) -> None:
        if member.process is None:
            if time.monotonic() - member.ended_at > _START_AGAIN_S:
                self.restarts[member.command] += 1
                self._start(member)
        elif (code := member.process.poll()) is not None:
            _forget_clock(member.process.pid)
            if not member.is_struck and time.monotonic() > self.excused_until:
                self.ended.append(f"{member.name} ended by itself with {code} at {time.strftime('%T', time.gmtime())}")
            member.process, member.ended_at, member.is_struck = None, time.monotonic(), False


def _forget_clock(pid: int) -> None:
    """What libfaketime leaves behind of a process that was killed."""
    for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
        with suppress(OSError):
            (_SHARED_MEMORY / name).unlink()
