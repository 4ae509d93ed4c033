"""How files are put into calls: batches bounded in count and bytes, and the bisection of a call that failed whole."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from service.core.outcomes import CODE_FAILED, CODE_NO_SUCH_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MAX_FILES_PER_CALL = 100
MAX_URL_BYTES = 8000


def plan_batches(
    file_ids: Iterable[str],
    *,
    overhead: int,
    cost: Callable[[str], int],
    max_files: int = MAX_FILES_PER_CALL,
    max_bytes: int = MAX_URL_BYTES,
) -> list[tuple[str, ...]]:
    """Cut ids into calls of at most `max_files` files and `max_bytes` of URL, in order, each id exactly once.

    `overhead` is the URL's length without ids and `cost(id)` what one id adds, both in bytes. An id that does not fit
    at all gets a call of its own: ZEGO has to say what it thinks of it.
    """
    batches: list[tuple[str, ...]] = []
    batch: list[str] = []
    size = overhead
    for file_id in file_ids:
        added = cost(file_id)
        if batch and (len(batch) == max_files or size + added > max_bytes):
            batches.append(tuple(batch))
            batch, size = [], overhead
        batch.append(file_id)
        size += added
    if batch:
        batches.append(tuple(batch))
    return batches


class Bisection:
    """Finds the ids that make a call fail, by asking for ever smaller parts of it.

    Take parts from `next_part()` and tell what came of each by `passed(part)` or `failed(part, code)`, until
    `next_part()` returns None. A failed part of several ids is halved. When both halves of the whole fail alike, single
    ids from all over it are asked first: if each of those fails too, nothing in the call works, the trouble is not the
    files', and the search stops (`stopped`) with no id found guilty. Code 41003 names a fact about files: it never
    stops the search.

    Finds k bad ids of n in O(k log n) calls; n ids of which all are bad cost about log n.
    """

    def __init__(self, file_ids: Sequence[str], code: str) -> None:
        """Start from a call for `file_ids` (two or more, each once) that failed whole with `code`."""
        # Breadth first: both halves are asked before any quarter, so that trouble with the whole call shows early.
        self._open = deque(_halves(tuple(file_ids)))
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

    def passed(self, part: Sequence[str]) -> None:
        """ZEGO took the call for this part: whatever failed before was the fault of other ids."""
        self._asked.update(part)
        self.any_passed = True

    def failed(self, part: Sequence[str], code: str) -> None:
        """The call for this part failed whole with `code`."""
        self._codes.add(code)
        self._failures += 1
        if len(part) == 1:
            self._asked.update(part)
        else:
            self._open.extend(_halves(tuple(part)))
        if self._all_alike() and self._failures >= 2:  # noqa: PLR2004  (both halves)
            self._probe()

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


def _halves(part: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    middle = len(part) // 2
    return part[:middle], part[middle:]


def _spread(file_ids: Sequence[str], count: int) -> list[str]:
    if len(file_ids) <= count:
        return list(file_ids)
    return [file_ids[(2 * k + 1) * len(file_ids) // (2 * count)] for k in range(count)]
