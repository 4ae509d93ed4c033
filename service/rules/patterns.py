"""Patterns for streams and names: `*` stands for any run of characters, `?` for exactly one, all else for itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial
from operator import eq


def matches(pattern: str, text: str) -> bool:
    """Whether the whole text fits the pattern, case-sensitively, in at most len(pattern) x len(text) steps."""
    return compile_pattern(pattern)(text)


def is_pattern(text: str) -> bool:
    """Whether a text stands for more than itself."""
    return "*" in text or "?" in text


@lru_cache(maxsize=4096)
def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """The test that `matches` applies: a comparison for plain texts and prefixes, else a regular expression."""
    pattern = _collapse(pattern)
    prefix = literal_prefix(pattern)
    if prefix == pattern:
        return partial(eq, pattern)
    if pattern == f"{prefix}*":
        return lambda text: text.startswith(prefix)
    search = re.compile(_translate(pattern), re.DOTALL).fullmatch
    return lambda text: search(text) is not None


@lru_cache(maxsize=4096)
def literal_prefix(pattern: str) -> str:
    """What every text that fits the pattern begins with: the pattern up to its first `*` or `?`."""
    return re.split(r"[*?]", pattern, maxsplit=1)[0]


def pattern_implies(narrow: str, wide: str) -> bool:
    """Whether every text that fits `narrow` plainly fits `wide`; False also where that would take a proof.

    Plainly: they are equal, `narrow` is a plain text that fits, or `wide` is a prefix and a `*`.
    """
    narrow, wide = _collapse(narrow), _collapse(wide)
    if narrow == wide:
        return True
    prefix = literal_prefix(narrow)
    if prefix == narrow:
        return matches(wide, narrow)
    wide_prefix = literal_prefix(wide)
    return wide == f"{wide_prefix}*" and prefix.startswith(wide_prefix)


def _collapse(pattern: str) -> str:
    return re.sub(r"\*+", "*", pattern)


def _translate(pattern: str) -> str:
    """A regular expression that does not backtrack from one `*` into the one before.

    Each part between two stars may be taken where it first occurs: what follows then has the most room. So its match
    is final, `(?>…)`, and only the last `*` tries all places: the steps never multiply.
    """
    first, *parts = ["".join("." if c == "?" else re.escape(c) for c in part) for part in pattern.split("*")]
    if not parts:
        return first
    return first + "".join(f"(?>.*?{part})" for part in parts[:-1]) + f".*{parts[-1]}"
