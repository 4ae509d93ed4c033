"""A journal: a file of callbacks that wait for the database.

It begins with how far it is stored; then each line is a checksum and a callback as JSON.
"""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import zlib
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from service.callbacks.store import NewCallback
from service.database.create import sync

_BEGIN: Final = b"%020d\n"
_HEADER: Final = len(_BEGIN % 0)
_MAX_BATCH: Final = 500
_MAX_READ: Final = 4_000_000  # far more than the largest callback


class Journal:
    """A journal that this process holds locked. What is before `begin` is stored; `size` is where it ends."""

    def __init__(self, path: Path, *, is_new: bool) -> None:
        """Make one, or take over one that no process holds; OSError if that cannot be."""
        self.path, self.stored = path, 0
        flags = os.O_RDWR | (os.O_CREAT | os.O_EXCL if is_new else 0)
        self._file = os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.begin, self.size = 0, os.fstat(self._file.fileno()).st_size
            if is_new:
                self.append(_BEGIN % _HEADER)
                sync(path.parent)
            elif not os.fstat(self._file.fileno()).st_nlink:
                raise FileNotFoundError  # noqa: TRY301  (whoever held it has stored it)
            self.begin = _read_begin(self._file.fileno())
        except BaseException:
            self._file.close()
            if is_new:
                path.unlink()
            raise

    def append(self, data: bytes) -> None:
        """Write lines so that they survive a power cut, or leave the journal as it was and raise OSError."""
        descriptor, written = self._file.fileno(), 0
        try:
            while written < len(data):
                written += os.pwrite(descriptor, data[written:], self.size + written)
            os.fsync(descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, self.size)
            raise
        self.size += len(data)

    def read(self) -> tuple[list[bytes], int]:
        """The next lines, and where they end."""
        data = os.pread(self._file.fileno(), min(_MAX_READ, self.size - self.begin), self.begin)
        lines = io.BytesIO(data).readlines()[:_MAX_BATCH]
        if len(lines) > 1 and not lines[-1].endswith(b"\n") and self.begin + len(data) < self.size:
            lines.pop()
        return lines, self.begin + sum(map(len, lines))

    def note_stored(self, begin: int, count: int) -> None:
        """Note that `count` more are stored, all before `begin`. A power cut may undo the note: no harm."""
        os.pwrite(self._file.fileno(), _BEGIN % begin, 0)
        self.begin, self.stored = begin, self.stored + count

    def remove(self) -> None:
        """Remove the file: all of it is stored."""
        self.path.unlink()
        self._file.close()

    def close(self) -> None:
        """Give the lock up: another process may take the journal over."""
        self._file.close()


def write_lines(rows: Sequence[NewCallback]) -> bytes:
    """Callbacks as lines of a journal."""
    return b"".join(map(_write_line, rows))


def _write_line(row: NewCallback) -> bytes:
    raw, received_at = base64.b64encode(row.raw).decode(), row.received_at.isoformat()
    text = json.dumps(row._replace(raw=raw, received_at=received_at)).encode()  # type: ignore[arg-type]
    return b"%08x %s\n" % (zlib.crc32(text), text)


def read_line(line: bytes) -> NewCallback | None:
    """The callback of a line; None if the line is damaged."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if b"%08x" % zlib.crc32(text) != checksum:
        return None
    row = NewCallback._make(json.loads(text))
    received_at = datetime.fromisoformat(row.received_at)  # type: ignore[arg-type]
    return row._replace(raw=base64.b64decode(row.raw), received_at=received_at)


def count_lines(path: Path) -> int:
    """How many callbacks of a journal are not stored; whoever holds it may go on. OSError if it cannot be read."""
    with path.open("rb") as file:
        file.seek(_read_begin(file.fileno()))
        return sum(block.count(b"\n") for block in iter(lambda: file.read(_MAX_READ), b""))


def _read_begin(descriptor: int) -> int:
    header = os.pread(descriptor, _HEADER, 0)
    return int(header) if len(header) == _HEADER and header[:-1].isdigit() else len(header)
