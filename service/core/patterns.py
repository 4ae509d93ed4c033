"""Patterns for stream ids: `*` stands for any run of characters, `?` for exactly one, everything else for itself."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_MOST_STATES: Final = 50_000
"""How far `pattern_implies` searches before it calls an implication not provable."""
_OTHER: Final = ""
"""Stands for every character that the wide pattern does not name: it treats them all alike."""


def matches(pattern: str, text: str) -> bool:
    """Tell whether the whole text fits the pattern, case-sensitively.

    Takes at most len(pattern) x len(text) steps: after a mismatch only the latest `*` has to take one character more.
    """
    literal, rest = _split(pattern)
    if rest == "*":
        return text.startswith(literal)
    if not rest:
        return text == literal
    return text.startswith(literal) and _fits(rest, text[len(literal) :])


@lru_cache(maxsize=4096)
def _split(pattern: str) -> tuple[str, str]:
    """What a pattern begins with up to its first `*` or `?`, and the rest: most patterns end with that `*`."""
    special = next((place for place, character in enumerate(pattern) if character in "*?"), len(pattern))
    return pattern[:special], pattern[special:]


def _fits(pattern: str, text: str) -> bool:
    at = position = resume = 0
    star = -1
    while position < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, position
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[position]):
            at += 1
            position += 1
        elif star >= 0:
            resume += 1
            at, position = star + 1, resume
        else:
            return False
    return not pattern[at:].strip("*")


@lru_cache(maxsize=4096)
def pattern_implies(narrow: str, wide: str) -> bool:
    """Tell whether every text that fits `narrow` provably fits `wide`; False also when the proof would take too long.

    Walks both patterns at once, looking for a text that `narrow` accepts and `wide` does not.
    """
    if narrow == wide:
        return True
    if not matches(wide, narrow.replace("*", "")):  # one text that fits `narrow`: most pairs fail here
        return False
    narrow_glob, wide_glob = _Glob(narrow), _Glob(wide)
    start = (narrow_glob.start, wide_glob.start)
    seen, waiting = {start}, [start]
    while waiting:
        narrow_at, wide_at = waiting.pop()
        if narrow_glob.accepts(narrow_at) and not wide_glob.accepts(wide_at):
            return False
        for symbol in narrow_glob.symbols | wide_glob.symbols:
            pair = (narrow_glob.step(narrow_at, symbol), wide_glob.step(wide_at, symbol))
            if pair[0] and pair not in seen:
                seen.add(pair)
                waiting.append(pair)
        if len(seen) > _MOST_STATES:
            return False
    return True


class _Glob:
    """A pattern as an automaton; a state is the set of pattern positions reached so far, one bit each."""

    def __init__(self, pattern: str) -> None:
        while "**" in pattern:
            pattern = pattern.replace("**", "*")
        self._end = 1 << len(pattern)
        self._stars = _bits(pattern, "*")
        self._any = _bits(pattern, "?")
        self.symbols = (frozenset(pattern) - {"*", "?"}) | {_OTHER}
        self._literals = {symbol: _bits(pattern, symbol) for symbol in self.symbols if symbol != _OTHER}
        self.start = self._settle(1)

    def step(self, state: int, symbol: str) -> int:
        """The state after one more character."""
        moving = state & (self._any | self._literals.get(symbol, 0))
        return self._settle((moving << 1) | (state & self._stars))

    def accepts(self, state: int) -> bool:
        return bool(state & self._end)

    def _settle(self, state: int) -> int:
        """Add the positions behind a `*`, and forget those before the last `*` reached: they accept nothing more."""
        state |= (state & self._stars) << 1
        last_star = max(0, (state & self._stars).bit_length() - 1)
        return (state >> last_star) << last_star


def _bits(pattern: str, symbol: str) -> int:
    return sum(1 << position for position, character in enumerate(pattern) if character == symbol)
