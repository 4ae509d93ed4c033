"""Lists as files: every list with its filter, in three kinds, as text that no spreadsheet takes for a formula."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from datetime import timedelta
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest
from openpyxl import load_workbook
from sqlalchemy import event
from sqlalchemy.engine import Engine

from service.files.actions import ErasureRequest, erase_files
from service.model import Role
from service.preview.make import Candidate, make_preview
from service.rules.file import parse_rules
from service.views.export import WRITERS
from service.views.files import File
from service.views.form import form_of
from service.views.rules import ComparedFile
from service.web.console.export import _LISTS
from service.web.front import create_front
from tests.world import APP, TESTER

if TYPE_CHECKING:
    from tests.console.console_scene import Browser, Console

ODD = ["<script>alert(1)</script>", "=HYPERLINK(1)", "+1", "-1+2", "@x", "شارع", "é" * 100]


def read(browser: Browser, path: str, kind: str, query: str = "") -> list[dict[str, Any]]:
    """What stands in an export, as texts by their column."""
    answer = browser.client.get(f"/export/{path}.{kind}{query}")
    assert answer.status_code == 200, answer.text
    assert f'.{kind}"' in answer.headers["Content-Disposition"]
    if kind == "jsonl":
        return [json.loads(line) for line in answer.text.splitlines()]
    if kind == "csv":
        return list(csv.DictReader(io.StringIO(answer.text)))
    [sheet] = load_workbook(io.BytesIO(answer.data)).worksheets
    header, *rows = sheet.values
    return [dict(zip(map(str, header), row, strict=True)) for row in rows]


@pytest.mark.parametrize("path", _LISTS)
def test_every_list_is_exported_in_three_kinds_with_the_keys_of_its_json(lasting_console: Console, path: str) -> None:
    kind: Any = _LISTS[path].listed.row
    keys = list(form_of(kind).model_fields)
    found = {kind: read(lasting_console.admin, path, kind) for kind in WRITERS}
    for rows in found.values():
        assert len(rows) == len(found["jsonl"])
        assert all(list(row) == keys for row in rows)
    assert found["jsonl"]


def test_an_export_is_what_the_page_shows_and_ids_and_moments_are_text(lasting_console: Console) -> None:
    rows = {kind: read(lasting_console.viewer, "files", kind, "?state=deleted&order=1&cursor=3") for kind in WRITERS}
    assert [row["id"] for row in rows["jsonl"]] == list(range(1, 31))
    first = rows["xlsx"][0]
    assert (first["id"], first["state"], first["attempts"]) == ("1", "deleted", 1)
    assert first["received_at"] == rows["jsonl"][0]["received_at"]
    assert first["received_at"].endswith("Z")
    assert json.loads(rows["csv"][0]["last_outcome"])["outcome"] == "deleted"
    assert "/export/files.csv?state=deleted" in lasting_console.viewer.get("/files?state=deleted&cursor=3")


@pytest.mark.parametrize("odd", ODD)
def test_what_strangers_choose_is_text_in_every_export(console: Console, odd: str) -> None:
    console.api.world.keep("30d")
    console.api.world.send("odd", stream=odd)
    rows = {kind: read(console.viewer, "files", kind)[0]["stream_id"] for kind in WRITERS}
    assert rows["jsonl"] == rows["xlsx"] == odd
    assert rows["csv"] == (f"'{odd}" if odd[0] in "=+-@" else odd)
    answer = console.viewer.client.get("/export/files.xlsx")
    [sheet] = load_workbook(io.BytesIO(answer.data)).worksheets
    assert {cell.data_type for row in sheet.rows for cell in row} <= {"s", "inlineStr", "n"}


def test_a_role_exports_what_it_sees_in_the_list(lasting_console: Console) -> None:
    for path, section in _LISTS.items():
        status = 200 if section.role is Role.VIEWER else 403
        assert lasting_console.viewer.client.get(f"/export/{path}.csv").status_code == status
    assert lasting_console.open().client.get("/export/files.csv").status_code == 302
    wrong = lasting_console.viewer.client.get("/export/files.csv?state=nonsense")
    assert (wrong.status_code, wrong.mimetype) == (422, "text/html")
    for path in ("/export/files.pdf", "/export/nothing.csv", "/export/runs/99/files.csv"):
        assert lasting_console.viewer.client.get(path).status_code == 404
    assert not any({"raw", "signature"} & {*row} for row in read(lasting_console.viewer, "callbacks", "csv"))


def test_the_files_and_calls_of_a_run_are_exported(lasting_console: Console) -> None:
    assert len(read(lasting_console.viewer, "runs/1/files", "csv")) == 30
    assert len(read(lasting_console.viewer, "runs/1/calls", "xlsx")) == 1


def test_the_files_that_a_preview_makes_due_sooner_are_exported_in_one_walk(console: Console) -> None:
    world = console.api.world
    world.keep("30d")
    world.add(2_500, stream_id="one")  # pages begin at the newest file of the stream each time
    world.add(1, prefix="odd", stream_id="=odd")
    candidate = Candidate(parse_rules('[[rules]]\nname = "all"\nkeep = "1d"\n'), "a test")
    made = make_preview(world.database, world.service.reader, candidate, TESTER, timedelta(0), console.now)
    path = f"previews/{made.id}/sooner"
    assert f"/export/{path}.csv" in console.viewer.get(f"/previews/{made.id}")
    queries: list[str] = []

    def note(*arguments: Any) -> None:
        queries.extend([arguments[2]] if "FROM media_files" in arguments[2] else [])

    event.listen(Engine, "before_cursor_execute", note)
    try:
        rows = {kind: read(console.viewer, path, kind) for kind in WRITERS}
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert len(queries) <= 3 * 8
    shown: Any = ComparedFile
    for found in rows.values():
        assert len({row["id"] for row in found}) == made.sooner_count == 2_501
        assert {tuple(row) for row in found} == {tuple(form_of(shown).model_fields)}
    odd = {kind: next(row["stream_id"] for row in found if "odd" in row["file_id"]) for kind, found in rows.items()}
    assert odd == {"csv": "'=odd", "xlsx": "=odd", "jsonl": "=odd"}
    assert rows["jsonl"][0]["due_after"] < rows["jsonl"][0]["due_before"]
    world.keep("20d")
    refused = console.viewer.client.get(f"/export/{path}.csv")
    assert (refused.status_code, "revision 2 is in force" in refused.text) == (409, True)
    assert console.viewer.client.get("/export/previews/99/sooner.csv").status_code == 404


def test_more_exports_than_four_at_once_are_refused_and_one_that_ends_makes_room(console: Console) -> None:
    console.api.world.keep("30d")
    console.api.world.add(500, age=timedelta(days=1))
    client = console.viewer.client
    running = [client.get("/export/files.csv", buffered=False) for _ in range(4)]
    refused = client.get("/export/files.csv")
    assert (refused.status_code, "exports are running" in refused.text) == (503, True)
    for answer in running:
        answer.close()
    assert client.get("/export/files.csv").status_code == 200


def test_a_reader_that_hangs_up_stops_the_export(console: Console) -> None:
    console.api.world.keep("30d")
    console.api.world.add(8_000, age=timedelta(days=1))
    cookie = console.viewer.client.get_cookie("zego_retention_session")
    assert cookie is not None
    headers = [(b"cookie", f"{cookie.key}={cookie.value}".encode()), (b"host", b"localhost")]
    scope = {"type": "http", "method": "GET", "path": "/export/files.jsonl", "query_string": b"", "headers": headers}
    scope |= {"http_version": "1.1", "scheme": "http", "root_path": ""}
    queries: list[str] = []

    async def ask() -> None:
        hung_up = asyncio.Event()
        asked: list[int] = []

        async def receive() -> dict[str, Any]:
            if not asked:
                asked.append(1)
                return {"type": "http.request", "body": b"", "more_body": False}
            await hung_up.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                hung_up.set()
                await asyncio.sleep(0.05)

        await asyncio.wait_for(create_front(console.api.app)(scope, receive, send), 30)

    def note(*arguments: Any) -> None:
        queries.extend([arguments[2]] if "media_files" in arguments[2] else [])

    event.listen(Engine, "before_cursor_execute", note)
    try:
        asyncio.run(ask())
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert 0 < len(queries) < 16, "there are 16 batches"


def test_the_columns_of_a_file_are_those_of_the_api() -> None:
    [header] = csv.reader(io.StringIO("".join(WRITERS["csv"][1](File, []))))  # type: ignore[arg-type]
    assert header == list(form_of(File).model_fields)


def test_a_report_names_what_was_deleted_under_which_rule_and_with_which_request(console: Console) -> None:
    world = console.api.world
    world.keep("30d")
    world.add(3, age=timedelta(days=40), duration_s=3600.0, size_bytes=10**9)
    run = world.sweep()
    console.operator.post("/do/place_new_hold", stream_pattern="x-*", app_id=APP, reason="for the court", back="/")
    day = f"{console.now:%Y-%m-%d}"
    page = console.viewer.get(f"/report?from={day}&to={day}")
    rows = read(console.viewer, "report", "csv", f"?from={day}&to={day}")
    assert [row["file_id"] for row in rows] == [f"file-{number:05}" for number in range(3)]
    assert {(row["rule"], row["revision"], row["outcome"]) for row in rows} == {("everything", "1", "deleted")}
    assert {row["run"] for row in rows} == {str(run)}
    assert all(row["request_id"] and row["request_id"] in page for row in rows)
    for text in ("for the court", "everything", "3.0 GB", "The audit was not verified"):
        assert text in page, text
    assert "its chain is whole" in console.viewer.get(f"/report?from={day}&to={day}&verify=on")
    assert console.viewer.get("/report").count("<tr>") == page.count("<tr>"), "the last 30 days, today included"
    world.add(1, prefix="asked", age=timedelta(0))
    erase_files(world.database, TESTER, ErasureRequest("she asked", (4,)), world.clock(), known_apps=(APP,))
    world.sweep()
    asked = read(console.viewer, "report", "csv", f"?from={day}&to={day}")[-1]
    assert (asked["rule"], asked["revision"], asked["erasure_id"]) == ("", "", "1"), "no rule decided it"
    totals = console.viewer.get("/report").split("Rules in force")[0]
    assert "<bdi>erasure</bdi>" in totals


def test_the_last_day_of_a_report_is_included_and_the_next_is_not(console: Console) -> None:
    world = console.api.world
    world.keep("30d")
    days: list[str] = []
    for _ in range(3):
        world.add(1, prefix=f"d{len(days)}", age=timedelta(days=40))
        world.sweep()
        days.append(f"{console.now:%Y-%m-%d}")
        world.clock.move(days=1)
    for first, last in ((0, 0), (0, 1), (1, 2), (2, 2)):
        rows = read(console.viewer, "report", "jsonl", f"?from={days[first]}&to={days[last]}")
        assert [row["file_id"][:2] for row in rows] == [f"d{number}" for number in range(first, last + 1)]
    moment = f"?from={days[0]}T00:00:00Z&to={days[1]}T00:00:00Z"
    assert len(read(console.viewer, "report", "csv", moment)) == 1
    assert "No file was deleted" in console.viewer.get("/report?from=2020-01-01&to=2020-02-01")
    for period in ("from=soon", "from=2020-02-01&to=2020-01-01"):
        assert console.viewer.client.get(f"/report?{period}").status_code == 422


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_long_report_is_shown_in_pages_or_whole_to_be_printed(console: Console) -> None:
    world = console.api.world
    world.keep("30d")
    world.add(203, age=timedelta(days=40))
    world.sweep()
    file = re.compile(r'<a href="/files/(\d+)">')
    page = console.viewer.get("/report")
    shown = file.findall(page)
    following = re.search(r'rel="next" href="([^"]+)"', page)
    assert following is not None
    rest = console.viewer.get(unescape(following[1]))
    assert (len(shown), len(file.findall(rest)), "200 of 203 files" in page) == (200, 3, True)
    assert 'rel="next"' not in rest
    whole = re.search(r'href="(/report[^"]+print=on)"', page)
    assert whole is not None
    assert file.findall(console.viewer.get(unescape(whole[1]))) == shown + file.findall(rest)
