"""The editor of rules gives back what it was given, whatever a rules file can hold."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service.model import FileState, Vendor
from service.preview.make import find_preview
from service.rules.decide import RetentionRule
from service.rules.file import format_rules
from service.rules.match import Match
from tests.console.test_actions import form_of

if TYPE_CHECKING:
    from tests.console.console_scene import Console

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
KEPT = '[[rules]]\nname = "kept"\nmatch = { stream = "case,17-*" }\nkeep = "forever"\n'
REST = '[[rules]]\nname = "rest"\nkeep = "1d"\n'
ODD = st.sampled_from(',"\\ \n\r\t\x7f*?\u2028\u202e\u3000，é')
LETTERS = ODD | st.characters(codec="utf-8", exclude_characters="\0")
PATTERNS = st.lists(st.text(LETTERS, min_size=1, max_size=12), min_size=1, max_size=3).map(tuple)
NASTY = ("case,17-*", '"', '"a", b', "\\", " a ", " ", "a\r\nb", "\t", ",", "\U0001f600\u202e", '\\"', "plain")


class Form(HTMLParser):
    """The inputs of a page as a browser sends them: a line break in the value of one is lost."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, list[str]] = {}
        self._select = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "input" and "name" in found:
            value = found.get("value", "").replace("\r", "").replace("\n", "")
            self.fields.setdefault(found["name"], []).append(value)
        elif tag == "select":
            self._select = found["name"]
            self.fields.setdefault(self._select, []).append("")
        elif tag == "option" and "selected" in found:
            self.fields[self._select][-1] = found["value"]


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PATTERNS, PATTERNS)
@example(NASTY, NASTY[::-1])
def test_a_form_that_is_sent_as_it_was_served_changes_nothing(
    console: Console, streams: tuple[str, ...], names: tuple[str, ...]
) -> None:
    rules = (
        RetentionRule("a", Match(stream=streams, name=names, app=("1", "23"), vendor=tuple(Vendor)), None),
        RetentionRule("b", Match(name=names, vendor=(Vendor.HUAWEI,), adopted=True), None),
    )
    console.api.world.apply(format_rules(rules))
    form = Form(console.admin.get("/rules/edit")).fields
    form = Form(console.admin.client.post("/rules/edit", data=form).text).fields  # as after a move
    answer = console.admin.client.post("/rules/preview", data=form)
    assert answer.status_code == 303, answer.text
    number = int(answer.location.rpartition("/")[2])
    assert find_preview(console.api.world.database, number).rules == rules


def test_a_comma_in_a_pattern_lets_nothing_be_deleted(console: Console) -> None:
    world = console.api.world
    world.apply(KEPT + REST)
    world.send("kept", stream="case,17-1")
    form = Form(console.admin.get("/rules/edit")).fields
    assert form["stream"] == ['"case,17-*"', ""]
    made = console.admin.client.post("/rules/preview", data=form).location
    assert "these rules are in force already" in console.admin.get(made)
    world.catch_up()
    world.sweep()
    assert world.state("kept") is FileState.KEPT


def test_a_quote_that_leaves_open_what_is_meant_is_refused(console: Console) -> None:
    rows = {}
    for text in ('"case', 'a "b"', '"a"b', '"\\x"', 'a, "'):
        rows = form_of({"rule": "a", "stream": text, "keep": "1d"})
        tried = console.admin.post("/rules/try", status=200, **rows).text
        assert "rule 1, match.stream: write values with commas between them" in tried, text
        console.admin.post("/rules/preview", status=422, **rows)
    console.admin.client.set_cookie("zego_retention_language", "zh")
    assert "请用英文逗号分隔各个值" in console.admin.post("/rules/try", status=200, **rows).text
