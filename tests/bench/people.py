"""People at the console, from a process of their own: some who click through all pages, or a crowd that signs in.

`python -m tests.bench.people` does so and prints a line of JSON; `beside` starts it while something else is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.client import HTTPConnection, HTTPException
from statistics import quantiles
from typing import TYPE_CHECKING
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNERS = 30


@dataclass(frozen=True, slots=True)
class People:
    """What they do, for so many seconds: see all `pages` in turn, `think_s` apart, or (`sign_ins`) only sign in.

    With a `token` they need not sign in.
    """

    port: int
    name: str
    password: str
    seconds: float
    people: int = 10
    pages: tuple[str, ...] = ()
    think_s: float = 1.0
    sign_ins: int = 0
    token: str = ""


@dataclass(slots=True)
class Seen:
    """How it went: seconds of each answer in time, and how many answers were something else."""

    took: list[float] = field(default_factory=list)
    failed: int = 0

    def note(self, began: float, *, is_right: bool) -> None:
        if is_right:
            self.took.append(time.monotonic() - began)
        else:
            self.failed += 1

    def sum_up(self) -> dict[str, float]:
        p95 = quantiles(self.took, n=20)[-1] if len(self.took) > 1 else 0.0
        return {"answers": len(self.took), "failed": self.failed, "p95_ms": 1000 * p95}


@contextmanager
def beside(people: People) -> Iterator[subprocess.Popen[str]]:
    """People who do that beside what the caller does; `read_seen` waits for their end."""
    arguments = [sys.executable, "-m", "tests.bench.people", json.dumps(asdict(people))]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def read_seen(process: subprocess.Popen[str]) -> dict[str, float]:
    text, _ = process.communicate(timeout=300)
    found: dict[str, float] = json.loads(text)
    return found


def sign_in(connection: HTTPConnection, people: People) -> str:
    """The cookie of a new session; empty: there is none."""
    form = urlencode({"name": people.name, "password": people.password})
    connection.request("POST", "/sign-in", form, {"Content-Type": "application/x-www-form-urlencoded"})
    answer = connection.getresponse()
    answer.read()
    return (answer.headers.get("Set-Cookie") or "").partition(";")[0]


def _click(people: People, number: int, seen: Seen, until: float) -> None:
    connection, place = HTTPConnection("127.0.0.1", people.port, timeout=30), number
    bearer = {"Authorization": f"Bearer {people.token}"}
    headers = bearer if people.token else {"Cookie": sign_in(connection, people)}
    time.sleep(people.think_s * number / people.people)
    while time.monotonic() < until:
        began = time.monotonic()
        connection.request("GET", people.pages[place % len(people.pages)], headers=headers)
        answer = connection.getresponse()
        answer.read()
        seen.note(began, is_right=answer.status == 200)
        place += 1
        time.sleep(people.think_s)


def _crowd(people: People, number: int, seen: Seen, until: float) -> None:
    connection = HTTPConnection("127.0.0.1", people.port, timeout=30)
    step = people.seconds / people.sign_ins
    for turn in range(number, people.sign_ins, _SIGNERS):
        began = max(until - people.seconds + turn * step, time.monotonic())
        time.sleep(max(began - time.monotonic(), 0))
        try:
            seen.note(began, is_right=bool(sign_in(connection, people)))
        except (OSError, HTTPException):
            seen.note(began, is_right=False)
            connection.close()


def main() -> None:
    given = json.loads(sys.argv[1])
    people = People(**given | {"pages": tuple(given["pages"])})
    act, count = (_crowd, _SIGNERS) if people.sign_ins else (_click, people.people)
    seen, until = Seen(), time.monotonic() + people.seconds
    threads = [threading.Thread(target=act, args=(people, number, seen, until)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(seen.sum_up()))


if __name__ == "__main__":
    main()
