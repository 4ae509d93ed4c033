"""What a person can do about a database, or a file, that cannot be used."""

from __future__ import annotations

import os
import pwd
from typing import Final

from service.database import DatabaseUnavailable

_ELSEWHERE: Final = "or set ZEGO_RETENTION_DATABASE_URL to another place"
_AS_THE_SERVICE: Final = "run it as the user of the service"
_WHO_CAN_WRITE: Final = f"{_AS_THE_SERVICE}, who can write the file and its folder"
IF_EMPTY: Final = (
    "if it should hold data, stop every process and put a backup in its place; if it is to be new, run"
    " `zego-retention migrate`"
)

_BY_WORDS: Final = {
    "cannot create the database": f"make its folder writable for this user, {_ELSEWHERE}",
    "unable to open database file": f"{_WHO_CAN_WRITE}, {_ELSEWHERE}",
    "file is not a database": f"move that file away, put a backup in its place, {_ELSEWHERE}",
    "readonly database": _WHO_CAN_WRITE,
    "disk is full": f"make room on its disk, {_ELSEWHERE}",
    # Of PostgreSQL:
    "connection failed": "make the database reachable, or correct ZEGO_RETENTION_DATABASE_URL",
}


def find_remedy(error: DatabaseUnavailable | PermissionError) -> tuple[str, str]:
    """What is wrong, and what helps; "" where nothing is known."""
    if isinstance(error, PermissionError):
        return f"no permission for {error.filename or 'a file'} as user {_name_user()}", _AS_THE_SERVICE
    return str(error), next((remedy for words, remedy in _BY_WORDS.items() if words in str(error)), "")


def _name_user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user may have no name
        return str(os.geteuid())
