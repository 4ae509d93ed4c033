"""The rules file: retention rules as people write them in TOML, read strictly and written canonically."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from service.model import Vendor
from service.rules.decide import RetentionRule
from service.rules.match import Match, match_implies
from service.units import format_duration, format_keep, format_size, parse_duration, parse_keep, parse_size

EVENTS: Final = ("record", "compose")
"""The callbacks that announce a file (docs/protocol.md, "The callback")."""

_FILE_KEYS: Final = ("rules",)
_RULE_KEYS: Final = ("name", "match", "keep", "keep_latest")
_VENDOR_NAMES: Final = {vendor.lower(): vendor for vendor in Vendor} | {"wangsu": Vendor.WANGSU}
_MAX_NAME: Final = 100
_MAX_STREAM: Final = 255
_MAX_FILE_NAME: Final = 1024
_MAX_LATEST: Final = 1_000_000
_MAX_APP: Final = 2**32 - 1
_MAX_SHOWN: Final = 60
_APP: Final = re.compile(r"[1-9][0-9]{0,9}")


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
    rules = tuple(
        _read_rule(table, _name_place(number, table.get("name"))) for number, table in enumerate(tables, start=1)
    )
    _refuse_useless(rules)
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


def describe_rule(rule: RetentionRule) -> str:
    """A rule in one line for tables, without its name: `stream trial-*, max_size 10MB: keep 1d, newest 1`."""
    conditions = [f"{key} {'|'.join(values)}" for key, values in _list_conditions(rule.match)]
    latest = "" if rule.keep_latest is None else f", newest {rule.keep_latest}"
    return f"{', '.join(conditions) or 'every file'}: keep {format_keep(rule.keep)}{latest}"


def find_unreachable(rules: Sequence[RetentionRule]) -> tuple[RetentionRule, RetentionRule] | None:
    """Find a rule that can never decide because one earlier rule plainly takes every file first: (rule, earlier)."""
    for number, rule in enumerate(rules):
        for earlier in rules[:number]:
            if match_implies(rule.match, earlier.match):
                return rule, earlier
    return None


def _error(place: str, key: str, problem: object) -> RulesError:
    return RulesError(f"{place}, {key}: {problem}")


def _name_place(number: int, name: object) -> str:
    """A rule by its number, and by its name if that can be shown."""
    is_shown = isinstance(name, str) and name.isprintable() and 0 < len(name) <= _MAX_NAME
    return f'rule {number} "{name}"' if is_shown else f"rule {number}"


def _read_toml(text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:  # a plain ValueError: a number of thousands of digits
        problem = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise RulesError(f"not valid TOML: {problem}") from None


def _read_rule(table: Mapping[str, object], place: str) -> RetentionRule:
    _refuse_unknown_keys(table, _RULE_KEYS, f"{place}, ")
    name = _read_name(table, place)
    match = _read_match(table["match"], place) if "match" in table else Match()
    if "keep" not in table:
        raise _error(place, "keep", 'is missing: write how long to keep, for example keep = "30d" or keep = "forever"')
    keep = _read_text(table["keep"], "keep", place, parse_keep)
    keep_latest = _read_keep_latest(table["keep_latest"], place) if "keep_latest" in table else None
    if keep is None and keep_latest is not None:
        raise _error(place, "keep_latest", 'has no effect beside keep = "forever": leave one of them out')
    if match.adopted and keep_latest is not None:
        raise _error(
            place,
            "keep_latest",
            "would keep all adopted files, whose streams are not known: leave it out, or leave out adopted = true",
        )
    return RetentionRule(name, match, keep, keep_latest)


def _read_name(table: Mapping[str, object], place: str) -> str:
    if "name" not in table:
        raise _error(place, "name", 'is missing: give each rule a name, for example name = "trial rooms"')
    name = table["name"]
    if not isinstance(name, str) or not name.strip():
        raise _error(place, "name", 'must be text, for example "trial rooms"')
    if len(name) > _MAX_NAME:
        raise _error(place, "name", f"has {len(name)} characters: at most {_MAX_NAME} are allowed")
    if not name.isprintable() or name != name.strip():
        raise _error(place, "name", f"{name!a} has control characters, or spaces around it: leave them out")
    return name


def _read_keep_latest(value: object, place: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MAX_LATEST:
        raise _error(place, "keep_latest", f"must be a whole number from 1 to {_MAX_LATEST}, without quotes")
    return value


def _read_match(table: object, place: str) -> Match:
    if not isinstance(table, dict) or not table:
        raise _error(
            place, "match", 'must hold a condition, as in { stream = "trial-*" }; leave it out to match all files'
        )
    _refuse_unknown_keys(table, tuple(_MATCH_KEYS), f"{place}, match.")
    values: dict[str, Any] = {key: _MATCH_KEYS[key].read(value, f"match.{key}", place) for key, value in table.items()}
    match = Match(**values)
    if match.adopted and (useless := [key for key in ("stream", "event") if key in table]):
        raise _error(
            place, f"match.{useless[0]}", "is not known of adopted files: leave it out, or leave out adopted = true"
        )
    if match.min_duration and match.max_duration and match.min_duration > match.max_duration:
        raise _error(place, "match.min_duration", "is over max_duration: no file would ever match")
    if match.min_size is not None and match.max_size is not None and match.min_size > match.max_size:
        raise _error(place, "match.min_size", "is over max_size: no file would ever match")
    return match


@dataclass(frozen=True, slots=True)
class _MatchKey:
    """How a value of a match key is read from text (None: a flag) and written; `is_list`: several may be given."""

    parse: Callable[[str], Any] | None
    format: Callable[[Any], str]
    is_list: bool = False

    def read(self, value: object, key: str, place: str) -> Any:  # noqa: ANN401  (each key has its own type)
        if self.parse is None:
            if not isinstance(value, bool):
                raise _error(place, key, "must be true or false, without quotes")
            return value
        if not self.is_list:
            return _read_text(value, key, place, self.parse)
        values = value if isinstance(value, list) else [value]
        if not values:
            raise _error(place, key, "is an empty list, which no file matches: name a value, or leave the key out")
        return tuple(_read_text(each, key, place, self.parse) for each in values)


def _read_text(value: object, key: str, place: str, parse: Callable[[str], Any]) -> Any:  # noqa: ANN401
    if not isinstance(value, str):
        raise _error(place, key, "must be text in quotes")
    try:
        return parse(value)
    except ValueError as error:
        raise _error(place, key, error) from None


def _pattern_parser(longest: int) -> Callable[[str], str]:
    """A reader of patterns for texts of at most so many characters."""

    def parse(text: str) -> str:
        if not text:
            raise ValueError('is empty, which nothing fits: write a pattern, for example "trial-*"')
        if len(text) > longest:
            raise ValueError(f"has {len(text)} characters: at most {longest} are allowed")
        if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text):
            raise ValueError(f"{_shorten(ascii(text))} has a character that no stream or file name has")
        return text

    return parse


def _parse_app(text: str) -> str:
    if _APP.fullmatch(text) is None or int(text) > _MAX_APP:
        raise ValueError(f'{_shorten(ascii(text))} is not an AppId: write its digits, for example "1234567890"')
    return text


def _parse_vendor(text: str) -> Vendor:
    if text in tuple(Vendor):
        return Vendor(text)
    meant = _VENDOR_NAMES.get(text.lower())
    raise ValueError(
        f"{_shorten(ascii(text))} is none of {', '.join(Vendor)}" + (f': write "{meant}"' if meant else "")
    )


def _parse_event(text: str) -> str:
    if text not in EVENTS:
        raise ValueError(f"{_shorten(ascii(text))} is none of {', '.join(EVENTS)}")
    return text


_MATCH_KEYS: Final = {
    "stream": _MatchKey(_pattern_parser(_MAX_STREAM), str, is_list=True),
    "name": _MatchKey(_pattern_parser(_MAX_FILE_NAME), str, is_list=True),
    "app": _MatchKey(_parse_app, str, is_list=True),
    "vendor": _MatchKey(_parse_vendor, str, is_list=True),
    "event": _MatchKey(_parse_event, str, is_list=True),
    "adopted": _MatchKey(None, lambda flag: str(flag).lower()),
    "min_duration": _MatchKey(parse_duration, format_duration),
    "max_duration": _MatchKey(parse_duration, format_duration),
    "min_size": _MatchKey(parse_size, format_size),
    "max_size": _MatchKey(parse_size, format_size),
}
"""The keys of a match, in the order in which they are written."""


def _refuse_unknown_keys(table: Mapping[str, object], known: Sequence[str], prefix: str) -> None:
    for key in table:
        if key in known:
            continue
        if key == "mode" and known is _RULE_KEYS:
            hint = "every rule deletes; see what it would delete with `rules preview`, before `rules apply`"
        else:
            close = difflib.get_close_matches(key.lower(), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        raise RulesError(f"{prefix}{_shorten(ascii(key)[1:-1])}: unknown key, {hint}")


def _refuse_useless(rules: Sequence[RetentionRule]) -> None:
    first: dict[str, int] = {}
    for number, rule in enumerate(rules, start=1):
        if first.setdefault(rule.name, number) != number:
            raise RulesError(f'rule {number} "{rule.name}", name: is that of rule {first[rule.name]} too, rename one')
    if found := find_unreachable(rules):
        rule, earlier = found
        raise RulesError(
            f'rule {first[rule.name]} "{rule.name}", match: is never reached, because rule "{earlier.name}" above'
            " takes every file that it matches: move it up, or leave it out"
        )


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _list_conditions(match: Match) -> list[tuple[str, list[str]]]:
    """The keys that ask something, with their values as text."""
    found = []
    for key, form in _MATCH_KEYS.items():
        value = getattr(match, key)
        if value is not None:
            found.append((key, [form.format(each) for each in (value if form.is_list else (value,))]))
    return found


def _format_rule(rule: RetentionRule) -> str:
    lines = ["[[rules]]", f"name = {_quote(rule.name)}"]
    conditions = [f"{key} = {_format_values(key, values)}" for key, values in _list_conditions(rule.match)]
    if conditions:
        lines.append(f"match = {{ {', '.join(conditions)} }}")
    lines.append(f"keep = {_quote(format_keep(rule.keep))}")
    if rule.keep_latest is not None:
        lines.append(f"keep_latest = {rule.keep_latest}")
    return "\n".join(lines) + "\n"


def _format_values(key: str, values: Sequence[str]) -> str:
    if key == "adopted":
        return values[0]
    return _quote(values[0]) if len(values) == 1 else f"[{', '.join(_quote(value) for value in values)}]"


def _quote(text: str) -> str:
    """A TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(f"\\u{ord(c):04x}" if c < " " or c == "\x7f" else c for c in escaped) + '"'
