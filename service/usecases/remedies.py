"""What a person can do about a database that cannot be used."""

from __future__ import annotations

import os
import pwd
from typing import Final

_ELSEWHERE: Final = "or set DATABASE_URL to another place"
_REMEDIES: Final = {
    "cannot create the database's folder": f"make its parent writable for this user, {_ELSEWHERE}",
    "unable to open database file": (
        f"run it as the user of the service, who can write the file and its folder, {_ELSEWHERE}"
    ),
    "file is not a database": f"move that file away, put a backup in its place, {_ELSEWHERE}",
    "readonly database": "run it as the user of the service, who can write the file and its folder",
}


def find_remedy(trouble: str) -> str | None:
    """What helps against a trouble of an SQLite file, told by the words that SQLite uses; None if nothing is known."""
    return next((remedy for words, remedy in _REMEDIES.items() if words in trouble), None)


def describe_no_permission(error: PermissionError) -> str:
    """What this user may not touch."""
    return f"no permission for {error.filename or 'a file'} as user {_user()}"


NO_PERMISSION_REMEDY: Final = "run it as the user of the service"


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user may have no name
        return str(os.geteuid())
