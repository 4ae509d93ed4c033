"""Who a process is on its machine, so that another one can say whether it still lives."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process: the boot of its machine, its process namespace, its number there, and when it was started.

    `boot` and `namespace` are empty where the system does not say; then nobody can tell that the process is dead.
    """

    boot: str
    namespace: str
    pid: int
    started: str


def identify_process() -> ProcessId:
    """This process."""
    return ProcessId(*_read_machine(), os.getpid(), _read_start(os.getpid()) or "")


def is_dead(other: ProcessId) -> bool:
    """Whether a process certainly does not run any more; False where that cannot be known from here."""
    if not other.boot or (other.boot, other.namespace) != _read_machine():
        return False
    started = _read_start(other.pid)
    return started != other.started and not (started is None and _is_hidden(other.pid))


def read_boot_clock() -> float:
    """Seconds on a clock that also runs while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def _read_machine() -> tuple[str, str]:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return boot, str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return "", ""


def _read_start(pid: int) -> str | None:
    """When a process was started, in the system's ticks; None if there is none (or only its remains)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else fields[19]


def _is_hidden(pid: int) -> bool:
    """Whether a process of another user is there that the system (`hidepid`) does not describe to this one."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return False
