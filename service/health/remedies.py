"""What a person can do about a database that cannot be used, and about a ZEGO that refuses."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

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

_GATEWAY_CODES: Final = range(100_000_000, 100_000_100)
_COPY_AGAIN: Final = "copy AppID and ServerSecret again from ZEGO's console (Project → Basic information)"
ENABLE_API: Final = "ask ZEGO's support to enable the recording API (DeleteMedia, SearchMedia) for this AppID"
_REFUSALS: Final[Mapping[int, str]] = {
    7: _COPY_AGAIN,
    100_000_001: _COPY_AGAIN,
    100_000_004: "set this machine's clock (ZEGO takes 10 minutes of difference)",
    100_000_005: _COPY_AGAIN,
    100_000_010: _COPY_AGAIN,
    100_000_011: _COPY_AGAIN,
    100_000_016: "projects made up to 2021-11-16 need is_test = true or false, as ZEGO's console says",
    100_000_017: ENABLE_API,
}


def find_refusal_remedy(code: int) -> str | None:
    """What helps where ZEGO refuses an app with this code; None for any other code."""
    if code in _GATEWAY_CODES:
        return _REFUSALS.get(code, "correct AppID, ServerSecret or ZEGO_RETENTION_API_URL, or ask ZEGO's support")
    return _REFUSALS.get(code)


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
