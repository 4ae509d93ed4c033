"""Single facts of a callback: what names a file or decides its fate is read strictly, what only informs may be lost."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from service.core.model import Vendor
from service.zego import wirevalues
from service.zego.wirejson import storable
from service.zego.wirevalues import MAX_ID_BYTES

if TYPE_CHECKING:
    from service.zego.wirejson import JsonValue

_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z, the last one that a datetime holds

# ASCII only: int() also takes other scripts' digits.
_SECONDS = re.compile(r"([0-9]{1,12})(\.[0-9]*)?")


class OddFactError(Exception):
    """A value that identifies the file or decides its fate cannot be kept as it is. Its text is one line for people."""


def read_file_id(vendor: Vendor, name: str, value: JsonValue) -> str:
    """A file's id.

    Raises:
        OddFactError: it is blank, beyond what a database holds, or (of Tencent) a number that lost digits.
    """
    file_id = read_identity(name, value)
    if not file_id.strip():
        raise OddFactError(f"{name} is empty")
    if vendor is Vendor.TENCENT and wirevalues.is_rounded(file_id):
        raise OddFactError(f"{name} is a rounded number, which names no file")
    return file_id


def read_identity(name: str, value: JsonValue) -> str:
    """A text that rules or people know a file by; "" where there is none.

    Raises:
        OddFactError: it is no text, or beyond what a database holds.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise OddFactError(f"{name} is neither text nor a number")
    if not storable(value):
        raise OddFactError(f"{name} holds a character that no database can keep")
    if len(value.encode()) > MAX_ID_BYTES:
        raise OddFactError(f"{name} is longer than {MAX_ID_BYTES} bytes")
    return value


def read_moment(value: JsonValue) -> datetime | None:
    """A moment given as Unix seconds; None for anything else."""
    match = _SECONDS.fullmatch(value) if isinstance(value, str) else None
    seconds = int(match[1]) if match else _LAST_SECOND + 1
    return datetime.fromtimestamp(seconds, UTC) if seconds <= _LAST_SECOND else None


def read_duration(name: str, value: JsonValue) -> float | None:
    """Seconds; None for what is no number.

    Raises:
        OddFactError: it is longer than any recording.
    """
    try:
        return wirevalues.read_duration(value)
    except ValueError as error:
        raise OddFactError(f"{name} is {error}") from None


def read_size(name: str, value: JsonValue) -> int | None:
    """Bytes; None for what is no whole number.

    Raises:
        OddFactError: it is larger than any file.
    """
    try:
        return wirevalues.read_size(value)
    except ValueError as error:
        raise OddFactError(f"{name} is {error}") from None


def read_url(name: str, value: JsonValue) -> str | None:
    """A URL; None where there is none, or one that is too long to be kept.

    Raises:
        OddFactError: no database can keep it.
    """
    if not isinstance(value, str) or not value:
        return None
    if not storable(value):
        raise OddFactError(f"{name} holds a character that no database can keep")
    return value if len(value.encode()) <= MAX_ID_BYTES else None
