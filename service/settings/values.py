"""How single settings are read from what people write: each function takes a raw value and raises ValueError."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from service.units import parse_duration, parse_keep

DATABASE_FILE: Final = "zego-retention.db"
_SYSTEM_FOLDER: Final = Path("/var/lib/zego-retention")

_APP_ID: Final = re.compile(r"[1-9][0-9]{0,9}")
_LARGEST_APP_ID: Final = 2**32 - 1
_LISTEN: Final = re.compile(r"(\[[^\[\]/\s]+\]|[^:\[\]/\s]+):([0-9]{1,5})")
_LARGEST_PORT: Final = 65_535
_POSTGRES: Final = re.compile(r"(postgres|postgresql|postgresql\+psycopg)(?=://)")
_SQLITE_FILE: Final = re.compile(r"sqlite:///(?!\?|:memory:|file:).+")
_USER_PASSWORD: Final = re.compile(r"(?<=://)([^:/?#@]*):.*@")
_QUERY_PASSWORD: Final = re.compile(r"(?<=[?&])((?:ssl)?password)=[^&]*", re.IGNORECASE)
CALLBACK_PATH: Final = "/zego/callback"
"""Where the web side takes callbacks; docs/http.md."""

_CONTROL: Final = re.compile(r"[\x00-\x20\x7f]")


class Listen(NamedTuple):
    """A host (a name or an address without brackets) and a port to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_duration(value: object) -> timedelta:
    """Read a duration such as `15m`."""
    if isinstance(value, timedelta) and value > timedelta(0):
        return value
    return parse_duration(_text(value, "15m"))


def read_duration_or(word: str, meaning: timedelta | None, hint: str = "") -> Callable[[object], timedelta | None]:
    """A reader of durations for which one word (in any case) stands for something else, as `hint` says."""

    def read(value: object) -> timedelta | None:
        if value == meaning or (isinstance(value, str) and value.strip().lower() == word):
            return meaning
        try:
            return read_duration(value)
        except ValueError as error:
            raise ValueError(f"{error}, or {word}{hint}") from None

    return read


def read_keep(value: object) -> str:
    """Check a duration or `forever` and leave it as it was written."""
    text = _text(value, "30d")
    parse_keep(text)
    return text


def refuse_bool(value: object) -> object:
    """Refuse true and false, which Python takes for numbers; leave anything else to be judged later."""
    return "" if isinstance(value, bool) else value


def read_app_id(value: object) -> str:
    """Read an AppID, a number from 1 to 4294967295 written as text or as a number."""
    text = str(value) if isinstance(value, int | str) else ""
    if not _APP_ID.fullmatch(text) or int(text) > _LARGEST_APP_ID:
        raise ValueError(f"{text[:40]!r} is not an AppID; it is a number as in ZEGO's console, for example 1234567890")
    return text


def split_secrets(value: object) -> object:
    """Split text at its commas; leave anything else to be judged later."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def read_listen(value: object) -> Listen:
    """Read `host:port`, with an IPv6 address in brackets."""
    if isinstance(value, Listen):
        return value
    text = _text(value, "127.0.0.1:8080")
    found = _LISTEN.fullmatch(text)
    if found is None or not 0 < int(found[2]) <= _LARGEST_PORT or not _is_host(found[1]):
        raise ValueError(f"{text[:80]!r} is not an address to listen on, for example 127.0.0.1:8080 or [::1]:8080")
    return Listen(found[1].strip("[]"), int(found[2]))


def read_timezone(value: object) -> ZoneInfo:
    """Read the name of a time zone."""
    if isinstance(value, ZoneInfo):
        return value
    text = _text(value, "Asia/Shanghai")
    try:
        return ZoneInfo(text)
    except (OSError, ValueError, KeyError):  # an absent zone is a KeyError, a folder's name an OSError
        raise ValueError(f"{text[:60]!r} is not the name of a time zone, for example Asia/Shanghai or UTC") from None


def read_database_url(value: object) -> str:
    """Read the URL of an SQLite file or a PostgreSQL database; spell out the path of the one, the driver of the other.

    The text may hold a password: no error repeats any of it.
    """
    text = value if isinstance(value, str) else ""
    if _SQLITE_FILE.fullmatch(text):
        path, mark, options = text.removeprefix("sqlite:///").partition("?")
        return f"sqlite:///{Path(path).absolute()}{mark}{options}"
    scheme = _POSTGRES.match(text)
    if scheme is None or not _can_be_split(text):
        raise ValueError(
            "not the URL of an SQLite file or a PostgreSQL database; write for example"
            " sqlite:////var/lib/zego-retention/data.db or postgresql://user:password@host/name"
        )
    if text[scheme.end() :].partition("://")[2].partition("/")[0].count("@") > 1:
        raise ValueError("the password holds an @: write it as %40, and other special characters percent-encoded too")
    return "postgresql+psycopg" + text[scheme.end() :]


def default_database_url(environ: Mapping[str, str], *, is_root: bool | None = None) -> str:
    """The database where none is set: one file for each user, the same from whichever folder a command is run.

    Raises:
        ValueError: this user has no home folder.
    """
    data, home = Path(environ.get("XDG_DATA_HOME", "")), Path(environ.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111
    if os.geteuid() == 0 if is_root is None else is_root:
        folder = _SYSTEM_FOLDER
    elif data.is_absolute():  # the specification has relative ones ignored
        folder = data / "zego-retention"
    elif home.is_absolute():
        folder = home / ".local" / "share" / "zego-retention"
    else:
        raise ValueError("this user has no home folder, so set it, for example to sqlite:////data/zego-retention.db")
    return f"sqlite:///{folder / DATABASE_FILE}"


def hide_password(url: str) -> str:
    """The URL of a database with stars for its password."""
    return _QUERY_PASSWORD.sub(r"\1=***", _USER_PASSWORD.sub(r"\1:***@", url))


def check_api_url(url: str, *, allow_plain_http: bool) -> str:
    """Check the URL of ZEGO's server API; calls to it carry signatures, so plain http stays on this machine."""
    parts = _split_web_url(url, "https://rtc-api.zego.im/")
    if parts.scheme == "http" and not allow_plain_http and not _is_loopback(parts.hostname or ""):
        raise ValueError(f"{url!r} is plain http; write https, or set ZEGO_RETENTION_ALLOW_PLAIN_HTTP=true if you must")
    return parts._replace(path=parts.path or "/").geturl()


def read_public_url(value: object) -> str:
    """Read the URL under which this service is reached; the answer has no trailing slash."""
    example = "https://retention.example.com"
    url = _split_web_url(_text(value, example), example).geturl().rstrip("/")
    if url.endswith(CALLBACK_PATH):
        base = url.removesuffix(CALLBACK_PATH)
        raise ValueError(f"give only the base, {base}: {CALLBACK_PATH} is added to it")
    return url


def _split_web_url(url: str, example: str) -> SplitResult:
    parts = urlsplit(url) if _can_be_split(url) and not _CONTROL.search(url) else SplitResult("", "", "", "", "")
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc or set(url) & set("?#\\"):
        raise ValueError(
            f"not an http or https URL with a host and without user, query and fragment; write for example {example}"
        )
    return parts


def _can_be_split(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_host(text: str) -> bool:
    """Whether text is a name, or an address that is in brackets exactly if it is an IPv6 one."""
    if not text.startswith("["):
        return True
    try:
        return ipaddress.ip_address(text.strip("[]")).version == 6  # noqa: PLR2004  (the number is the name)
    except ValueError:
        return False


def _text(value: object, example: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"not text; write for example {example!r}")  # noqa: TRY004  (pydantic collects ValueError only)
    return value
