"""How single settings are read from what people write; a ValueError shows what would be right."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from service.schedule import Cron
from service.settings.names import PREFIX, SettingsError
from service.units import parse_duration, parse_keep

CALLBACK_PATH: Final = "/zego/callback"
"""Where the web side takes callbacks; docs/http.md."""

_SYSTEM_FOLDER: Final = Path("/var/lib/zego-retention")
_APP_ID: Final = re.compile(r"[1-9][0-9]{0,9}")
_LARGEST_APP_ID: Final = 2**32 - 1
_LISTEN: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]/@\s]+):([0-9]{1,5})")
_NOTIFY_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*://\S+")
_LARGEST_PORT: Final = 65_535
_MIN_ADMIN_TOKEN: Final = 20
_CALLBACK_TOKEN: Final = re.compile("[A-Za-z0-9_-]{16,128}")
_POSTGRES: Final = re.compile(r"(postgres|postgresql|postgresql\+psycopg)://(.*)", re.DOTALL)
_SQLITE_FILE: Final = re.compile(r"sqlite:///(?!\?|:memory:|file:).+")


Network = ipaddress.IPv4Network | ipaddress.IPv6Network
NO_CALLBACK_TOKEN: Final = "none"  # noqa: S105  (it stands for no secret)
"""Among the tokens of the callback URL: the path without one is taken as well."""


class Listen(NamedTuple):
    """A host (a name or an address without brackets) and a port to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def duration_or(
    word: str, meaning: timedelta | None, hint: str = "", *, example: str = "30d"
) -> Callable[[str], timedelta | None]:
    """A reader of durations for which one word (in any case) stands for something else, as `hint` says."""

    def parse(text: str) -> timedelta | None:
        if text.strip().lower() == word:
            return meaning
        try:
            return parse_duration(text, example)
        except ValueError as error:
            raise ValueError(f"{error}, or {word}{hint}") from None

    return parse


def check_keep(text: str) -> str:
    """Check a duration or `forever` and leave it as it was written."""
    parse_keep(text)
    return text


def check_cron(text: str) -> str:
    """Check a cron expression and leave it as it was written."""
    Cron(text, ZoneInfo("UTC"))
    return text


def parse_app_id(text: str) -> str:
    """Read an AppID, a number from 1 to 4294967295."""
    if not _APP_ID.fullmatch(text) or int(text) > _LARGEST_APP_ID:
        raise ValueError(f"{text[:40]!r} is not an AppID; it is a number as in ZEGO's console, for example 1234567890")
    return text


def parse_listen(text: str) -> Listen:
    """Read `host:port`, with an IPv6 address in brackets."""
    found = _LISTEN.fullmatch(text)
    if found is None or not 0 < int(found[2]) <= _LARGEST_PORT:
        raise ValueError(f"{text[:80]!r} is not an address to listen on, for example 127.0.0.1:8080 or [::1]:8080")
    return Listen(found[1].strip("[]"), int(found[2]))


def parse_timezone(text: str) -> ZoneInfo:
    """Read the name of a time zone."""
    try:
        return ZoneInfo(text)
    except (OSError, ValueError, KeyError):  # an absent zone is a KeyError, a folder's name an OSError
        raise ValueError(f"{text[:60]!r} is not the name of a time zone, for example Asia/Shanghai or UTC") from None


def check_secret(text: str) -> None:
    """Refuse what no secret is: it would be sent, compared or signed with, and never fit."""
    if not text or any(character.isspace() for character in text):
        raise ValueError("a secret is not empty and has no spaces or line breaks; copy it again")
    if text[0] in "\"'" and text[0] == text[-1]:
        raise ValueError("the secret is in quotes, which would be part of it; leave them out")
    if not text.isascii():
        raise ValueError(
            "a secret has only letters, digits and signs of ASCII, and this one has another character,"
            " perhaps an invisible one; copy it again"
        )
    _refuse_invisible(text)


