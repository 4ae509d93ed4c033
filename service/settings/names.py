"""Names of settings: where their values stand (environment, TOML file, files of secrets), and which are misspelt."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PREFIX: Final = "ZEGO_RETENTION_"

_INJECTED: Final = re.compile(
    r"([A-Z0-9_]+_)?((SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)=.*"
    r"|PORT=(tcp|udp|sctp)://.+)",
    re.DOTALL,
)
"""What Kubernetes sets for a service called zego-retention or zego-retention-<something>."""

_SHORT: Final = 6
_ALIKE: Final = 0.8
_ALIKE_SHORT: Final = 0.7
_ALIKE_PREFIX: Final = 0.85
_MAX_WORDS_OFF: Final = 2


class SettingsError(Exception):
    """A setting is missing or wrong; the text names it and what would be right in one line, and holds no secret."""


@dataclass(frozen=True, slots=True)
class Place:
    """What is set in one place, by the names of the settings, and what a message calls each of them."""

    values: dict[str, object] = field(repr=False)
    origins: dict[str, str]


Keys = Mapping[str, str]
"""What may be written in a place, with the setting that it means: `x_file` is the path of a file that holds `x`."""


def make_keys(names: Iterable[str], secrets: Iterable[str]) -> Keys:
    """The keys for these settings, of which each secret may also be given in a file."""
    return {name: name for name in names} | {f"{name}_file": name for name in secrets}


def read_environment(environ: Mapping[str, str], keys: Keys) -> tuple[Place, tuple[str, ...]]:
    """What the environment sets (an empty variable is unset), and warnings about variables that mean nothing."""
    variables = {f"{PREFIX}{key.upper()}": key for key in keys}
    found, warnings = {}, []
    for variable, value in sorted(environ.items()):
        bare = variable[len(PREFIX) :]
        if variable in variables and value:
            _refuse_shell_syntax(variable, value)
            found[variables[variable]] = value
        elif variable.upper().startswith(PREFIX) and value and not _INJECTED.fullmatch(f"{bare}={value}"):
            if near := _find_nearest(bare.upper(), (key.upper() for key in keys)):
                meant = " or ".join(f"{PREFIX}{right}" for right in near)
                raise SettingsError(f"{variable}: there is no such setting; did you mean {meant}?")
            warnings.append(f"{variable} is not a setting of this release and is ignored")
        elif value and _is_misspelt_prefix(variable[: len(PREFIX)].upper()):
            warnings.append(f"{variable} is ignored: every setting begins with {PREFIX}")
    return _read_place(found, keys, lambda key: f"{PREFIX}{key.upper()}"), tuple(warnings)


def _is_misspelt_prefix(begin: str) -> bool:
    return begin != PREFIX and difflib.SequenceMatcher(None, PREFIX, begin).ratio() >= _ALIKE_PREFIX


def _refuse_shell_syntax(variable: str, value: str) -> None:
    """Files of variables for Docker and systemd look like shell, but are read otherwise."""
    if value[0] in "\"'" and value[0] == value[-1]:
        raise SettingsError(f"{variable}: its value is in quotes, which would be part of it; leave them out")
    if " #" in value:
        raise SettingsError(f"{variable}: there is a comment after its value; put it on a separate line")


def read_config(path: Path, origin: str, keys: Keys, app_keys: Keys) -> tuple[Place, list[Place]]:
    """What a TOML file sets, and each of its [[apps]]."""
    if not path.is_absolute():
        example = "write the whole path, for example /etc/zego-retention.toml"
        raise SettingsError(f"{origin}: {str(path)!r} is relative; {example}")
    try:
        table = tomllib.loads(_read_text(path, origin).removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a plain ValueError
        raise SettingsError(f"{path} is not valid TOML: {str(error).partition(chr(10))[0]}") from None
    apps = table.pop("apps", [])
    if not isinstance(apps, list) or not all(isinstance(app, dict) for app in apps):
        raise SettingsError(f"apps in {path}: write each app as a table of its own that begins with [[apps]]")
    places = [_read_table(app, app_keys, f"of [[apps]] number {n} in {path}") for n, app in enumerate(apps, start=1)]
    return _read_table(table, keys, f"in {path}"), places


def _read_table(table: Mapping[str, object], keys: Keys, where: str) -> Place:
    for key in table:
        if key not in keys:
            near = _find_nearest(key.lower(), [*keys, "apps"])
            hint = f"did you mean {' or '.join(near)}?" if near else "docs/settings.md lists all"
            raise SettingsError(f"{key[:40]!r} {where}: there is no such setting; {hint}")
    return _read_place(table, keys, lambda key: f"{key} {where}")


def _read_place(table: Mapping[str, object], keys: Keys, label: Callable[[str], str]) -> Place:
    place = Place({}, {name: label(name) for name in keys.values()})
    for key in sorted(table):
        name, value, origin = keys[key], table[key], label(key)
        if name in place.values:
            raise SettingsError(f"{label(name)} and {origin} are both set; keep one of them")
        place.values[name] = value if key == name else _read_secret(value, origin)
        place.origins[name] = origin
    return place


def _read_secret(path: object, origin: str) -> str:
    if not isinstance(path, str) or not path:
        raise SettingsError(f"{origin}: write the path of a file, for example /run/secrets/name")
    text = _read_text(Path(path), origin).rstrip("\r\n")
    if not text:
        raise SettingsError(f"{origin}: {path} is empty; it has to hold the secret")
    return text


def _read_text(path: Path, origin: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{origin}: cannot read {path}: {error.strerror or error}") from None
    except ValueError:  # also the path itself: it may hold a NUL
        raise SettingsError(f"{origin}: cannot read {str(path)!r}: it is not UTF-8 text") from None


def _find_nearest(name: str, known: Iterable[str]) -> list[str]:
    """The names that may have been meant: the one that is spelt much alike, else those of nearly the same words."""
    names = sorted(known)
    alike = difflib.get_close_matches(name, names, n=1, cutoff=_ALIKE_SHORT if len(name) <= _SHORT else _ALIKE)
    distances = {right: _count_words_off(name, right) for right in names}
    nearest = min(distances.values())
    is_near = nearest[0] <= _MAX_WORDS_OFF
    return alike or [right for right in names if is_near and distances[right] == nearest]


def _count_words_off(written: str, right: str) -> tuple[int, bool]:
    """How many words two names are apart, and whether they end in different ones.

    1: one word was added or left out (KEEP_DAYS for KEEP); 2: one was exchanged (APP_SECRET for SERVER_SECRET).
    """
    words, right_words = written.split("_"), right.split("_")
    extra, missing = Counter(words) - Counter(right_words), Counter(right_words) - Counter(words)
    is_near = extra.total() <= 1 and missing.total() <= 1 and not set(words).isdisjoint(right_words)
    return extra.total() + missing.total() if is_near else _MAX_WORDS_OFF + 1, words[-1] != right_words[-1]
