"""The rules file: retention rules as people write them in TOML, read strictly and written canonically."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from service.rules.decide import RetentionRule
from service.rules.match import KEYS, Key, Match, match_implies
from service.units import format_keep, parse_keep

_FILE_KEYS: Final = ("rules",)
_RULE_KEYS: Final = ("name", "match", "keep", "keep_latest")
_MAX_NAME: Final = 100
_MAX_LATEST: Final = 1_000_000


class RulesError(ValueError):
    """Rules that cannot be accepted; the message is one line that names the rule and the key."""


def parse_rules(text: str) -> tuple[RetentionRule, ...]:
    """Read a rules file; it is accepted whole or not at all: a RulesError names the first thing that is wrong."""
    try:
        document = tomllib.loads(text.removeprefix("\ufeff"))
    except RecursionError:
        raise RulesError("not valid TOML: nested too deeply") from None
    except ValueError as error:  # a plain one: a number of thousands of digits
        raise RulesError(f"not valid TOML: {' '.join(str(error).split())}") from None
    return read_rules(document)


def read_rules(document: Mapping[str, Any]) -> tuple[RetentionRule, ...]:
    """The rules of a document as a rules file holds it; a RulesError as of `parse_rules`."""
    _refuse_unknown_keys(document, _FILE_KEYS, "")
    tables = document.get("rules", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise RulesError("rules: write each rule as a table under [[rules]], in double brackets")
    if not tables:
        raise RulesError('there are no rules: to keep everything, write one rule with keep = "forever"')
    rules: list[RetentionRule] = []
    for number, table in enumerate(tables, start=1):
        rule = _read_rule(table, f"rule {number}")
        _refuse_useless(rule, rules)
        rules.append(rule)
    return tuple(rules)


def format_rules(rules: Sequence[RetentionRule]) -> str:
    """Write rules as a rules file that `parse_rules` reads back to the same rules."""
    return "\n".join(_format_rule(rule) for rule in rules)


def catch_all(keep_text: str) -> tuple[RetentionRule, ...]:
    """The rules that the setting `KEEP` stands for: one, for every file; a ValueError shows a right text."""
    return (RetentionRule("KEEP", Match(), parse_keep(keep_text)),)


def _read_rule(table: Mapping[str, Any], place: str) -> RetentionRule:
    name = table.get("name")
    if isinstance(name, str) and name.isprintable() and 0 < len(name) <= _MAX_NAME:
        place = f'{place} "{name}"'
    _refuse_unknown_keys(table, _RULE_KEYS, f"{place}, ")
    if problem := _find_fault_of_name(name):
        raise RulesError(f"{place}, name: {problem}")
    match = _read_match(table["match"], place) if "match" in table else Match()
    if "keep" not in table:
        raise RulesError(
            f'{place}, keep: is missing: write how long to keep, for example keep = "30d" or keep = "forever"'
        )
    keep = _read_text(table["keep"], f"{place}, keep", parse_keep)
    latest = table.get("keep_latest")
    if latest is not None and (problem := _find_fault_of_latest(latest, match, is_forever=keep is None)):
        raise RulesError(f"{place}, keep_latest: {problem}")
    return RetentionRule(str(name), match, keep, latest)


def _find_fault_of_name(name: object) -> str | None:
    if name is None:
        return 'is missing: give each rule a name, for example name = "trial rooms"'
    if not isinstance(name, str) or not name.strip():
        return 'must be text, for example "trial rooms"'
    if len(name) > _MAX_NAME:
        return f"has {len(name)} characters: at most {_MAX_NAME} are allowed"
    if not name.isprintable() or name != name.strip():
        return f"{name!a} has control characters, or spaces around it: leave them out"
    return None


def _find_fault_of_latest(value: object, match: Match, *, is_forever: bool) -> str | None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MAX_LATEST:
        return f"must be a whole number from 1 to {_MAX_LATEST}, without quotes"
    if is_forever:
        return 'has no effect beside keep = "forever": leave one of them out'
    if match.adopted:
        return "would keep all adopted files, whose streams are not known: leave it out, or leave out adopted = true"
    return None


def _read_match(table: object, place: str) -> Match:
    if not isinstance(table, dict) or not table:
        raise RulesError(
            f'{place}, match: must hold a condition, as in {{ stream = "trial-*" }}; leave it out to match all files'
        )
    place = f"{place}, match."
    _refuse_unknown_keys(table, KEYS, place)
    match = Match(**{name: _read_value(value, KEYS[name], f"{place}{name}") for name, value in table.items()})
    if match.adopted and (useless := next((name for name in ("stream", "event") if name in table), None)):
        raise RulesError(f"{place}{useless}: is not known of adopted files: leave it out, or leave out adopted = true")
    for fact in ("duration", "size"):
        lowest, highest = getattr(match, f"min_{fact}"), getattr(match, f"max_{fact}")
        if lowest is not None and highest is not None and lowest > highest:
            raise RulesError(f"{place}min_{fact}: is over max_{fact}: no file would ever match")
    return match


def _read_value(value: object, key: Key, place: str) -> Any:  # noqa: ANN401  (each key has its own type)
    if key.parse is None:
        if not isinstance(value, bool):
            raise RulesError(f"{place}: must be true or false, without quotes")
        return value
    if not key.kind.is_list:
        return _read_text(value, place, key.parse)
    values = value if isinstance(value, list) else [value]
    if not values:
        raise RulesError(f"{place}: is an empty list, which no file matches: name a value, or leave the key out")
    return tuple(_read_text(each, place, key.parse) for each in values)


def _read_text(value: object, place: str, parse: Callable[[str], Any]) -> Any:  # noqa: ANN401
    if not isinstance(value, str):
        raise RulesError(f"{place}: must be text in quotes")
    try:
        return parse(value)
    except ValueError as error:
        raise RulesError(f"{place}: {error}") from None


def _refuse_unknown_keys(table: Mapping[str, object], known: Collection[str], prefix: str) -> None:
    for key in table:
        if key in known:
            continue
        close = difflib.get_close_matches(key.lower(), known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        if key == "mode" and known is _RULE_KEYS:
            hint = "every rule deletes; see what it would delete with `rules preview`, before `rules apply`"
        raise RulesError(f"{prefix}{ascii(key)[1:-1][:60]}: unknown key, {hint}")


def _refuse_useless(rule: RetentionRule, above: Sequence[RetentionRule]) -> None:
    place = f'rule {len(above) + 1} "{rule.name}"'
    for number, earlier in enumerate(above, start=1):
        if earlier.name == rule.name:
            raise RulesError(f"{place}, name: is that of rule {number} too, rename one")
        if match_implies(rule.match, earlier.match):
            raise RulesError(
                f'{place}, match: is never reached, because rule "{earlier.name}" above takes every file that it'
                " matches: move it up, or leave it out"
            )


def _format_rule(rule: RetentionRule) -> str:
    lines = ["[[rules]]", f"name = {_to_toml(rule.name)}"]
    conditions = []
    for key, wanted, _ in rule.match.conditions:
        values = [key.write(value) for value in (wanted if key.kind.is_list else [wanted])]
        conditions.append(f"{key.name} = {_to_toml(values[0] if len(values) == 1 else values)}")
    if conditions:
        lines.append(f"match = {{ {', '.join(conditions)} }}")
    lines.append(f"keep = {_to_toml(format_keep(rule.keep))}")
    if rule.keep_latest is not None:
        lines.append(f"keep_latest = {rule.keep_latest}")
    return "\n".join(lines) + "\n"


def _to_toml(value: object) -> str:
    """Texts, flags and lists of them are written alike in JSON and in TOML, but for one control character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