def check_admin_token(text: str) -> None:
    """Refuse what can be guessed."""
    if len(text) < _MIN_ADMIN_TOKEN:
        raise ValueError(
            f"it has {len(text)} characters, and needs at least {_MIN_ADMIN_TOKEN}; `openssl rand -hex 24` makes one"
        )


def check_callback_token(text: str) -> None:
    """Refuse what can be guessed, or is written in another way in a URL."""
    if text != NO_CALLBACK_TOKEN and not _CALLBACK_TOKEN.fullmatch(text):
        raise ValueError(
            "a token of the callback URL has 16 to 128 letters, digits, - and _; `openssl rand -hex 16` makes one"
        )


def parse_networks(text: str) -> tuple[Network, ...]:
    """Read networks and addresses, separated by commas."""
    found: list[Network] = []
    for part in text.split(","):
        try:
            found.append(ipaddress.ip_network(part.strip()))
        except ValueError:
            hint = "write addresses or networks, for example 192.0.2.7, 198.51.100.0/24"
            raise ValueError(f"{part.strip()[:60]!r} is not a network; {hint}") from None
    return tuple(found)


def _refuse_invisible(text: str) -> None:
    if not text.isprintable():
        raise ValueError("it holds an invisible character, or bytes that are not UTF-8; copy it again")


def parse_proxy(text: str) -> str:
    """Read the URL of an HTTP proxy. The text may hold a password: no error repeats any of it."""
    _refuse_invisible(text)
    parts = urlsplit(text) if _can_be_split(text) else None
    is_clean = parts and not set(text) & set(" ?#\\") and text.count("@") <= 1 and parts.path in {"", "/"}
    if not parts or not is_clean or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(
            "not the URL of an HTTP proxy; write for example http://proxy.example.com:3128 or"
            " http://user:password@proxy.example.com:3128 (special characters percent-encoded)"
        )
    return text


def split_urls(text: str) -> list[str]:
    """The URLs of a list with commas or line breaks; a comma inside of one is followed by no scheme."""
    return re.split(r"[\s,]+(?=[A-Za-z][A-Za-z0-9]*://)", text.strip(" ,\t\r\n"))


def check_notify_url(text: str) -> None:
    """Refuse what is no URL of Apprise at all; whether it is right, Apprise says when the service starts."""
    if not _NOTIFY_URL.fullmatch(text) or not text.isprintable():
        raise ValueError(
            "not a list of URLs as Apprise takes them; write for example dingtalk://secret@token/ or"
            " mailto://user:password@example.com (several with commas, special characters percent-encoded)"
        )


def check_ping_url(text: str) -> None:
    """Refuse what is no URL that can be requested."""
    is_clean = text.isprintable() and not set(text) & set(" ?#\\") and _can_be_split(text)
    if not is_clean or urlsplit(text).scheme not in {"http", "https"} or not urlsplit(text).hostname:
        raise ValueError("not an http or https URL without a query; write for example https://hc-ping.com/your-uuid")


def check_ca_file(text: str) -> str:
    """Check that a file holds certificates as PEM."""
    import ssl  # noqa: PLC0415  (slow to load, and rarely needed here)

    if not Path(text).is_absolute():
        raise ValueError(f"{text!r} is relative; write the whole path, for example /etc/ssl/company-ca.pem")
    try:
        ssl.create_default_context(cafile=text)
    except ssl.SSLError:
        raise ValueError(f"{text!r} holds no certificates; it has to be a PEM file, with BEGIN CERTIFICATE") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {text!r}: {getattr(error, 'strerror', error)}") from None
    return text


