"""What may stand behind the question mark of a PostgreSQL URL: whatever libpq knows, unless this service sets it."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl

import psycopg
from psycopg.conninfo import make_conninfo

from service.database.engine import OUR_SETTINGS

_OURS: Final = frozenset({"client_encoding", "fallback_application_name"})
_ALSO_OURS: Final = frozenset({"client_encoding", "default_transaction_isolation"})
_SERVER_SETTING: Final = re.compile(r"\s*(?:-c\s*|--)([\w.-]+)=((?:\\.|[^\s\\])*)(?=\s|$)")
_PLACES: Final = frozenset({"host", "hostaddr", "port", "service", "servicefile"})
_NOWHERE: Final = "/nonexistent"
_CONNECTED: Final = "connection to server"
"""How libpq begins once it has accepted all options and tries to connect."""


def check_options(query: str) -> None:
    """Check the options of a URL, connecting to nothing; ValueError repeats none that may be part of a password."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
        make_conninfo("", **dict(pairs))
    except (ValueError, psycopg.ProgrammingError):
        raise ValueError(
            "after the ? there is something that is not an option of PostgreSQL, such as sslmode=require or"
            " application_name=name (a ? that belongs to the password is written %3F)"
        ) from None
    names = [name for name, _ in pairs]
    for name, value in pairs:
        if name in _OURS:
            raise ValueError(f"{name} is set by this service; leave it out")
        if names.count(name) > 1 and name != "host":
            raise ValueError(f"{name} is given twice after the ?; keep one of them")
        if name == "options":
            _check_server_settings(value)
        elif name not in _PLACES:
            _let_libpq_check(name, value)


def _check_server_settings(text: str) -> None:
    found = list(_SERVER_SETTING.finditer(text))
    if "".join(match[0] for match in found) != text.rstrip() or not found:
        raise ValueError("options holds settings of the server, for example options=-csearch_path=retention")
    for match in found:
        if (name := match[1].lower().replace("-", "_")) in OUR_SETTINGS or name in _ALSO_OURS:
            raise ValueError(f"options sets {name}, which this service sets for each transaction; leave it out")


def _let_libpq_check(name: str, value: str) -> None:
    text = ""
    try:
        psycopg.connect(make_conninfo("", host=_NOWHERE, **{name: value})).close()
    except psycopg.Error as error:
        text = str(error).strip()
    if _CONNECTED not in text:
        raise ValueError(f"{name}: {text.rpartition('connection is bad: ')[2]}")
