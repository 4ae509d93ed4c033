from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service.model import Vendor
from service.rules.decide import RetentionRule
from service.rules.file import RulesError, catch_all, format_rules, parse_rules
from service.rules.match import Match

DOCUMENTED = """
[[rules]]
name  = "trial rooms"
match = { stream = "trial-*" }            # also: name, app, vendor, event, …
keep  = "1d"

[[rules]]
name  = "paid lessons"
match = { stream = ["lesson-*", "exam-*"], vendor = "Tencent" }
keep  = "forever"

[[rules]]
name  = "everything else"
keep  = "30d"
keep_latest = 1
"""


def test_the_documented_file_reads_as_documented() -> None:
    assert parse_rules(DOCUMENTED) == (
        RetentionRule("trial rooms", Match(stream=("trial-*",)), timedelta(days=1)),
        RetentionRule("paid lessons", Match(stream=("lesson-*", "exam-*"), vendor=(Vendor.TENCENT,)), None),
        RetentionRule("everything else", Match(), timedelta(days=30), keep_latest=1),
    )


def test_every_match_key_is_read() -> None:
    text = """
    [[rules]]
    name = "all keys"
    keep = "2w"
    [rules.match]
    stream = "a*"
    name = ["record/*", "*.mp4"]
    app = ["1", "4294967295"]
    vendor = ["Ws", "Huawei", "Ws"]
    event = ["record", "compose"]
    min_duration = "30s"
    max_duration = "2h"
    min_size = "0B"
    max_size = "2GB"
    adopted = false
    """
    match = Match(
        stream=("a*",),
        name=("record/*", "*.mp4"),
        app=("1", "4294967295"),
        vendor=(Vendor.WANGSU, Vendor.HUAWEI, Vendor.WANGSU),
        event=("record", "compose"),
        min_duration=timedelta(seconds=30),
        max_duration=timedelta(hours=2),
        min_size=0,
        max_size=2_000_000_000,
        adopted=False,
    )
    assert parse_rules(text) == (RetentionRule("all keys", match, timedelta(weeks=2)),)


def rule(*lines: str, name: str = '"one"') -> str:
    return "\n".join(["[[rules]]", f"name = {name}", *lines])


KEEP = 'keep = "30d"'


