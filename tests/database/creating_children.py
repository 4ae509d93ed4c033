"""Makes an SQLite database in a folder again and again, killed at another step each time; a program of its own.

A step is what the process asks of the folder (as Python's audit events show it), or a statement of a migration.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import alembic.command  # noqa: F401  (loaded here, so that no child has to)
from sqlalchemy import event
from sqlalchemy.engine import Engine

from service.database import Database
from service.database.migrate import pending_migrations, upgrade_database

STATEMENT = "a statement"


def make(place: Path) -> None:
    database = Database(f"sqlite:///{place}")
    upgrade_database(database)
    database.dispose()


def make_in_child(place: Path, kill_at: int, steps: Path) -> bool:
    """Whether the child came to its end: at that step (from 1 on; 0: none) it is killed. It writes down its steps."""
    if pid := os.fork():
        return os.waitpid(pid, 0)[1] == 0
    done: list[str] = []

    def note(step: str) -> None:
        done.append(step)
        if len(done) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(name: str, arguments: tuple[object, ...]) -> None:
        if name == "fcntl.flock" or str(place.parent) in str(arguments[:1]):
            note(name)

    event.listen(Engine, "before_cursor_execute", lambda *_: note(STATEMENT))
    sys.addaudithook(hook)
    make(place)
    steps.write_text(json.dumps(done))
    os._exit(0)


def main(folder: str, sample: str) -> None:
    """Kill it before each step (of the statements only before every `sample`th), and have another one make it whole."""
    place, steps_file = Path(folder, "data", "zego-retention.db"), Path(folder, "steps")
    assert make_in_child(place, 0, steps_file)
    steps: list[str] = json.loads(steps_file.read_text())
    statements = [number for number, step in enumerate(steps, 1) if step == STATEMENT]
    numbers = sorted(
        {number for number, step in enumerate(steps, 1) if step != STATEMENT} | {*statements[:: int(sample)]}
    )
    found = Counter[str](missing=0, whole=0, left=0)
    for number in numbers:
        for path in place.parent.iterdir():
            path.unlink()
        place.parent.rmdir()
        assert not make_in_child(place, number, steps_file), f"it was not killed at step {number}"
        found["left"] += place.parent.exists() and bool({each.name for each in place.parent.iterdir()} - {place.name})
        found["whole" if place.exists() else "missing"] += 1
        if place.exists():
            check(place)
        make(place)
        check(place)
        assert [path.name for path in place.parent.iterdir()] == [place.name], "nothing is left beside it"
    print(json.dumps({"steps": [steps[number - 1] for number in numbers], **found}))


def check(place: Path) -> None:
    database = Database(f"sqlite:///{place}")
    assert pending_migrations(database) == []
    assert database.path is not None
    assert database.path.stat().st_mode & 0o777 == 0o600
    database.dispose()


if __name__ == "__main__":
    main(*sys.argv[1:])
