"""Patterns for streams and names: `*` stands for any run of characters, `?` for exactly one, all else for itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache


def matches(pattern: str, text: str) -> bool:
    """Whether the whole text fits the pattern, case-sensitively, in at most len(pattern) x len(text) steps."""
    return compile_pattern(pattern)(text)


def is_pattern(text: str) -> bool:
    """Whether a text stands for more than itself."""
    return "*" in text or "?" in text


@lru_cache(maxsize=4096)
def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """The test that `matches` applies: a comparison for plain texts and prefixes, else a regular expression."""
    if not is_pattern(pattern):
        return lambda text: text == pattern
    prefix = pattern[:-1]
    if pattern[-1] == "*" and not is_pattern(prefix):
        return lambda text: text.startswith(prefix)
    # A part between two stars may be taken where it first occurs: what follows then has the most room. So its match is
    # final, `(?>…)`, and only the last star tries all places: the steps never multiply.
    first, *parts = ["".join("." if c == "?" else re.escape(c) for c in part) for part in pattern.split("*")]
    stars = "".join(f"(?>.*?{part})" for part in parts[:-1]) + f".*{parts[-1]}" if parts else ""
    search = re.compile(first + stars, re.DOTALL).fullmatch
    return lambda text: search(text) is not None


def pattern_implies(narrow: str, wide: str) -> bool:
    """Whether every text that fits `narrow` plainly fits `wide`; False also where that would take a proof.

    Plainly: they are equal, `narrow` is a plain text that fits, or `wide` is a prefix of it and a `*`.
    """
    if narrow == wide:
        return True
    if not is_pattern(narrow):
        return matches(wide, narrow)
    return wide.endswith("*") and not is_pattern(wide[:-1]) and narrow.startswith(wide[:-1])
