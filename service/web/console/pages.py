"""The pages that show a list of something, and one thing in full: each is a view of `service.views`, nothing else."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import NoneType
from typing import Any, Final, get_args, get_type_hints
from urllib.parse import urlencode

from flask import g, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from service.filters import AuditFilter, CallbackFilter, FileFilter, HoldFilter, ListingFilter
from service.holds.holds import names_one_stream
from service.model import NoSuchThing, NotPossible, Role
from service.preview.apply import is_in_force
from service.sweep.orders import find_approvable
from service.sweep.records import Plan
from service.units import parse_moment
from service.views import audit, callbacks, files, rules, runs
from service.views.form import Listed, list_fields, read_number
from service.views.wanted import check_wanted
from service.web.console.blueprint import console, get_backend, require
from service.web.console.words import gettext as _
from service.web.console.words import translate_sentence

PAGE: Final = 50
_DAY: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LAST: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Section:
    """A list at `/path`, and its entries at `/path/NUMBER`; `empty` is said where nothing is in it.

    An entry is shown by the template that is called like it, if there is one (`file.html`), else as names and values.
    `below` are columns that stand small below another one ("": nowhere), `first` the filters that are not folded away.
    """

    path: str
    title: str
    empty: str
    listed: Listed[Any, Any, Any]
    wanted: type | None = None
    role: Role = Role.VIEWER
    below: Mapping[str, str] = field(default_factory=dict)
    first: tuple[str, ...] = ()


SECTIONS: Final = {
    section.path: section
    for section in (
        Section(
            "files",
            "Files",
            "No files yet: they come with ZEGO's callbacks, or when the listings are read.",
            files.FILES,
            FileFilter,
            below={"file": "stream", "size": "age", "waits until": "due", "note": "why", "vendor": "app", "rule": ""},
            first=("state", "app", "stream", "text"),
        ),
        Section("revisions", "Rule history", "No rules were ever in force.", rules.REVISIONS),
        Section("previews", "Previews", "Nobody has made a preview.", rules.PREVIEWS),
        Section("holds", "Holds", "No hold is in force.", files.HOLDS, HoldFilter, below={"placed by": "placed"}),
        Section("erasures", "Erasures", "Nobody has asked for files to be deleted.", files.ERASURES),
        Section("runs", "Sweeps", "No sweep has run yet.", runs.RUNS),
        Section("callbacks", "Callbacks", "No callback has arrived yet.", callbacks.CALLBACKS, CallbackFilter),
        Section("listings", "Listings", "No listing was read yet.", runs.LISTINGS, ListingFilter),
        Section("audit", "Audit", "Nobody has changed anything yet.", audit.AUDIT, AuditFilter),
        Section("tokens", "Tokens", "There is no token.", audit.TOKENS, role=Role.ADMIN),
    )
}


@dataclass(frozen=True, slots=True)
class Input:
    """A part of a filter's form: free text, one of some words (`choices`), a moment, or a box to tick."""

    name: str
    label: str
    help: str
    kind: str
    choices: tuple[str, ...]
    value: str


