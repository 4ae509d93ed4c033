"""Every list as a file: what its page shows, all of it, in the filter that the address holds."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from http import HTTPStatus
from itertools import chain
from typing import Any, Final

from flask import Response, abort, g, request

from service.filters import ReportFilter
from service.model import Role
from service.views.export import WRITERS
from service.views.people import PEOPLE
from service.views.report import DELETIONS
from service.views.rules import ComparedFile, iterate_sooner
from service.views.runs import CALLS, PLANNED, RUN_FILES
from service.web.console.blueprint import console, get_backend, require
from service.web.console.pages import SECTIONS, Section, read_filter
from service.web.console.words import gettext as _
from service.web.front import GONE

_MAX_AT_ONCE: Final = 4
_places: Final = threading.BoundedSemaphore(_MAX_AT_ONCE)

_LISTS: Final = SECTIONS | {
    "people": Section("people", "People", "", PEOPLE, role=Role.ADMIN),
    "report": Section("report", "Deletion report", "", DELETIONS, ReportFilter),
}
_KINDS: Final = ", ".join(WRITERS)


@console.get(f"/export/<any({', '.join(_LISTS)}):path>.<any({_KINDS}):kind>")
def export_list(path: str, kind: str) -> Response:
    """A list, with the filter of its page."""
    section = _LISTS[path]
    require(section.role)
    wanted, _inputs = read_filter(section.wanted, request.args.to_dict(), g.now)
    return _send(kind, path, section.listed.row, section.listed.iterate(get_backend().service.database, wanted))


@console.get(f"/export/runs/<number:number>/<any(files, calls, planned):part>.<any({_KINDS}):kind>")
def export_run(number: int, part: str, kind: str) -> Response:
    """What a run did to each file, its calls, or what an approval of its plans deletes."""
    listed: Any = {"files": RUN_FILES, "calls": CALLS, "planned": PLANNED}[part]
    rows = listed.iterate(get_backend().service.database, number)
    return _send(kind, f"run-{number}-{part}", listed.row, rows)


@console.get(f"/export/previews/<number:number>/sooner.<any({_KINDS}):kind>")
def export_sooner(number: int, kind: str) -> Response:
    """The files that a preview makes due sooner, as they are now."""
    service = get_backend().service
    rows = iterate_sooner(service.database, service.reader, number, g.now)
    return _send(kind, f"preview-{number}-sooner", ComparedFile, rows)


def _send(kind: str, name: str, row: type, rows: Iterator[object]) -> Response:
    """Send a list as a file, piece by piece; the first one is made before, so that an error is answered as one."""
    if not _places.acquire(blocking=False):
        text = _("%(count)s exports are running: wait until one has ended, then ask again.", count=_MAX_AT_ONCE)
        abort(HTTPStatus.SERVICE_UNAVAILABLE, text)
    gone = request.environ.get("asgi.scope", {}).get(GONE, threading.Event())
    pieces = _make_pieces(kind, row, rows, gone)
    sent = Response(chain((next(pieces),), pieces), content_type=WRITERS[kind][0])
    sent.call_on_close(pieces.close)
    sent.headers["Content-Disposition"] = f'attachment; filename="{name}-{g.now:%Y-%m-%d}.{kind}"'
    return sent


def _make_pieces(kind: str, row: type, rows: Iterator[object], gone: threading.Event) -> Generator[Any, None, None]:
    try:
        yield from WRITERS[kind][1](row, _read_until(gone, rows))
    finally:
        _places.release()


def _read_until(gone: threading.Event, rows: Iterator[object]) -> Iterator[object]:
    for row in rows:
        if gone.is_set():
            return
        yield row
