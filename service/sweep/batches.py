"""How files are put into calls: bounded in count and bytes; and the bisection of a call that failed whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from service.sweep.answers import CODE_FAILED, CODE_NO_SUCH_FILE

MAX_FILES_PER_CALL: Final = 100
MAX_URL_BYTES: Final = 8000


def count_fitting(costs: Iterable[int], overhead: int, max_files: int = MAX_FILES_PER_CALL) -> int:
    """How many of these files, from the first on, fit into one call.

    `overhead` is the URL's length without ids, `costs` what each id adds, in bytes. An id that does not fit at all
    gets a call of its own: ZEGO has to say what it thinks of it.
    """
    count, size = 0, overhead
    for cost in islice(costs, max_files):
        size += cost
        if count and size > MAX_URL_BYTES:
            break
        count += 1
    return count


class Bisection:
    """Finds the ids that make a call fail, by asking for ever smaller parts of it.

    Take parts from `next_part()` and report what came of each by `note_passed(part)`, `note_failed(part, code)` or
    `note_skipped(part)`, until `next_part()` returns None. A failed part of several ids is halved. When both halves of
    the whole fail alike, single ids from all over it are asked first: if each of those fails too, nothing in the call
    works, the trouble is not the files', and the search stops (`stopped`) with no id found guilty. Code 41003 names a
    fact about files: it never stops the search.

    Finds k bad ids of n in O(k log n) calls; n ids of which all are bad cost about log n.
    """

    def __init__(self, file_ids: Sequence[str], code: str) -> None:
        """Start from a call for `file_ids` (two or more, each once) that failed whole with `code`."""
        # Breadth first: both halves are asked before any quarter, so that trouble with the whole call shows early.
        self._open = deque(_halve(tuple(file_ids)))
        self._whole = tuple(file_ids)
        self._codes = {code}
        self._failures = 0
        self._asked: set[str] = set()
        self._probes: list[str] | None = None
        self.any_passed = False
        self.stopped = False

    def next_part(self) -> tuple[str, ...] | None:
        """The ids to ask for next, or None when there is nothing left to ask."""
        if self.stopped:
            return None
        if self._probes and not self.any_passed:
            return (self._probes.pop(),)
        while self._open:
            part = tuple(file_id for file_id in self._open.popleft() if file_id not in self._asked)
            if part:
                return part
        return None

    def note_passed(self, part: Sequence[str]) -> None:
        """ZEGO took the call for this part: whatever failed before was the fault of other ids."""
        self._asked.update(part)
        self.any_passed = True

    def note_failed(self, part: Sequence[str], code: str) -> None:
        """The call for this part failed whole with `code`."""
        self._codes.add(code)
        self._failures += 1
        if len(part) == 1:
            self._asked.update(part)
        else:
            self._open.extend(_halve(tuple(part)))
        if self._all_alike() and self._failures >= 2:  # noqa: PLR2004  (both halves)
            self._probe()

    def note_skipped(self, part: Sequence[str]) -> None:
        """These ids may not be asked for any more."""
        self._asked.update(part)

    @property
    def is_no_files_fault(self) -> bool:
        """No part passed, and not because each id was asked alone and found bad: the files must not be charged.

        Code 1000 is unspecific, so that even each id failing alone says nothing about the ids.
        """
        return not self.any_passed and (self.stopped or self._codes == {str(CODE_FAILED)})

    def _all_alike(self) -> bool:
        return not self.any_passed and len(self._codes) == 1 and str(CODE_NO_SUCH_FILE) not in self._codes

    def _probe(self) -> None:
        if self._probes is None:
            self._probes = _spread([i for i in self._whole if i not in self._asked], len(self._whole).bit_length())
        if not self._probes:
            self.stopped = bool(set(self._whole) - self._asked)


def _halve(part: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    middle = len(part) // 2
    return part[:middle], part[middle:]


def _spread(file_ids: Sequence[str], count: int) -> list[str]:
    if len(file_ids) <= count:
        return list(file_ids)
    return [file_ids[(2 * k + 1) * len(file_ids) // (2 * count)] for k in range(count)]
