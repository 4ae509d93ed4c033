"""CSV that a spreadsheet program shows as text and never takes for a formula."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_BEGINS_FORMULA: Final = frozenset("=+-@\t\r\n＝＋－＠")


def csv_lines(header: Iterable[str], objects: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A header and one record per object, in CSV; a value that is no text or number is written as JSON."""
    columns = list(header)
    yield _record(columns)
    for item in objects:
        yield _record(_cell(item[column]) for column in columns)


def _record(cells: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _cell(value: object) -> object:
    if value is None or isinstance(value, int):
        return value
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    # An apostrophe in front is how spreadsheet programs mark text.
    return f"'{text}" if text[:1] in _BEGINS_FORMULA else text