class BadFilter(ValueError):  # noqa: N818  (an answer to a person, not a defect)
    """What was asked for in a field cannot be read; the text says what is wrong."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{_(name.replace('_', ' '))}: {translate_sentence(text)}")


@console.get("/sweeps")
def lead_to_sweeps() -> AnyResponse:
    """Lead to the list of sweeps, as it is called in the head of every page."""
    return redirect("/runs")


@console.get("/<any({}):path>".format(", ".join(SECTIONS)))
def show_list(path: str) -> AnyResponse:
    """One page of a list, at an address that holds only what was filled in."""
    backend = get_backend()
    section = _find_section(path)
    given = {name: text for name, text in request.args.items() if text}
    address = f"/{path}?{urlencode(given)}".rstrip("?")
    is_part = "HX-Request" in request.headers
    if len(given) < len(request.args) and not is_part:
        return redirect(address)
    wanted, inputs = read_filter(section.wanted, given, g.now)
    database, cursor, missing = backend.service.database, _read_cursor(), ""
    page = section.listed.page(database, wanted, PAGE, cursor)
    if not page.items and not cursor:
        try:
            check_wanted(database, wanted, backend.service.app_ids)
        except NotPossible as error:
            missing = str(error)
    more = {"section": section, "page": page, "inputs": inputs, "path": path, "missing": missing}
    answer = make_response(render_template("list_rows.html" if is_part else "list.html", **more))
    answer.headers["HX-Push-Url"] = address
    return answer


@console.get("/<any({}):path>/<number:number>".format(", ".join(SECTIONS)))
def show_entry(path: str, number: int) -> str:
    """One entry in full."""
    backend, database = get_backend(), get_backend().service.database
    section = _find_section(path)
    more: dict[str, Any] = {}
    if path == "callbacks":
        entry: Any = callbacks.show_callback(database, number, g.session.visitor.role)
    elif path == "audit":
        found = audit.AUDIT.page(database, AuditFilter(), 1, number + 1).items
        if not found or found[0].number != number:
            raise NoSuchThing(_("There is no entry %(number)s.", number=number))
        entry = found[0]
    else:
        entry = section.listed.show(database, number)
    if path == "files":
        service = backend.service
        more["explained"] = files.explain_file(database, service.reader, number, g.now, service.settings)
        more["names_one_stream"] = names_one_stream(entry.stream_id)
    elif path == "runs":
        parts: tuple[tuple[str, str, Listed[Any, Any, Any], str, Mapping[str, str]], ...] = (
            ("planned", _("What an approval deletes"), runs.PLANNED, "files", SECTIONS["files"].below),
            ("calls", _("Calls"), runs.CALLS, "", {}),
            ("files", _("Files"), runs.RUN_FILES, "", {}),
        )
        more["parts"] = [
            (*part, part[2].page(database, number, PAGE, read_number(request.args.get(part[0], "")))) for part in parts
        ]
        more["approvable"], more["problem"] = _find_approvable(number)
    elif path == "revisions":
        with database.read() as tx:
            more["is_in_force"] = is_in_force(backend.service.reader.read(tx).rules, entry.rules)
    return render_template(
        [f"{section.listed.name.replace(' ', '_')}.html", "entry.html"],
        section=section,
        entry=entry,
        path=path,
        number=number,
        **more,
    )


def _find_approvable(number: int) -> tuple[list[Plan], str]:
    """The plans of a run that can be approved, or why none can."""
    with get_backend().service.database.read() as tx:
        try:
            return find_approvable(tx, number), ""
        except NotPossible as error:
            return [], str(error)


def _find_section(path: str) -> Section:
    require(SECTIONS[path].role)
    return SECTIONS[path]


def _read_cursor() -> int:
    return read_number(request.args.get("cursor", ""))


def read_filter(wanted: type | None, given: dict[str, str], now: datetime) -> tuple[Any, list[Input]]:
    """A filter from the parameters of a request (BadFilter if one cannot be read), and the form that asks for it."""
    if wanted is None:
        return None, []
    values, inputs, hints = {}, [], get_type_hints(wanted)
    for each in dataclasses.fields(wanted):
        name, about = each.metadata.get("name", each.name), each.metadata["help"]
        kind = next(kind for kind in get_args(hints[each.name]) or (hints[each.name],) if kind is not NoneType)
        text = given.get(name, "").strip()
        words = each.metadata.get("one_of", ())
        if issubclass(kind, StrEnum):
            words = tuple(word.value for word in kind)
        shape = "choice" if words else "box" if kind is bool else "moment" if kind is datetime else "text"
        inputs.append(Input(name, name.replace("_", " "), about, shape, words, text))
        if text:
            values[each.name] = _read(kind, words, text, name, now)
            if each.metadata.get("is_end") and _DAY.fullmatch(text):
                values[each.name] += min(timedelta(days=1), _LAST - values[each.name])
    return wanted(**values), inputs


def _read(kind: type, words: tuple[str, ...], text: str, name: str, now: datetime) -> Any:  # noqa: ANN401
    if words and text not in words:
        raise BadFilter(name, f"{text[:40]!r} is none of {', '.join(words)}")
    if issubclass(kind, StrEnum):
        return kind(text)
    if kind is bool:
        return text in ("1", "true", "on", "yes")
    if kind is datetime:
        try:
            return parse_moment(text, now)
        except ValueError as error:
            raise BadFilter(name, str(error)) from None
    if kind is int:
        if not (number := read_number(text)):
            raise BadFilter(name, f"{text[:40]!r} is no number")
        return number
    if "\0" in text:
        raise BadFilter(name, f"{text[:40]!r} holds a character that no file has")
    return text


def list_facts(entry: object, skip: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    """What is known of an entry, as names and values; without what is not known."""
    pairs = ((name, getattr(entry, name)) for name in list_fields(type(entry)) if name not in skip)
    return [(name, given) for name, given in pairs if given is not None and given not in ([], {}, "")]
