"""The console in 简体中文: every text has a translation, and so has what the service writes."""

from __future__ import annotations

import ast
import re
import time
from html.parser import HTMLParser
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

import service
from service.files.actions import ErasurePreview
from service.filters import AUDIT_ACTIONS, ReportFilter
from service.health.check import Status
from service.health.checks import CHECKS
from service.listing.store import ListingState
from service.model import FileState, Outcome, Role, Suspicion, Vendor, Verdict, WaitReason
from service.rules.explain import LineResult
from service.rules.match import KEYS
from service.sweep.records import Plan, PlanState, RunState, Trigger
from service.views.callbacks import CallbackDetail
from service.views.files import ErasureDetail, FileDetail, Hold
from service.views.form import list_fields
from service.views.people import PEOPLE
from service.views.report import DELETIONS
from service.views.rules import Preview, RevisionDetail
from service.views.runs import CALLS, RUN_FILES, RunDetail
from service.web.console.build import NAVIGATION
from service.web.console.looks import name_field
from service.web.console.pages import SECTIONS, read_filter
from service.web.console.words import _translate
from tests.console.test_pages import PAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.console.console_scene import Console

CONSOLE = files("service.web.console")
WORDS = (FileState, Outcome, Role, Suspicion, Vendor, Verdict, WaitReason, LineResult, PlanState, RunState, Trigger)
SHOWN = (Plan, CallbackDetail, ErasureDetail, FileDetail, Hold, Preview, RevisionDetail, RunDetail, ErasurePreview)


def catalogue() -> dict[str, str]:
    with (CONSOLE / "locales" / "zh.po").open("rb") as lines:
        return {str(message.id): str(message.string) for message in read_po(lines) if message.id}


def texts_of_source() -> set[str]:
    """Every `_("…")` of templates and Python."""
    methods = [("**.html", "jinja2.ext:babel_extract"), ("**.py", "python")]
    with as_file(CONSOLE) as folder:
        found = extract_from_dir(folder, methods, keywords={"_": None, "gettext": None})
        return {text for _file, _line, text, _comments, _context in found if isinstance(text, str)}


def texts_of_values() -> Iterator[str]:
    """What templates hand to `_` by name: sections, headers, fields, filters, words of state, checks."""
    yield from (name for _path, name in NAVIGATION)
    for section in SECTIONS.values():
        yield from (section.title, section.empty)
        _, inputs = read_filter(section.wanted, {}, None)  # type: ignore[arg-type]
        yield from (text for each in inputs for text in (each.label, each.help))
    yield from (text for each in read_filter(ReportFilter, {}, None)[1] for text in (each.label, each.help))  # type: ignore[arg-type]
    yield from ("listing", "preview", "token", "erasure", "audit entry", "hold", "suspicion")
    listed = [*(section.listed for section in SECTIONS.values()), CALLS, RUN_FILES, PEOPLE, DELETIONS]
    yield from (header for each in listed for header in each.columns if header != "#")
    for kind in (*SHOWN, *(each.row for each in listed)):
        yield from map(name_field, list_fields(kind))
    for kind in (*WORDS, Status, ListingState):
        yield from (str(each).replace("_", " ") for each in kind)
    yield from (word.replace("_", " ") for word in (*AUDIT_ACTIONS, *CHECKS, *KEYS))


NEVER_SHOWN = {"password hash", "diff", "parsed", "timeline", "fields", "raw base64", "plans"}
NEVER_SHOWN |= {"changes", "effects", "emptied apps", "unknown apps", "forecast", "possible"}
"""Fields that no page shows as a name with a value."""


def test_every_text_has_a_translation() -> None:
    known = catalogue()
    missing = (texts_of_source() | set(texts_of_values())) - known.keys() - NEVER_SHOWN
    assert not missing


def names_in(text: str) -> set[str]:
    return set(re.findall(r"%\(\w+\)s|%%|\{[A-Za-z]\w*\}", text))