def matching(condition: str) -> str:
    return rule(f"match = {{ {condition} }}", KEEP)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'there are no rules: to keep everything, write one rule with keep = "forever"'),
        ("rules = []", "there are no rules"),
        ("rules = 1", "rules: write each rule as a table under [[rules]]"),
        ("[[rules]]\nname = \nkeep = 1", "not valid TOML: Invalid value (at line 2, column 8)"),
        ("[[rules]]\nname = 'a'\nname = 'b'\nkeep = 1", "not valid TOML: Cannot overwrite a value (at line 3"),
        ("x = " + "9" * 5_000, "not valid TOML: "),
        ("x = " + "[" * 100_000, "not valid TOML: nested too deeply"),
        ("[[rule]]\nname = 'a'", "rule: unknown key, did you mean rules?"),
        ('"a\\nb" = 1', "a\\nb: unknown key, known are rules"),
        (rule(KEEP, "keeep = 1"), 'rule 1 "one", keeep: unknown key, did you mean keep?'),
        (f"[[rules]]\nnmae = 'x'\n{KEEP}", "rule 1, nmae: unknown key, did you mean name?"),
        (f"[[rules]]\n{KEEP}", "rule 1, name: is missing"),
        (rule(KEEP, name="7"), "rule 1, name: must be text"),
        (rule(KEEP, name='" "'), 'rule 1 " ", name: must be text'),
        (rule(KEEP, name='" a"'), 'rule 1 " a", name: '),
        (rule(KEEP, name='"a\\u001b[0m"'), "rule 1, name: 'a\\x1b[0m' has control characters"),
        (rule(KEEP, name=f'"{"x" * 101}"'), "rule 1, name: has 101 characters: at most 100 are allowed"),
        (f"{rule(KEEP)}\n{rule(KEEP)}", 'rule 2 "one", name: is that of rule 1 too'),
        (rule(), 'rule 1 "one", keep: is missing'),
        (rule("keep = 30"), 'rule 1 "one", keep: must be text in quotes'),
        (rule('keep = "30"'), "rule 1 \"one\", keep: '30' is not a duration"),
        (rule('keep = "0d"'), "rule 1 \"one\", keep: '0d' is zero: a duration must be positive"),
        (rule('keep = "for ever"'), "for example 30d or forever"),
        (rule(f"keep = 0x{'f' * 9_000}"), 'rule 1 "one", keep: must be text in quotes'),
        (rule(KEEP, 'mode = "observe"'), 'rule 1 "one", mode: unknown key, every rule deletes; see what'),
        (rule(KEEP, "keep_latest = 0"), 'rule 1 "one", keep_latest: must be a whole number from 1'),
        (rule(KEEP, "keep_latest = true"), 'rule 1 "one", keep_latest: must be a whole number from 1'),
        (rule(KEEP, 'keep_latest = "1"'), 'rule 1 "one", keep_latest: must be a whole number from 1'),
        (rule(KEEP, "keep_latest = 1000001"), 'rule 1 "one", keep_latest: must be a whole number from 1'),
        (
            rule('keep = "forever"', "keep_latest = 1"),
            'rule 1 "one", keep_latest: has no effect beside keep = "forever"',
        ),
        (
            rule("match = { adopted = true }", KEEP, "keep_latest = 1"),
            'rule 1 "one", keep_latest: would keep all adopted files',
        ),
        (rule(KEEP, "match = {}"), 'rule 1 "one", match: must hold a condition'),
        (matching('streem = "x"'), 'rule 1 "one", match.streem: unknown key, did you mean stream?'),
        (matching('room = "x"'), 'rule 1 "one", match.room: unknown key, known are stream, name, app'),
        (matching('name = ""'), 'rule 1 "one", match.name: is empty'),
        (matching(f'name = "{"x" * 1025}"'), 'rule 1 "one", match.name: has 1025 characters'),
        (matching("stream = []"), 'rule 1 "one", match.stream: is an empty list'),
        (matching('stream = ""'), 'rule 1 "one", match.stream: is empty'),
        (matching("stream = 7"), 'rule 1 "one", match.stream: must be text in quotes'),
        (matching('stream = [["a"]]'), 'rule 1 "one", match.stream: must be text in quotes'),
        (matching('stream = "a\\u0000"'), "rule 1 \"one\", match.stream: 'a\\x00' has a character"),
        (matching('stream = "\udce4"'), "rule 1 \"one\", match.stream: '\\udce4' has a character"),
        (matching(f'stream = "{"x" * 256}"'), 'rule 1 "one", match.stream: has 256 characters'),
        (matching("app = 1234"), 'rule 1 "one", match.app: must be text in quotes'),
        (matching('app = "12a"'), "rule 1 \"one\", match.app: '12a' is not an AppId"),
        (matching('app = "٣"'), 'rule 1 "one", match.app: '),
        (matching('app = "4294967296"'), 'rule 1 "one", match.app: '),
        (matching('vendor = "tencent"'), "match.vendor: 'tencent' is none of Tencent, Ws, Huawei: write \"Tencent\""),
        (matching('vendor = "Wangsu"'), "'Wangsu' is none of Tencent, Ws, Huawei: write \"Ws\""),
        (matching('vendor = "S3"'), "'S3' is none of Tencent, Ws, Huawei"),
        (matching('event = "snapshot"'), "rule 1 \"one\", match.event: 'snapshot' is none of record, compose"),
        (matching('min_duration = "1"'), "rule 1 \"one\", match.min_duration: '1' is not a duration"),
        (matching('max_duration = "forever"'), "rule 1 \"one\", match.max_duration: 'forever' is not a duration"),
        (matching('min_size = "1 MB"'), "rule 1 \"one\", match.min_size: '1 MB' is not a size"),
        (matching('max_size = ["1MB"]'), 'rule 1 "one", match.max_size: must be text in quotes'),
        (
            matching('min_duration = "2h", max_duration = "1h"'),
            'rule 1 "one", match.min_duration: is over max_duration',
        ),
        (matching('min_size = "2MB", max_size = "1MB"'), 'rule 1 "one", match.min_size: is over max_size'),
        (
            "\n".join([rule(KEEP), rule(KEEP, name='"two"')]),
            'rule 2 "two", match: is never reached, because rule "one" above takes every file that it matches',
        ),
    ],
)
def test_a_bad_file_is_refused_whole_in_one_line_with_rule_and_key(text: str, message: str) -> None:
    with pytest.raises(RulesError) as caught:
        parse_rules(text)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_the_byte_order_mark_of_a_windows_editor_is_no_fault() -> None:
    assert parse_rules("\ufeff" + DOCUMENTED) == parse_rules(DOCUMENTED)


def test_equal_limits_are_a_range_of_one() -> None:
    (only,) = parse_rules(matching('min_size = "1MB", max_size = "1MB", min_duration = "1h", max_duration = "60m"'))
    hour = timedelta(hours=1)
    assert only.match == Match(min_size=1_000_000, max_size=1_000_000, min_duration=hour, max_duration=hour)


def test_keep_stands_for_one_rule_for_every_file() -> None:
    assert catch_all("30d") == (RetentionRule("KEEP", Match(), timedelta(days=30)),)
    assert catch_all("forever") == (RetentionRule("KEEP", Match(), None),)
    with pytest.raises(ValueError, match="for example 30d or forever"):
        catch_all("30")


