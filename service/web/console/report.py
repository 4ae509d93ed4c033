"""The deletion report: what was deleted in a period, to be printed and handed to an auditor."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import timedelta
from typing import Final

from flask import g, render_template, request

from service.filters import ReportFilter
from service.views.form import read_number
from service.views.report import DELETIONS, make_report
from service.web.console import looks
from service.web.console.blueprint import console, get_backend
from service.web.console.pages import BadFilter, read_filter
from service.web.console.words import gettext as _

_SHOWN: Final = 200
_PRINTED: Final = 2_000
_DAYS: Final = 30


@console.get("/report")
def show_report() -> str:
    """A period, the last 30 days unless the address says another one; the audit is verified if that is asked for."""
    backend, given = get_backend(), request.args.to_dict()
    if not given.get("from"):
        given["from"] = f"{g.now - timedelta(days=_DAYS):%Y-%m-%d}"
    if not given.get("to"):
        given["to"] = f"{g.now:%Y-%m-%d}"
    wanted, inputs = read_filter(ReportFilter, given, g.now)
    if wanted.since is not None and wanted.until is not None and wanted.until <= wanted.since:
        raise BadFilter("to", "the period ends before it begins")
    verifies, database = "verify" in given, backend.service.database
    with backend.for_inventory() if verifies else nullcontext():
        report = make_report(database, wanted.since, wanted.until, g.now, verifies=verifies)
    limit = _PRINTED if "print" in given else _SHOWN
    page = DELETIONS.page(database, wanted, limit, read_number(given.pop("cursor", "")))
    return render_template(
        "report.html",
        report=report,
        inputs=inputs,
        given=given,
        path="report",
        printed=_PRINTED if limit < _PRINTED else None,
        page=page,
        headers=[_(header) for header in DELETIONS.columns],
        rows=looks.rows_of(page.items, *DELETIONS.columns.values()),
    )
