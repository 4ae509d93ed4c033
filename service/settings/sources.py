"""Where settings come from: environment variables, a TOML file, and files that hold secrets."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PREFIX: Final = "ZEGO_RETENTION_"
CONFIG: Final = "config"

_NEAR: Final = 0.8
_NEAR_SHORT: Final = 0.7
_SHORT: Final = 6
_MAX_WORDS_OFF: Final = 2
_INJECTED_NAME: Final = re.compile(
    r"([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)|PORT"
)
_INJECTED_PORT: Final = re.compile(r"(tcp|udp|sctp)://.+")


class SettingsError(Exception):
    """A setting is missing or wrong; the text names it and what would be right in one line, and holds no secret."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A value as somebody wrote it, and the name of the place where they did."""

    value: object = field(repr=False)
    origin: str


@dataclass(frozen=True, slots=True)
class Names:
    """The keys that a place may hold. Each of `secrets` may instead be given as `<key>_file`, the path of a file."""

    known: frozenset[str]
    secrets: frozenset[str]

    def all(self) -> frozenset[str]:
        """Every key that may be written."""
        return self.known | {f"{name}_file" for name in self.secrets}


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the TOML file, and where it stands, in words that follow a key's name."""

    values: dict[str, Raw]
    place: str


@dataclass(frozen=True, slots=True)
class Found:
    """What the sources say together: values by lower-case name, one table for each `[[apps]]`, warnings for the log."""

    values: dict[str, Raw]
    apps: tuple[Table, ...]
    warnings: tuple[str, ...]


def find_settings(environ: Mapping[str, str], names: Names, app_names: Names) -> Found:
    """Read the environment and, if it names one, the TOML file; the environment wins.

    Raises:
        SettingsError: a file cannot be read, a name is unknown or misspelt, or a secret is given twice.
    """
    values, warnings = _read_environment(environ, names)
    config = values.pop(CONFIG, None)
    if config is None:
        return Found(values, (), warnings)
    filed, apps = _read_config(config, names, app_names)
    return Found({**filed.values, **values}, apps, warnings)


def _read_environment(environ: Mapping[str, str], names: Names) -> tuple[dict[str, Raw], tuple[str, ...]]:
    names = Names(names.known | {CONFIG}, names.secrets)
    ours = {key: value for key, value in environ.items() if key.upper().startswith(PREFIX) and value}
    variables = {f"{PREFIX}{name.upper()}": name for name in names.all()}
    warnings = []
    for key, value in sorted(ours.items()):
        name = key[len(PREFIX) :]
        if key in variables or _is_injected(name, value):
            continue
        near = _nearest(name.upper(), [variable.removeprefix(PREFIX) for variable in variables])
        if near:
            meant = " or ".join(f"{PREFIX}{right}" for right in near)
            raise SettingsError(f"{key}: there is no such setting; did you mean {meant}?")
        warnings.append(f"{key} is not a setting of this release and is ignored")
    table = {variables[key]: value for key, value in ours.items() if key in variables}
    return _read_table(table, names, lambda name: f"{PREFIX}{name.upper()}"), tuple(warnings)


def _is_injected(key: str, value: str) -> bool:
    """Whether Kubernetes sets this for a service called zego-retention or zego-retention-<something>."""
    return bool(_INJECTED_NAME.fullmatch(key)) or (key.endswith("_PORT") and bool(_INJECTED_PORT.fullmatch(value)))


def _read_config(config: Raw, names: Names, app_names: Names) -> tuple[Table, tuple[Table, ...]]:
    path = Path(str(config.value))
    if not path.is_absolute():
        raise SettingsError(
            f"{config.origin}: {str(path)!r} is relative; write the whole path, for example /etc/zego-retention.toml"
        )
    table = _parse_toml(_read_text(path, config.origin), path)
    apps = table.pop("apps", [])
    if not isinstance(apps, list) or not all(isinstance(app, dict) for app in apps):
        raise SettingsError(f"apps in {path}: write each app as a table of its own that begins with [[apps]]")
    tables = (_read_known(app, app_names, f"of [[apps]] number {n} in {path}") for n, app in enumerate(apps, start=1))
    return _read_known(table, names, f"in {path}"), tuple(tables)


def _parse_toml(text: str, path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a plain ValueError
        raise SettingsError(f"{path} is not valid TOML: {str(error).partition(chr(10))[0]}") from None


def _read_known(table: Mapping[str, object], names: Names, place: str) -> Table:
    for key in table:
        if key not in names.all():
            near = _nearest(key.lower(), {*names.all(), "apps"}, at_least=0.6)
            hint = f"; did you mean {' or '.join(near)}?" if near else "; the README lists all settings"
            raise SettingsError(f"{key[:40]!r} {place}: there is no such setting{hint}")
    return Table(_read_table(table, names, lambda name: f"{name} {place}"), place)


def _read_table(table: Mapping[str, object], names: Names, label: Callable[[str], str]) -> dict[str, Raw]:
    values = {name: Raw(table[name], label(name)) for name in names.known if name in table}
    for name in names.secrets:
        key = f"{name}_file"
        if key not in table:
            continue
        if name in table:
            raise SettingsError(f"{label(name)} and {label(key)} are both set; keep one of them")
        values[name] = Raw(_read_secret(table[key], label(key)), label(key))
    return values


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


def _nearest(name: str, known: Collection[str], at_least: float = _NEAR) -> list[str]:
    """The right names that somebody may have meant, as far as any is near enough."""
    names = sorted(known)
    slips = [right for right in names if _is_one_slip(name, right)]
    if slips:
        return slips[:1]
    distances = {right: _word_distance(name, right) for right in names}
    near = min(distance for distance in distances.values())
    if near[0] <= _MAX_WORDS_OFF:
        return [right for right in names if distances[right] == near]
    cutoff = min(at_least, _NEAR_SHORT) if len(name) <= _SHORT else at_least
    return difflib.get_close_matches(name, names, n=1, cutoff=cutoff)


def _word_distance(written: str, right: str) -> tuple[int, bool]:
    """How far two names are apart in words, and whether they end in different ones.

    1: one word was added or left out (KEEP_DAYS for KEEP); 2: one was exchanged (APP_SECRET for SERVER_SECRET).
    """
    words, right_words = written.split("_"), right.split("_")
    extra, missing = Counter(words) - Counter(right_words), Counter(right_words) - Counter(words)
    is_near = extra.total() <= 1 and missing.total() <= 1 and not set(words).isdisjoint(right_words)
    distance = extra.total() + missing.total() if is_near else _MAX_WORDS_OFF + 1
    return distance, words[-1] != right_words[-1]


def _is_one_slip(written: str, right: str) -> bool:
    """Whether one character is too many, missing or wrong, or two neighbours changed places."""
    same = 0
    while written[same : same + 1] == right[same : same + 1] != "":
        same += 1
    a, b = written[same:], right[same:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])
