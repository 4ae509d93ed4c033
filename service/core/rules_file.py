"""The rules file: retention rules as people write them in TOML, read strictly and written canonically."""

from __future__ import annotations

import difflib
import re
import tomllib
from typing import TYPE_CHECKING, Final, TypeVar

from service.core.durations import format_duration, format_keep, format_size, parse_duration, parse_keep, parse_size
from service.core.matching import Match
from service.core.model import Vendor
from service.core.rules import Mode, RetentionRule, find_unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import timedelta

_T = TypeVar("_T")

EVENTS: Final = ("record", "compose")
"""The callbacks that announce a file (docs/protocol.md, "The callback")."""

_FILE_KEYS: Final = ("rules",)
_RULE_KEYS: Final = ("name", "match", "keep", "keep_latest", "mode")
_MATCH_KEYS: Final = (
    "stream",
    "app",
    "vendor",
    "event",
    "min_duration",
    "max_duration",
    "min_size",
    "max_size",
    "adopted",
)
_LONGEST_NAME: Final = 100
_LONGEST_PATTERN: Final = 255
_MOST_LATEST: Final = 1_000_000
_HIGHEST_APP: Final = 2**32 - 1
_APP = re.compile(r"[1-9][0-9]{0,9}")


class RulesError(ValueError):
    """Rules that cannot be accepted; the message is one line that names the rule and the key."""


