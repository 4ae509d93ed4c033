"""What a person can do about a database that cannot be used."""

from __future__ import annotations

import os
import pwd
from typing import Final

_ELSEWHERE: Final = "or set ZEGO_RETENTION_DATABASE_URL to another place"
_DATABASE: Final = {
    "cannot create the database's folder": f"make its parent writable for this user, {_ELSEWHERE}",
    "unable to open database file": (
        f"run it as the user of the service, who can write the file and its folder, {_ELSEWHERE}"
    ),
    "file is not a database": f"move that file away, put a backup in its place, {_ELSEWHERE}",
    "readonly database": "run it as the user of the service, who can write the file and its folder",
}
NO_PERMISSION_REMEDY: Final = "run it as the user of the service"


def find_database_remedy(trouble: str) -> str | None:
    """What helps against a trouble of an SQLite file, found by the words that SQLite uses; None if nothing is known."""
    return next((remedy for words, remedy in _DATABASE.items() if words in trouble), None)


def describe_no_permission(error: PermissionError) -> str:
    """What this user may not touch."""
    return f"no permission for {error.filename or 'a file'} as user {_name_user()}"


def _name_user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user may have no name
        return str(os.geteuid())
