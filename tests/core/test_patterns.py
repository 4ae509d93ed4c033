from __future__ import annotations

import time
from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.core.patterns import matches, pattern_implies

LONGEST_TEXT = 6
TEXTS = ["".join(letters) for length in range(LONGEST_TEXT + 1) for letters in product("abx", repeat=length)]
patterns = st.text("ab?*", max_size=4)


def fits(pattern: str, text: str) -> bool:
    """What a pattern means, spelt out by recursion."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(fits(pattern[1:], text[skipped:]) for skipped in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and fits(pattern[1:], text[1:])


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("trial-*", "trial-1", True),
        ("trial-*", "trial-", True),
        ("trial-*", "a trial-1", False),
        ("trial-*", "Trial-1", False),
        ("*", "", True),
        ("?", "", False),
        ("?", "課", True),
        ("?", "\U0001f3ac", True),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("*-end", "x-end-end", True),
        ("a*", "a\nb\r\n", True),
        ("a.c", "abc", False),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
        ("a\\*", "a\\b", True),
        ("a*b", "a*b", True),
        ("a?b", "a?b", True),
        ("x", "*", False),
        ("abc", "abcd", False),
    ],
)
def test_only_star_and_question_mark_are_special(pattern: str, text: str, *, expected: bool) -> None:
    assert matches(pattern, text) is expected


@given(patterns, st.sampled_from(TEXTS))
def test_matching_is_what_the_definition_says(pattern: str, text: str) -> None:
    assert matches(pattern, text) == fits(pattern, text)


def test_a_pattern_made_to_be_slow_is_not() -> None:
    started = time.perf_counter()
    assert not matches("*a" * 100 + "b", "a" * 255)
    assert time.perf_counter() - started < 1


@given(patterns, patterns)
@settings(max_examples=500)
@example("*?*", "?*")
@example("a*", "*a*")
@example("?*", "*?")
@example("a", "b")
def test_an_implication_is_claimed_exactly_if_no_text_speaks_against_it(narrow: str, wide: str) -> None:
    # Patterns of at most four signs differ on a text of at most six letters, x standing for all others, or not at all.
    assert pattern_implies(narrow, wide) == all(fits(wide, text) for text in TEXTS if fits(narrow, text))


@given(st.text("ab?*", max_size=12), st.text("ab?*", max_size=12), st.text("abx", max_size=12))
def test_a_claimed_implication_holds_for_longer_patterns_too(narrow: str, wide: str, text: str) -> None:
    if pattern_implies(narrow, wide) and matches(narrow, text):
        assert matches(wide, text)


@pytest.mark.parametrize(
    ("narrow", "wide", "expected"),
    [
        ("trial-eu-*", "trial-*", True),
        ("trial-*", "trial-eu-*", False),
        ("anything", "*", True),
        ("*", "?*", False),
        ("a**b", "a*b", True),
        ("lesson-?-*", "lesson-*-*", True),
        ("課*", "*", True),
        ("*a" + "?" * 40, "*a" + "?" * 40, True),
        ("*a" + "?" * 9 + "*b" + "?" * 9, "*a" + "?" * 8 + "*b" + "?" * 9, True),
    ],
)
def test_implications_that_people_write(narrow: str, wide: str, *, expected: bool) -> None:
    assert pattern_implies(narrow, wide) is expected


def test_a_proof_that_would_take_too_long_is_not_claimed() -> None:
    started = time.perf_counter()
    # True, in fact: the wide pattern asks for the same with fewer letters.
    assert not pattern_implies("*a" + "?" * 40 + "*b" + "?" * 40, "*a" + "?" * 40 + "*" + "?" * 40)
    assert time.perf_counter() - started < 5