def parse_rules(text: str) -> tuple[RetentionRule, ...]:
    """Read a rules file; it is accepted whole or not at all.

    Raises:
        RulesError: the first thing that is wrong. The caller adds the name of the file.
    """
    document = _read_toml(text)
    _refuse_unknown_keys(document, _FILE_KEYS, "")
    tables = document.get("rules", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise RulesError("rules: write each rule as a table under [[rules]], in double brackets")
    if not tables:
        raise RulesError('there are no rules: to keep everything, write one rule with keep = "forever"')
    rules = tuple(_read_rule(table, _Place(number, table.get("name"))) for number, table in enumerate(tables, start=1))
    _refuse_duplicates(rules)
    _refuse_unreachable(rules)
    return rules


def format_rules(rules: Sequence[RetentionRule]) -> str:
    """Write rules as a rules file that `parse_rules` reads back to the same rules."""
    return "\n".join(_format_rule(rule) for rule in rules)


def catch_all(keep_text: str) -> tuple[RetentionRule, ...]:
    """The rules that the setting `KEEP` stands for: one, for every file.

    Raises:
        ValueError: the text is neither a duration nor `forever`.
    """
    return (RetentionRule("KEEP", Match(), parse_keep(keep_text)),)


class _Place:
    """Where in the file something is wrong, in words: a rule by its number, and by its name if that can be shown."""

    def __init__(self, number: int, name: object) -> None:
        shown = isinstance(name, str) and name.isprintable() and 0 < len(name) <= _LONGEST_NAME
        self._rule = f'rule {number} "{name}"' if shown else f"rule {number}"

    def error(self, key: str, problem: object) -> RulesError:
        return RulesError(f"{self._rule}, {key}: {problem}")

    def __str__(self) -> str:
        return self._rule


def _read_toml(text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:  # a plain ValueError: a number of thousands of digits
        problem = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise RulesError(f"not valid TOML: {problem}") from None


def _read_rule(table: Mapping[str, object], place: _Place) -> RetentionRule:
    _refuse_unknown_keys(table, _RULE_KEYS, f"{place}, ")
    name = _read_name(table, place)
    match = _read_match(table["match"], place) if "match" in table else Match()
    if "keep" not in table:
        raise place.error("keep", 'is missing: write how long to keep, for example keep = "30d" or keep = "forever"')
    keep = _read_text(table["keep"], "keep", place, parse_keep)
    keep_latest = _read_keep_latest(table["keep_latest"], place) if "keep_latest" in table else None
    if keep is None and keep_latest is not None:
        raise place.error("keep_latest", 'has no effect beside keep = "forever": leave one of them out')
    if match.adopted and keep_latest is not None:
        raise place.error(
            "keep_latest",
            "would keep all adopted files, for no stream is known of them to count them in: leave it out, or leave out"
            " adopted = true",
        )
    mode = _read_text(table["mode"], "mode", place, _parse_mode) if "mode" in table else Mode.ENFORCE
    return RetentionRule(name, match, keep, keep_latest, mode)


def _read_name(table: Mapping[str, object], place: _Place) -> str:
    if "name" not in table:
        raise place.error("name", 'is missing: give each rule a name, for example name = "trial rooms"')
    name = table["name"]
    if not isinstance(name, str) or not name.strip():
        raise place.error("name", 'must be text, for example "trial rooms"')
    if len(name) > _LONGEST_NAME:
        raise place.error("name", f"has {len(name)} characters: the most are {_LONGEST_NAME}")
    if not name.isprintable() or name != name.strip():
        raise place.error("name", f"{name!a} has control characters, or spaces around it: leave them out")
    return name


def _read_keep_latest(value: object, place: _Place) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST_LATEST:
        raise place.error("keep_latest", f"must be a whole number from 1 to {_MOST_LATEST}, without quotes")
    return value


def _read_match(table: object, place: _Place) -> Match:
    if not isinstance(table, dict) or not table:
        raise place.error(
            "match", 'must hold a condition, as in { stream = "trial-*" }; leave it out to match all files'
        )
    _refuse_unknown_keys(table, _MATCH_KEYS, f"{place}, match.")
    match = Match(
        stream=_read_texts(table, "stream", place, _parse_pattern),
        app=_read_texts(table, "app", place, _parse_app),
        vendor=_read_texts(table, "vendor", place, _parse_vendor),
        event=_read_texts(table, "event", place, _parse_event),
        min_duration=_read_limit(table, "min_duration", place, parse_duration),
        max_duration=_read_limit(table, "max_duration", place, parse_duration),
        min_size=_read_limit(table, "min_size", place, parse_size),
        max_size=_read_limit(table, "max_size", place, parse_size),
        adopted=_read_adopted(table, place),
    )
    if match.min_duration and match.max_duration and match.min_duration > match.max_duration:
        raise place.error("match.min_duration", "is over max_duration: no file would ever match")
    if match.min_size is not None and match.max_size is not None and match.min_size > match.max_size:
        raise place.error("match.min_size", "is over max_size: no file would ever match")
    return match


def _read_adopted(table: Mapping[str, object], place: _Place) -> bool | None:
    adopted = table.get("adopted")
    if adopted is not None and not isinstance(adopted, bool):
        raise place.error("match.adopted", "must be true or false, without quotes")
    if adopted and (conflicting := [key for key in ("stream", "event") if key in table]):
        raise place.error(
            f"match.{conflicting[0]}", "is not known of adopted files: leave it out, or leave out adopted = true"
        )
    return adopted


def _read_texts(
    table: Mapping[str, object], key: str, place: _Place, parse: Callable[[str], _T]
) -> tuple[_T, ...] | None:
    """Read a match key that takes one text or a list of them."""
    if key not in table:
        return None
    value = table[key]
    values = value if isinstance(value, list) else [value]
    if not values:
        raise place.error(f"match.{key}", "is an empty list, which no file matches: name a value, or leave the key out")
    return tuple(_read_text(each, f"match.{key}", place, parse) for each in values)


def _read_limit(table: Mapping[str, object], key: str, place: _Place, parse: Callable[[str], _T]) -> _T | None:
    return _read_text(table[key], f"match.{key}", place, parse) if key in table else None


def _read_text(value: object, key: str, place: _Place, parse: Callable[[str], _T]) -> _T:
    if not isinstance(value, str):
        raise place.error(key, "must be text in quotes")
    try:
        return parse(value)
    except ValueError as error:
        raise place.error(key, error) from None


def _parse_pattern(text: str) -> str:
    if not text:
        raise ValueError('is empty, which no stream matches: write a pattern, for example "trial-*"')
    if len(text) > _LONGEST_PATTERN:
        raise ValueError(f"has {len(text)} characters: stream ids have at most {_LONGEST_PATTERN}")
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"{_shorten(ascii(text))} has a character that no stream id has")
    return text


def _parse_app(text: str) -> str:
    if _APP.fullmatch(text) is None or int(text) > _HIGHEST_APP:
        raise ValueError(f'{_shorten(ascii(text))} is not an AppId: write its digits, for example "1234567890"')
    return text


def _parse_vendor(text: str) -> Vendor:
    try:
        return Vendor(text)
    except ValueError:
        raise ValueError(_describe_wrong_choice(text, tuple(Vendor))) from None


def _parse_event(text: str) -> str:
    if text not in EVENTS:
        raise ValueError(_describe_wrong_choice(text, EVENTS))
    return text


def _parse_mode(text: str) -> Mode:
    try:
        return Mode(text)
    except ValueError:
        raise ValueError(_describe_wrong_choice(text, tuple(Mode))) from None


def _describe_wrong_choice(text: str, choices: Collection[str]) -> str:
    return f"{_shorten(ascii(text))} is none of {', '.join(choices)}"


def _refuse_unknown_keys(table: Mapping[str, object], known: Sequence[str], prefix: str) -> None:
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key.lower(), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            raise RulesError(f"{prefix}{_shorten(ascii(key)[1:-1])}: unknown key, {hint}")


def _refuse_duplicates(rules: Sequence[RetentionRule]) -> None:
    first: dict[str, int] = {}
    for number, rule in enumerate(rules, start=1):
        if first.setdefault(rule.name, number) != number:
            raise RulesError(f'rule {number} "{rule.name}", name: is that of rule {first[rule.name]} too, rename one')


def _refuse_unreachable(rules: Sequence[RetentionRule]) -> None:
    found = find_unreachable(rules)
    if found is not None:
        rule, earlier = found
        raise RulesError(
            f'rule {rules.index(rule) + 1} "{rule.name}", match: is never reached, because rule "{earlier.name}" above'
            " takes every file that it matches: move it up, or leave it out"
        )


def _shorten(text: str) -> str:
    longest = 60
    return text if len(text) <= longest else f"{text[:longest]}…"


def _format_rule(rule: RetentionRule) -> str:
    lines = ["[[rules]]", f"name = {_quote(rule.name)}"]
    conditions = _format_match(rule.match)
    if conditions:
        lines.append(f"match = {{ {', '.join(conditions)} }}")
    lines.append(f"keep = {_quote(format_keep(rule.keep))}")
    if rule.keep_latest is not None:
        lines.append(f"keep_latest = {rule.keep_latest}")
    if rule.mode is not Mode.ENFORCE:
        lines.append(f"mode = {_quote(rule.mode)}")
    return "\n".join(lines) + "\n"


def _format_match(match: Match) -> list[str]:
    lists: dict[str, tuple[str, ...] | None] = {
        "stream": match.stream,
        "app": match.app,
        "vendor": match.vendor,
        "event": match.event,
    }
    durations: dict[str, timedelta | None] = {"min_duration": match.min_duration, "max_duration": match.max_duration}
    sizes: dict[str, int | None] = {"min_size": match.min_size, "max_size": match.max_size}
    return [
        *(f"{key} = {_format_list(values)}" for key, values in lists.items() if values is not None),
        *(f"{key} = {_quote(format_duration(value))}" for key, value in durations.items() if value is not None),
        *(f"{key} = {_quote(format_size(value))}" for key, value in sizes.items() if value is not None),
        *([] if match.adopted is None else [f"adopted = {str(match.adopted).lower()}"]),
    ]


def _format_list(values: tuple[str, ...]) -> str:
    return _quote(values[0]) if len(values) == 1 else f"[{', '.join(_quote(value) for value in values)}]"


def _quote(text: str) -> str:
    """A TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(f"\\u{ord(c):04x}" if c < " " or c == "\x7f" else c for c in escaped) + '"'
