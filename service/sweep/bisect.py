"""How files are put into calls: bounded in count and bytes; and the bisection of a call that failed whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final

from service.sweep.answers import CODE_DONE, CODE_FAILED, CODE_NO_SUCH_FILE

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


Ask = Callable[[Sequence[str]], tuple[Sequence[str], str] | None]
"""Asks for a part of a call: which ids it asked for (the others may not be asked for any more) and the code answered.

None: it cannot be asked for now.
"""


def bisect(file_ids: Sequence[str], code: str, ask: Ask) -> bool:
    """Find the ids that make a call fail, by asking for ever smaller parts of it; whether it is no file's fault.

    The call for `file_ids` (two or more, each once) failed whole with `code`. A part of several ids that fails is
    halved. When both halves of the whole fail alike, single ids from all over it are asked first: if each of those
    fails too, nothing in the call works, and the search stops. Code 41003 names a fact about files: it never stops the
    search. Finds k bad ids of n in O(k log n) calls; n ids of which all are bad cost about log n.
    """
    # Breadth first: both halves are asked before any quarter, so that trouble with the whole call shows early.
    parts, left = deque(_halve(file_ids)), set(file_ids)
    codes, failures, any_passed = {code}, 0, False
    probes: list[str] | None = None
    while parts or probes:
        part = [file_id for file_id in ([probes.pop()] if probes else parts.popleft()) if file_id in left]
        if not part:
            continue
        answered = ask(part)
        if answered is None:
            return not any_passed
        asked, code = answered
        left -= set(part) - set(asked)
        if code == CODE_DONE or len(asked) < 2:  # noqa: PLR2004  (found out about all of them)
            left -= set(asked)
        else:
            parts.extend(_halve(asked))
        if code == CODE_DONE:
            any_passed, probes = True, []
        elif asked:
            codes.add(code)
            failures += 1
            if any_passed or len(codes) > 1 or code == CODE_NO_SUCH_FILE or failures < 2:  # noqa: PLR2004  (halves)
                continue
            if probes is None:
                probes = _spread([each for each in file_ids if each in left], len(file_ids).bit_length())
            if not probes and left:
                return True
    return not any_passed and codes == {CODE_FAILED}


def _halve(part: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    middle = len(part) // 2
    return part[:middle], part[middle:]


def _spread(file_ids: Sequence[str], count: int) -> list[str]:
    if len(file_ids) <= count:
        return list(file_ids)
    return [file_ids[(2 * k + 1) * len(file_ids) // (2 * count)] for k in range(count)]
