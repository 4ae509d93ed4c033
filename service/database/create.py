"""A new SQLite database: made whole beside its place, then put there, so that nobody ever finds an empty one."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from service.database.engine import Database, DatabaseUnavailable


@contextmanager
def in_its_place(database: Database) -> Iterator[Database]:
    """The database to migrate: the given one; where its file is missing, a new one, put there at the end of the block.

    The file, and its folder, are for their owner only. Where several processes make one, the first one counts.
    """
    path = database.path
    if path is None or (path.exists() and path.stat().st_nlink == 1):  # (else it may have kept the name it was made by)
        yield database
        return
    place = Path(os.path.realpath(path))  # a link may lead to where it is to be
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(place.parent) as is_alone:
            if is_alone:
                _remove_leftovers(place)
            if place.exists():
                yield database
                return
            beside = place.with_name(f"{place.name}.new-{secrets.token_hex(8)}")
            try:
                beside.touch(mode=0o600, exist_ok=False)
                new = Database(f"sqlite:///{beside}")
                try:
                    yield new
                finally:
                    new.dispose()  # which also empties and removes its log
                _put(beside, place, is_alone=is_alone)
            finally:
                beside.unlink(missing_ok=True)
    except OSError as error:
        raise DatabaseUnavailable(f"cannot create the database {path}: {error.strerror}") from None


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold a folder against processes that make a database in it, too; False: its file system has no such locks."""
    descriptor, is_locked = os.open(folder, os.O_RDONLY), False
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            is_locked = True
        yield is_locked
    finally:
        os.close(descriptor)


def _put(beside: Path, place: Path, *, is_alone: bool) -> None:
    """Give a database its name, durably, unless that is taken."""
    if beside.with_name(f"{beside.name}-wal").exists():
        raise OSError(errno.EIO, "its log could not be written back")
    sync(beside)
    try:
        os.link(beside, place)
    except FileExistsError:  # another process was quicker
        return
    except OSError:  # some file systems have no hard links
        if not is_alone or place.exists():
            raise
        beside.rename(place)
    sync(place.parent)


def _remove_leftovers(place: Path) -> None:
    """Remove what processes left behind that were killed while they made this database."""
    left = re.compile(re.escape(place.name) + r"\.new-[0-9a-f]{16}(-journal|-wal|-shm)?")
    for path in place.parent.iterdir():
        if left.fullmatch(path.name):
            path.unlink()


def sync(path: Path) -> None:
    """Let a file, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