def test_a_translation_holds_the_values_of_its_text() -> None:
    wrong = []
    for text, translated in catalogue().items():
        given, used = names_in(text), names_in(translated)
        left_out = {"{COMMAND}"} if "{COMMAND}" in given else set()  # a page has buttons for it
        if used - given or given - used - left_out or not translated:
            wrong.append(text)
    assert not wrong


def words_of_service() -> set[str]:
    """The words of every text in the service's sources."""
    root = Path(service.__file__).parent
    trees = [ast.parse(path.read_text()) for path in root.rglob("*.py")]
    texts = (node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {word for text in texts if isinstance(text, str) for word in re.findall(r"[\w.]+", text)}


def test_nothing_in_the_catalogue_is_unused() -> None:
    expected, known = texts_of_source() | set(texts_of_values()), words_of_service()
    sentences = (text for text in catalogue() if text not in expected | {"Field required"})  # of pydantic
    unused = [text for text in sentences if not set(re.findall(r"[\w.]+", re.sub(r"\{\w+\}", " ", text))) <= known]
    assert not unused


class _Texts(HTMLParser):
    """What a page says: its texts without code and what was typed in, and titles, labels, questions."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.said: list[str] = []
        self.inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("input", "meta", "link", "br", "img"):
            self.inside.append(tag)
        self.said += [value or "" for name, value in attrs if name in ("title", "aria-label", "data-confirm")]

    def handle_endtag(self, tag: str) -> None:
        while self.inside and self.inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"pre", "code", "textarea", "datalist"} & set(self.inside):
            self.said.append(data)


QUOTED = (
    *("case 2026/114: complaint of a parent", "exam board keeps these until the appeals are over", "a mistake"),
    *("looked at by support", "request 4711 of a former student", "nightly report", "support desk"),
    *("vendor not enabled", "the id is malformed", "the media does not exist", "not found", "try again later"),
    *("trial lessons", "paid lessons", "live shopping, short streams", "only in a listing", "everything else"),
)
"""What a person of the customer has written, and what ZEGO answered: shown as it is."""


def english_in(page: str) -> set[str]:
    """What stays English on a page: two words or more in a row, without commands, identifiers and what is quoted."""
    left_out = (
        "|".join(map(re.escape, QUOTED))
        + r"|`[^`]*`|https?://\S+|\w+_\w+ \S+|ZEGO_\w+=\S*|UTC, \w+|\{\".*\"\}|worker \S+/\d+"
    )
    texts = (re.sub(left_out, "\u3000", " ".join(text.split())) for text in _Texts(page).said)
    return {text for text in texts if re.search(r"[A-Za-z']{2,}[,:;]? [a-z]{2,}", text)}


def every_page(console: Console) -> Iterator[str]:
    """Every page, and every entry of every list (of those that say the same, one)."""
    yield from (*PAGES, "/report", "/report?verify=on")
    database, seen = console.api.world.database, set()
    for path, section in SECTIONS.items():
        for row in section.listed.iterate(database, section.wanted and section.wanted()):
            says = [getattr(row, name, "") for name in ("state", "verdict", "state_reason", "reason", "action", "note")]
            kind = path, re.sub("[0-9]+", "", str(says))
            if kind not in seen:
                seen.add(kind)
                yield f"/{path}/{getattr(row, section.listed.key)}"


def test_no_sentence_stays_english(eventful_console: Console) -> None:
    browser, found = eventful_console.open(), dict[str, str]()
    eventful_console.person(Role.ADMIN)
    browser.sign_in("admin")
    browser.client.set_cookie("zego_retention_language", "zh")
    for path in every_page(eventful_console):
        answer = browser.client.get(path)
        found |= dict.fromkeys(english_in(answer.text), path) if answer.status_code == 200 else {}
    assert not found


SENTENCES = (
    'rule "a; b, c" keeps the newest 3 recordings of each stream, and it is one of them',
    (
        'rule "x" deletes files older than 30d, but only a listing shows it, and the rules come from'
        " ZEGO_RETENTION_KEEP alone: it waits until a person applies rules, for example with `zego-retention rules"
        " apply --keep`"
    ),
    'its stream "trial-1" does not match "lesson-*" or "exam-*"',
    "its duration 40s is under 10m",
    "held until 2026-03-01 12:00 UTC: see our ticket; a; b (its stream is not known, so the hold may concern it)",
    "given up after 9 attempts since 2026-03-01 12:00 UTC: InternalError",
    "last attempt retryable (http 500); retried after 2026-03-01 12:00 UTC",
    "the answer to its last call was not recorded; retried after 2026-03-01 12:00 UTC",
    "app 1234567890 pauses until 2026-03-01 12:00 UTC: 3 failures, no whole answer came back: timed out",
    "app 1234567890, vendor Ws, has been blocked since 2026-03-01 12:00 UTC: ZEGO answered 4",
    "30 deleted, 2 gone, 1 unanswered",
    "no present file matches; 3 files already deleted or gone: there is nothing to delete",
    (
        "2 files of 1,000 would be gone, more than ZEGO_RETENTION_BREAKER_SHARE (0.2) of them, so none is:"
        " see whether they are really missing at Ws; if so, raise it and run `zego-retention reconcile` again"
    ),
    "no file is marked gone: the vendor counts 7, and shows 6; the rest was not listed",
    (
        "two complete listings in a row did not show it, of 2026-03-01 12:00 UTC and 2026-03-02 12:00 UTC; an"
        " earlier call for it had no answer, so that one deleted it"
    ),
    "ended 2026-03-01 12:00 UTC + 30d by today's facts; 2026-03-31 12:00 UTC by the facts when it was decided",
    (
        'rule 2 "b", match: is never reached, because rule "a" above takes every file that it matches: move'
        " it up, or leave it out"
    ),
    'rule 1, keep: "x" is not a duration: write a whole number and one of s, m, h, d, w, for example 30d or forever',
    (
        "nothing was applied: these rules would make 1 file due sooner; look at preview 4, then put them in"
        " force with `zego-retention rules apply --preview 4`"
    ),
    (
        "nothing was applied: EVERY file of app 1234567890 would be deleted within a day, but those that are held,"
        " unconfirmed or failed; look at preview 7, then repeat the number of files due sooner with"
        ' `zego-retention rules apply --preview 7 --count 1000` (API: "expect": 1000)'
    ),
    'rule "b" deletes files older than 30d, but the newest 2 of each stream stay; waits: cooling off',
    "order 7 (rules) could not be applied: KeyError; until it is, no app is called",
    (
        "nothing, until hold 1 is released (`zego-retention holds release 1`) and hold 2 is released"
        " (`zego-retention holds release 2`) or ends at 2026-03-01 12:00 UTC"
    ),
)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_sentence_of_parts_is_translated(sentence: str) -> None:
    translated = _translate("zh", sentence)
    assert not english_in(re.sub("see our ticket; a; b|a; b, c", "", translated))
    assert "\0" not in translated


def test_what_a_person_wrote_stays_as_it_is() -> None:
    for text in ("done; see the ticket", "unknown", "things unknown", "one, two", "foo: bar"):
        translated = _translate("zh", f"held: {text}")
        assert translated == f"已锁定：{text}"


@pytest.mark.parametrize(
    "text", ["; ", ", ", 'rule "', "app 1: ", "a: ", " or ", '"a" or ', "held: ", "\n", " is ", "("]
)
def test_a_hostile_text_takes_no_time(text: str) -> None:
    started = time.process_time()
    for long in (text * 700, f"app 1: {text * 400}", f'its stream "{text * 400}" does not match "x"'):
        _translate("zh", long)
    assert time.process_time() - started < 2


def test_the_report_says_what_came_of_files_in_chinese(eventful_console: Console) -> None:
    browser = eventful_console.open()
    eventful_console.person(Role.ADMIN)
    browser.sign_in("admin")
    browser.client.set_cookie("zego_retention_language", "zh")
    page = browser.client.get("/report").text
    assert "已删除" in page
    assert ">deleted<" not in page