def parse_database_url(text: str) -> str:
    """Read the URL of an SQLite file or a PostgreSQL database; spell out the driver of the latter.

    The text may hold a password: no error repeats any of it.
    """
    _refuse_invisible(text)
    if text != text.strip():
        raise ValueError("it begins or ends with a space: leave that out")
    if _SQLITE_FILE.fullmatch(text):
        path, _, options = text.removeprefix("sqlite:///").partition("?")
        if options:
            raise ValueError("the URL of an SQLite file takes nothing after a question mark")
        if not Path(path).is_absolute():
            raise ValueError(
                f"{path!r} is relative; write the whole path, for example sqlite:///{Path(path).absolute()}"
            )
        return text
    found = _POSTGRES.fullmatch(text)
    if found is None or not _can_be_split(text):
        raise ValueError(
            "not the URL of an SQLite file or a PostgreSQL database; write for example"
            " sqlite:////var/lib/zego-retention/data.db or postgresql://user:password@host/name"
        )
    if found[2].partition("/")[0].count("@") > 1:
        raise ValueError("the password holds an @: write it as %40, and other special characters percent-encoded too")
    if options := text.partition("?")[2]:
        from service.database.address import check_options  # noqa: PLC0415  (loads the driver, and is seldom needed)

        check_options(options)
    return f"postgresql+psycopg://{found[2]}"


def default_database_url(environ: Mapping[str, str], *, is_root: bool | None = None) -> str:
    """The database where none is set: one file for each user, the same from whichever folder a command is run."""
    folder = _find_folder(environ, "XDG_DATA_HOME", "share", is_root=is_root)
    if folder is None:
        example = "for example to sqlite:////data/zego-retention.db"
        raise SettingsError(f"{PREFIX}DATABASE_URL: this user has no home folder, so set it, {example}")
    return f"sqlite:///{folder / 'zego-retention.db'}"


def parse_spool_dir(text: str) -> Path | None:
    """Read the whole path of a folder, or off (None)."""
    if text.strip().lower() == "off":
        return None
    if not Path(text).is_absolute() or "\0" in text:
        raise ValueError(f"{text!r} is not a whole path; write for example /var/lib/zego-retention/spool, or off")
    return Path(text)


def default_spool_dir(environ: Mapping[str, str], database_url: str, *, is_root: bool | None = None) -> str:
    """The folder of the spool where none is set: beside an SQLite file, else one for each user (off without a home)."""
    if database_url.startswith("sqlite:///"):
        return str(Path(database_url.removeprefix("sqlite:///")).parent / "spool")
    folder = _find_folder(environ, "XDG_STATE_HOME", "state", is_root=is_root)
    return "off" if folder is None else str(folder / "spool")


def _find_folder(environ: Mapping[str, str], variable: str, name: str, *, is_root: bool | None) -> Path | None:
    """Where this user's data of one kind is, by the XDG specification; None without a home."""
    data, home = Path(environ.get(variable, "")), Path(environ.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111
    if os.geteuid() == 0 if is_root is None else is_root:
        return _SYSTEM_FOLDER
    if data.is_absolute():  # the specification has relative ones ignored
        return data / "zego-retention"
    return home / ".local" / name / "zego-retention" if home.is_absolute() else None


def parse_api_url(text: str) -> str:
    """Read the URL of ZEGO's server API."""
    url = _parse_web_url(text, "https://rtc-api.zego.im/")
    return url if urlsplit(url).path else f"{url}/"


def parse_public_url(text: str) -> str:
    """Read the URL under which this service is reached; the answer has no trailing slash."""
    url = _parse_web_url(text, "https://retention.example.com").rstrip("/")
    if url.endswith(CALLBACK_PATH):
        raise ValueError(f"give only the base, {url.removesuffix(CALLBACK_PATH)}: {CALLBACK_PATH} is added to it")
    return url


def is_plain_and_far(url: str) -> bool:
    """Whether what is sent to a URL leaves this machine unencrypted."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "http" or host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def _parse_web_url(url: str, example: str) -> str:
    is_clean = url.isprintable() and not set(url) & set(" ?#@\\") and _can_be_split(url)
    if not is_clean or urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
        raise ValueError(
            f"not an http or https URL with a host and without user, query and fragment; write for example {example}"
        )
    return url


def _can_be_split(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False
