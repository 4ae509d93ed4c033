"""Values of one class as a file: CSV, XLSX or JSON Lines, with the keys of their JSON, piece by piece.

Nothing is held but the piece that is being made. An XLSX is a ZIP of XML; it is written here because libraries answer
only when the last row is there, which for a million rows is minutes later.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final
from xml.sax.saxutils import escape
from zipfile import ZIP_DEFLATED, ZipFile

from service.views.form import form_of, is_id, to_form, to_json

_PIECE: Final = 64 * 1024
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_MAX_ROWS: Final = 1_000_000
_MAX_SHEET_BYTES: Final = 1_900_000_000
_MAX_CELL: Final = 32_767
"""What Excel takes in a cell; and in a sheet, which a ZIP also takes if its size is not known before."""

_NOT_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_ESCAPE: Final = re.compile("_(?=x[0-9A-Fa-f]{4}_)")
_XML: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
_SCHEMAS: Final = "http://schemas.openxmlformats.org"
_MAIN: Final = f'xmlns="{_SCHEMAS}/spreadsheetml/2006/main"'
_RELATION: Final = f"{_SCHEMAS}/officeDocument/2006/relationships"
_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_SHEET: Final = (
    f'{_XML}<worksheet {_MAIN}><sheetViews><sheetView workbookViewId="0"><pane ySplit="1" topLeftCell="A2"'
    ' activePane="bottomLeft" state="frozen"/></sheetView></sheetViews><sheetData>'
)

Rows = Iterable[object]


def write_csv(kind: type, rows: Rows) -> Iterator[str]:
    """As CSV; text that a spreadsheet would take for a formula has an apostrophe before it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(form_of(kind).model_fields)
    for row in rows:
        writer.writerow(map(_as_text, to_json(row).values()))
        if out.tell() >= _PIECE:
            yield out.getvalue()
            out.seek(0)
            out.truncate()
    yield out.getvalue()


def _as_text(value: Any) -> Any:  # noqa: ANN401  (of JSON)
    if isinstance(value, (list, dict, bool)):
        return json.dumps(value, ensure_ascii=False)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def write_lines(_kind: type, rows: Rows) -> Iterator[str]:
    """As JSON Lines: what the API shows, one entry in a line."""
    lines, size = [], 0
    for row in rows:
        lines.append(f"{to_form(row).model_dump_json()}\n")
        size += len(lines[-1])
        if size >= _PIECE:
            yield "".join(lines)
            lines, size = [], 0
    yield "".join(lines)


class _Pipe:
    """What a ZIP is written to: it cannot go back in it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0

    def write(self, part: bytes) -> int:
        self._parts.append(bytes(part))
        self.size += len(part)
        return len(part)

    def flush(self) -> None: ...

    def take(self) -> bytes:
        taken, self._parts, self.size = b"".join(self._parts), [], 0
        return taken


def write_xlsx(kind: type, rows: Rows) -> Iterator[bytes]:
    """As an Excel workbook: ids and moments as text, no formula; after a million rows another sheet begins."""
    keys, pipe, sheets, entries = list(form_of(kind).model_fields), _Pipe(), 0, iter(rows)
    row = next(entries, None)
    with ZipFile(pipe, "w", ZIP_DEFLATED, compresslevel=1) as archive:  # type: ignore[call-overload]
        while row is not None or not sheets:
            sheets += 1
            with archive.open(f"xl/worksheets/sheet{sheets}.xml", "w") as sheet:
                size = sheet.write((_SHEET + _make_row(dict(zip(keys, keys, strict=True)))).encode())
                count = 0
                while row is not None and count < _MAX_ROWS and size < _MAX_SHEET_BYTES:
                    size += sheet.write(_make_row(to_json(row)).encode())
                    count += 1
                    if pipe.size >= _PIECE:
                        yield pipe.take()
                    row = next(entries, None)
                sheet.write(b"</sheetData></worksheet>")
        for name, text in _list_parts(sheets):
            archive.writestr(name, _XML + text)
    yield pipe.take()


def _make_row(values: dict[str, Any]) -> str:
    return f"<row>{''.join(_make_cell(name, value) for name, value in values.items())}</row>"


def _make_cell(name: str, value: Any) -> str:  # noqa: ANN401  (of JSON)
    if value is None:
        return "<c/>"
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not is_id(name):
        return f"<c><v>{value}</v></c>"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) > _MAX_CELL:
        text = f"{text[: _MAX_CELL - 1]}…"
    if not text.isalnum():
        text = escape(_ESCAPE.sub("_x005F_", _NOT_XML.sub("\ufffd", text)), {"\r": "&#13;"})
    return f'<c t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


def _list_parts(sheets: int) -> Iterator[tuple[str, str]]:
    """What a workbook consists of beside its sheets."""
    numbers = range(1, sheets + 1)
    parts = {"/xl/workbook.xml": "sheet.main"} | {f"/xl/worksheets/sheet{each}.xml": "worksheet" for each in numbers}
    overrides = "".join(
        f'<Override PartName="{part}" ContentType="{_TYPE}.{kind}+xml"/>' for part, kind in parts.items()
    )
    default = '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    types = f'<Types xmlns="{_SCHEMAS}/package/2006/content-types">{default}{overrides}</Types>'
    relations = f'<Relationships xmlns="{_SCHEMAS}/package/2006/relationships">%s</Relationships>'
    relation = f'<Relationship Id="r%s" Type="{_RELATION}/%s" Target="%s"/>'
    listed = "".join(f'<sheet name="{each}" sheetId="{each}" r:id="r{each}"/>' for each in numbers)
    targets = "".join(relation % (each, "worksheet", f"worksheets/sheet{each}.xml") for each in numbers)
    yield "[Content_Types].xml", types
    yield "_rels/.rels", relations % (relation % (1, "officeDocument", "xl/workbook.xml"))
    yield "xl/workbook.xml", f'<workbook {_MAIN} xmlns:r="{_RELATION}"><sheets>{listed}</sheets></workbook>'
    yield "xl/_rels/workbook.xml.rels", relations % targets


WRITERS: Final[dict[str, tuple[str, Callable[[type, Rows], Iterator[str] | Iterator[bytes]]]]] = {
    "csv": ("text/csv; charset=utf-8", write_csv),
    "xlsx": (f"{_TYPE}.sheet", write_xlsx),
    "jsonl": ("application/jsonl; charset=utf-8", write_lines),
}
"""The kinds of files by how their names end, each with its type."""
