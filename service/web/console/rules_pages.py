"""The rules: those in force, changing them with a preview while one types, and putting a preview in force."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from itertools import accumulate
from typing import Any, Final

from flask import g, redirect, render_template, request
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response as AnyResponse

from service.files.store import find_highest_id
from service.model import Actor, NotPossible, Role
from service.preview.apply import apply_rules, candidate_of_preview, find_obstacle, is_in_force
from service.preview.make import Candidate, Comparison, find_preview, make_preview
from service.rules.file import RulesError, read_rules
from service.rules.match import KEYS
from service.views.form import read_number
from service.views.rules import PREVIEWS, Preview, Rule, describe_preview, find_current, list_sooner
from service.web.console import looks
from service.web.console.blueprint import console, get_backend, require
from service.web.console.overview import show_forecast
from service.web.console.words import gettext as _

MAX_LIVE: Final = 50_000
"""In an inventory of more files a preview takes seconds: it is made when asked for, not while one types."""

_SHOWN: Final = 50
_VALUE: Final = re.compile(r'\s*+("(?:[^"\\]|\\.)*+"|[^",]*+)\s*+(?:,|\Z)')
FIELDS: Final = ("rule", *KEYS, "keep", "keep_latest")
"""The inputs of one rule in the form; `rule` is its name (`name` is the pattern on a file's name)."""

_HOW_TO_QUOTE: Final = (
    "write values with commas between them, and in quotes each that holds a comma or a quote, for example"
    ' "case,17-*", other-* ("\\"" stands for a quote)'
)
DAYS: Final = (0, 1, 7, 30, 60, 90)


@console.get("/rules")
def show_rules() -> str:
    """The rules in force, with how many files each decides."""
    backend = get_backend()
    service = backend.service
    database = service.database
    with database.read() as tx:
        current = find_current(tx)
    forecast = show_forecast(backend, g.now)
    counts = None if forecast is None else {each.name: each.count for each in forecast.by_rule}
    return render_template("rules.html", current=current, counts=counts, describe=describe_match)


@console.get("/rules/edit")
def show_editor() -> str:
    """The rules as a form."""
    database = get_backend().service.database
    require(Role.ADMIN)
    with database.read() as tx:
        current = find_current(tx)
    rows = [describe_rule(rule) for rule in current.parsed] if current else [_empty_row()]
    return render_template("rules_edit.html", rows=rows, fields=FIELDS, keys=KEYS)


@console.post("/rules/edit")
def change_editor() -> str:
    """The form after a rule was added, moved or removed."""
    require(Role.ADMIN)
    move = request.form.get("move", "")
    rows = move_rows(read_rows(request.form), move)
    return render_template("rules_edit.html", rows=rows, fields=FIELDS, keys=KEYS, focus=_find_focus(move, len(rows)))


@console.post("/rules/try")
def try_rules() -> str:
    """What the rules in the form would do; nothing is stored."""
    backend = get_backend()
    service = backend.service
    database, reader = service.database, service.reader
    require(Role.ADMIN)
    try:
        candidate = Candidate(read_rules(make_document(read_rows(request.form))), "the console")
    except RulesError as error:
        return render_template("rules_try.html", refusal=str(error))
    with database.read() as tx:
        is_large = find_highest_id(tx) > MAX_LIVE
    if is_large and not request.form.get("asked"):
        return render_template("rules_try.html", is_large=True)
    with backend.for_inventory():
        comparison = Comparison(database, reader, candidate, service.find_settings().cooling_off, g.now)
        found = comparison.sum_up(comparison.run(), candidate, Actor("", ""), service.app_ids)
    return render_template("rules_try.html", preview=describe_preview(found), days=DAYS, totals=count_up)


@console.post("/rules/preview")
def store_preview() -> AnyResponse:
    """Store a preview of the rules in the form."""
    backend = get_backend()
    service = backend.service
    database, reader = service.database, service.reader
    require(Role.ADMIN)
    candidate = Candidate(read_rules(make_document(read_rows(request.form))), "the console")
    given = (database, reader, candidate, g.session.actor, service.find_settings().cooling_off, g.now)
    with backend.for_inventory():
        made = make_preview(*given, known_apps=service.app_ids)
    return redirect(f"/previews/{made.id}", HTTPStatus.SEE_OTHER)


@console.get("/previews/<number:number>")
def show_preview(number: int) -> str:
    """A stored preview, with the files that become due sooner."""
    backend = get_backend()
    service = backend.service
    database, reader = service.database, service.reader
    stored = find_preview(database, number)
    preview = describe_preview(stored)
    with database.read() as tx:
        counts_already = is_in_force(reader.read(tx).rules, stored.rules)
    sooner: Any = None
    problem = find_obstacle(database, reader, stored, service.find_settings().cooling_off, g.now)
    if preview.sooner_count:
        try:
            with backend.for_inventory():
                sooner = list_sooner(
                    database, reader, number, g.now, _SHOWN, read_number(request.args.get("after", ""))
                )
        except NotPossible as error:  # other rules are in force by now
            problem = problem or str(error)
    more = {"problem": problem, "compares_again": problem and not counts_already}
    return render_template("preview.html", preview=preview, sooner=sooner, days=DAYS, totals=count_up, **more)


@console.post("/previews/<number:number>/apply")
def apply_preview(number: int) -> AnyResponse:
    """Put the rules of a preview in force, after the number of files was typed."""
    backend = get_backend()
    service = backend.service
    database, reader = service.database, service.reader
    require(Role.ADMIN)
    preview = PREVIEWS.show(database, number)
    typed = request.form.get("count", "").strip().replace(",", "")
    if preview.sooner_count and typed != str(preview.sooner_count):
        count = looks.number(preview.sooner_count)
        raise NotPossible(
            _("Type the number of files that become due sooner, %(count)s: nothing was done.", count=count)
        )
    given = (database, reader, candidate_of_preview(database, number), g.session.actor)
    with backend.for_inventory():
        cooling_off = service.find_settings().cooling_off
        applied = apply_rules(
            *given, cooling_off, service.now, preview_id=number, expect=preview.sooner_count, known_apps=service.app_ids
        )
    order = "" if applied.order is None else f"?order={applied.order}"
    return redirect(f"/rules{order}", HTTPStatus.SEE_OTHER)


def describe_match(rule: Rule) -> str:
    """What a rule asks of a file, in a line."""
    parts = []
    for key, value in rule.match.items():
        if isinstance(value, bool):
            parts.append(_("only a listing shows it") if value else _("a callback announced it"))
        else:
            texts = value if isinstance(value, list) else [value]
            parts.append(f"{_(key.replace('_', ' '))} {' | '.join(map(str, texts))}")
    return _(", ").join(parts)


def describe_rule(rule: Rule) -> dict[str, str]:
    """A rule as the inputs of its row."""
    row = _empty_row() | {"rule": rule.name, "keep": rule.keep, "keep_latest": str(rule.keep_latest or "")}
    for key, value in rule.match.items():
        if KEYS[key].kind.is_list:
            row[key] = write_list(value if isinstance(value, list) else [value])
        else:
            row[key] = str(value).lower() if isinstance(value, bool) else value
    return row


def write_list(values: Sequence[str]) -> str:
    """Values with commas between them; one that could be taken for more or for another is in quotes, as in JSON."""
    return ", ".join(map(_write_value, values))


def _write_value(value: str) -> str:
    if value.isprintable() and value == value.strip() and not set(value) & {",", '"'}:
        return value
    return json.dumps(value, ensure_ascii=not value.isprintable())


def read_list(text: str) -> list[str]:
    """The values of `write_list`; a ValueError where it is not plain what is meant."""
    values, at = [], 0
    while at < len(text):
        found = _VALUE.match(text, at)
        if found is None:
            raise ValueError(_HOW_TO_QUOTE)
        at, value = found.end(), found[1].strip()
        try:
            values += [json.loads(value) if value.startswith('"') else value] if value else []
        except ValueError:
            raise ValueError(_HOW_TO_QUOTE) from None
    return values


def _empty_row() -> dict[str, str]:
    return dict.fromkeys(FIELDS, "")


def read_rows(form: MultiDict[str, str]) -> list[dict[str, str]]:
    """The rows of the form: every input stands once in each of them, in their order."""
    columns = [[text.strip() for text in form.getlist(field)] for field in FIELDS]
    return [dict(zip(FIELDS, row, strict=True)) for row in zip(*columns, strict=False)]


def move_rows(rows: Sequence[dict[str, str]], move: str) -> list[dict[str, str]]:
    """The rows after a button was pressed: `add`, or `up`, `down` or `remove` with the place of the row (`up 2`)."""
    rows, (what, _space, place) = list(rows), move.partition(" ")
    at = next((number for number in range(len(rows)) if str(number) == place), -1)
    if what == "add":
        rows.append(_empty_row())
    elif what == "remove" and at >= 0:
        del rows[at]
    elif what == "up" and at > 0:
        rows[at - 1], rows[at] = rows[at], rows[at - 1]
    elif what == "down" and 0 <= at < len(rows) - 1:
        rows[at + 1], rows[at] = rows[at], rows[at + 1]
    return rows


def _find_focus(move: str, count: int) -> tuple[str, int]:
    """What has the focus after a move, so that it goes on with the keyboard: its button and place (`add`: the name)."""
    what, _space, place = move.partition(" ")
    step = {"up": -1, "down": 1}.get(what, 0)
    at = read_number(place) + step if place.isdecimal() else count - 1
    at = min(max(at, 0), count - 1)
    return {("up", 0): "down", ("down", count - 1): "up"}.get((what, at), what), at


def make_document(rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """What the rows say, as a rules file would hold it; it is not checked yet."""
    filled = [row for row in rows if any(row.values())]
    return {"rules": [_make_table(row, f"rule {number}") for number, row in enumerate(filled, start=1)]}


def _make_table(row: Mapping[str, str], place: str) -> dict[str, Any]:
    match: dict[str, Any] = {}
    for key in KEYS:
        text = row[key]
        if text and KEYS[key].kind.is_list:
            try:
                match[key] = read_list(text)
            except ValueError as error:
                raise RulesError(f"{place}, match.{key}: {error}") from None
        elif text:
            match[key] = {"true": True, "false": False}.get(text, text) if key == "adopted" else text
    latest = row["keep_latest"]
    table: dict[str, Any] = {"name": row["rule"], "keep": row["keep"], "match": match, "keep_latest": latest}
    if number := read_number(latest):
        table["keep_latest"] = number
    return {key: value for key, value in table.items() if value not in ("", {})}


def count_up(preview: Preview) -> list[tuple[int, int, int]]:
    """By which day how many files are deleted in all: under the rules in force, and under those of the preview."""
    before, after = (list(accumulate(preview.forecast[name])) for name in ("in_force", "candidate"))
    return [(day, before[day], after[day]) for day in DAYS]