def test_rules_are_written_like_this() -> None:
    assert format_rules(parse_rules(DOCUMENTED)) == (
        '[[rules]]\nname = "trial rooms"\nmatch = { stream = "trial-*" }\nkeep = "1d"\n'
        "\n"
        '[[rules]]\nname = "paid lessons"\nmatch = { stream = ["lesson-*", "exam-*"], vendor = "Tencent" }\n'
        'keep = "forever"\n'
        "\n"
        '[[rules]]\nname = "everything else"\nkeep = "30d"\nkeep_latest = 1\n'
    )


def some(values: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, ...] | None]:
    return st.none() | st.lists(values, min_size=1, max_size=3).map(tuple)


durations = st.integers(1, 10**9).map(lambda seconds: timedelta(seconds=seconds))
names = st.text(min_size=1, max_size=100).filter(lambda name: name.isprintable() and name == name.strip())
stream_patterns = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=255)


@st.composite
def rules(draw: st.DrawFn) -> RetentionRule:
    shortest, longest = draw(st.tuples(durations, durations).map(sorted))
    smallest, largest = draw(st.tuples(st.integers(0, 10**15), st.integers(0, 10**15)).map(sorted))
    is_adopted = draw(st.sampled_from([None, True, False]))
    match = Match(
        stream=None if is_adopted else draw(some(stream_patterns)),
        name=draw(some(stream_patterns)),
        app=draw(some(st.integers(1, 2**32 - 1).map(str))),
        vendor=draw(st.none() | st.lists(st.sampled_from(Vendor), min_size=1, max_size=3).map(tuple)),
        event=None if is_adopted else draw(some(st.sampled_from(["record", "compose"]))),
        adopted=is_adopted,
        min_duration=draw(st.sampled_from([None, shortest])),
        max_duration=draw(st.sampled_from([None, longest])),
        min_size=draw(st.sampled_from([None, smallest])),
        max_size=draw(st.sampled_from([None, largest])),
    )
    keep = draw(st.none() | durations)
    keep_latest = None if keep is None or is_adopted else draw(st.none() | st.integers(1, 1_000_000))
    return RetentionRule(draw(names), match, keep, keep_latest)


@given(st.lists(rules(), min_size=1, max_size=4, unique_by=lambda each: each.name))
def test_written_rules_read_the_same_back(rule_list: list[RetentionRule]) -> None:
    text = format_rules(rule_list)
    assume("is never reached" not in complaint(text))
    assert parse_rules(text) == tuple(rule_list)


def complaint(document: str) -> str:
    try:
        parse_rules(document)
    except RulesError as error:
        return str(error)
    return "none"


@given(st.text())
def test_no_text_at_all_makes_the_reader_stumble(text: str) -> None:
    for document in (text, f'[[rules]]\nname = "x"\nkeep = "1d"\n{text}', f"[[rules]]\nname = '{text}'"):
        assert complaint(document).isprintable()


def test_a_rule_for_announced_files_may_count_recordings() -> None:
    [rule] = parse_rules('[[rules]]\nname = "a"\nmatch = { adopted = false }\nkeep = "1d"\nkeep_latest = 1\n')
    assert (rule.match.adopted, rule.keep_latest) == (False, 1)


@pytest.mark.parametrize(
    ("match", "key"),
    [
        ('adopted = "true"', "match.adopted"),
        ("adopted = 1", "match.adopted"),
        ('adopted = true, stream = "a*"', "match.stream"),
        ('adopted = true, event = "record"', "match.event"),
    ],
)
def test_what_no_adopted_file_can_match_is_refused(match: str, key: str) -> None:
    with pytest.raises(RulesError, match=key):
        parse_rules(f'[[rules]]\nname = "a"\nmatch = {{ {match} }}\nkeep = "1d"\n')


def test_a_rule_for_adopted_files_may_ask_for_their_names() -> None:
    [only] = parse_rules(matching('adopted = true, name = "record/*"'))
    assert only.match == Match(adopted=True, name=("record/*",))


@pytest.mark.parametrize(
    ("matches", "unreachable"),
    [
        (('stream = "a*"', 'stream = "b*"', "adopted = true"), None),
        (('stream = "a*"', 'stream = "a-1*"'), (2, 1)),
        (('name = "a*"', 'stream = "x"', 'name = ["a", "ab*"]'), (3, 1)),
        (('max_size = "1MB"', 'max_size = "10B"'), (2, 1)),
        # Together the first two take every file; one alone does not, and only that counts.
        (('max_size = "1MB"', 'min_size = "1MB"', 'min_size = "1B"'), None),
    ],
)
def test_a_rule_is_unreachable_if_one_earlier_rule_alone_takes_its_files(
    matches: tuple[str, ...], unreachable: tuple[int, int] | None
) -> None:
    numbered = enumerate(matches, start=1)
    text = "\n".join(rule(f"match = {{ {match} }}", KEEP, name=f'"{number}"') for number, match in numbered)
    expected = "none"
    if unreachable is not None:
        rule_number, earlier = unreachable
        expected = f'rule {rule_number} "{rule_number}", match: is never reached, because rule "{earlier}" above'
    assert complaint(text).startswith(expected)
