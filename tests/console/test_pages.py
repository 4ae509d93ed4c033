"""Every page of the console: who sees it, what it holds, and that nothing in it runs that we did not write."""

from __future__ import annotations

import gzip
import re
import time
from datetime import timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from flask import g

from service.cli.show import relative
from service.leader.leader import identify_process
from service.leader.store import lock_leader, take_lead
from service.settings import load_settings
from service.views.rules import make_forecast
from service.views.values import describe_amount
from service.web.console import looks
from service.web.console.pages import SECTIONS
from tests.processes import wait_until
from tests.web.api_scene import fill

if TYPE_CHECKING:
    from service.views.rules import Forecast
    from tests.console.console_scene import Console

PAGES = [
    "/",
    "/rules",
    "/rules/edit",
    "/apps",
    "/people",
    "/report",
    "/previews/1",
    *(f"/{path}" for path in SECTIONS),
    *(f"/{path}/1" for path in SECTIONS),
    "/files/31",
    "/files/33",
    "/callbacks/3",
    "/runs?cursor=1",
    "/files?state=held&stream=*&due_before=30d&adopted=true",
    "/holds?order=5",
]
ODD = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "=HYPERLINK(1)", "شارع", "a" + "\u0301" * 120]


class _Page(HTMLParser):
    """What a page could run, and what it asks for elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name.startswith("on") or name == "style" or (value or "").strip().lower().startswith("javascript:"):
                self.faults.append(f"{tag} {name}={value}")
            if name in ("src", "href", "action") and (value or "").startswith(("http:", "https:", "//")):
                self.faults.append(f"{tag} {name}={value}")
        if tag == "style" or (tag == "script" and "src" not in dict(attrs)):
            self.faults.append(tag)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_shown_under_a_strict_policy(lasting_console: Console, path: str) -> None:
    answer = lasting_console.admin.client.get(path)
    assert answer.status_code == 200, answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert not _Page(answer.text).faults
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/tokens", "/tokens/1", "/rules/edit"])
def test_some_pages_are_for_the_role_admin_only(lasting_console: Console, path: str) -> None:
    for browser in (lasting_console.viewer, lasting_console.operator):
        text = browser.get(path, status=403)
        assert "This needs the role admin" in text


def test_who_may_not_change_something_sees_no_button_for_it(lasting_console: Console) -> None:
    for path in ("/", "/holds", "/holds/1", "/files/31", "/runs", "/runs/1", "/callbacks/1", "/erasures", "/people"):
        assert "/do/" not in lasting_console.viewer.get(path)
    assert "/do/place_new_hold" in lasting_console.operator.get("/files/31")
    assert "/do/preview_new_erasure" not in lasting_console.operator.get("/erasures")
    assert "/do/preview_new_erasure" in lasting_console.admin.get("/erasures")


def test_a_viewer_sees_no_body_of_a_callback(lasting_console: Console) -> None:
    assert "stream_alias" in lasting_console.operator.get("/callbacks/1")
    assert "stream_alias" not in lasting_console.viewer.get("/callbacks/1")


@pytest.mark.parametrize("path", ["/nothing", "/files/999999", "/runs/999", "/audit/99999", "/files/0", "/previews/77"])
def test_what_is_not_there_is_answered_404_in_words(lasting_console: Console, path: str) -> None:
    answer = lasting_console.admin.client.get(path)
    assert answer.status_code == 404
    if path not in {"/nothing", "/files/0"}:
        assert "zego-retention" in answer.text


@pytest.mark.parametrize("query", ["state=nonsense", "due_before=whenever", "vendor=Wangsu"])
def test_a_filter_that_cannot_be_read_is_refused(lasting_console: Console, query: str) -> None:
    assert query.partition("=")[0] in lasting_console.admin.get(f"/files?{query}", status=422)


def test_the_address_of_a_list_holds_only_what_was_filled_in(lasting_console: Console) -> None:
    client = lasting_console.viewer.client
    answer = client.get("/files?state=held&app=&stream=&due_before=")
    assert (answer.status_code, answer.location) == (302, "/files?state=held")
    part = client.get("/files?state=&text=file&app=", headers={"HX-Request": "true"})
    assert part.headers["HX-Push-Url"] == "/files?text=file"
    assert client.get("/files?state=").location == "/files"


def test_a_list_goes_on_where_a_page_ended(console: Console) -> None:
    world = console.api.world
    world.keep("30d")
    world.add(120)
    first = console.viewer.get("/files")
    assert first.count("<tr>") == 51
    assert "/files?cursor=50" in first
    assert "file-00050" in console.viewer.get("/files?cursor=50")
    last = console.viewer.get("/files?cursor=100")
    assert last.count("<tr>") == 21
    assert 'rel="next"' not in last


def test_a_part_of_a_page_is_the_rows_alone(console: Console) -> None:
    fill(console.api)
    part = console.viewer.get("/files?state=deleted", headers={"HX-Request": "true"})
    assert "<html" not in part
    assert part.count("<tr>") > 1


@pytest.mark.parametrize("stream", ODD)
def test_what_strangers_call_their_streams_is_shown_as_text(console: Console, stream: str) -> None:
    world = console.api.world
    world.keep("1d")
    world.send("odd", stream=stream)
    for path in ("/", "/files", "/files/1", "/callbacks", "/callbacks/1"):
        text = console.admin.get(path)
        assert not _Page(text).faults
        assert "<script>alert" not in text
        assert "<img src=x" not in text


def test_everything_works_without_rules_apps_or_files(console: Console) -> None:
    for path in ("/", "/rules", "/rules/edit", "/apps", *(f"/{path}" for path in SECTIONS)):
        console.admin.get(path)
    assert "nothing is ever deleted" in console.admin.get("/rules")


def test_the_language_is_chosen_and_kept(lasting_console: Console) -> None:
    browser = lasting_console.viewer
    assert 'lang="zh-Hans"' in browser.get("/files", headers={"Accept-Language": "zh-CN,zh;q=0.9"})
    browser.get("/files")
    browser.post("/language", language="zh", back="/files", status=303)
    assert 'lang="zh-Hans"' in browser.get("/files")
    browser.post("/language", language="en", back="/files", status=303)
    assert 'lang="en"' in browser.get("/files")


def test_a_run_says_what_came_of_its_files(lasting_console: Console) -> None:
    text = " ".join(lasting_console.viewer.get("/runs/1").split())
    assert re.search(r"<dt>outcomes</dt> <dd>[^<]*[0-9]+ deleted", text)


def test_a_page_with_a_token_is_not_compressed_and_light_all_the_same(lasting_console: Console) -> None:
    """What was typed into a filter stands beside the token in it: the compressed size would give the token away."""
    answer = lasting_console.viewer.client.get("/files?text=abc", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in answer.headers
    assert 'name="csrf"' in answer.text
    assert len(answer.data) < 100_000


def test_static_files_are_compressed_for_who_can_read_that(lasting_console: Console) -> None:
    client, path = lasting_console.open().client, "/static/vendor/tabler/tabler.min.css"
    with client.get(path) as plain, client.get(path, headers={"Accept-Encoding": "br, gzip"}) as small:
        assert "Content-Encoding" not in plain.headers
        assert small.headers["Content-Encoding"] == "gzip"
        assert small.headers["Vary"] == "Accept-Encoding"
        assert gzip.decompress(small.data) == plain.data
        assert len(small.data) < len(plain.data) / 4
        etag = small.headers["ETag"]
    with client.get(path, headers={"Accept-Encoding": "gzip", "If-None-Match": etag}) as again:
        assert again.status_code == 304


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_date_of_a_file_is_called_due_whatever_keeps_it(console: Console) -> None:
    world = console.api.world
    world.keep("1d")
    world.add(1, suspicion="stale")
    page = " ".join(re.sub("<[^>]*>", " ", console.viewer.get("/files/1")).split())
    assert "unconfirmed due 24 hours ago" in page
    assert "call after" not in page


def test_sweeps_are_also_found_under_their_name(lasting_console: Console) -> None:
    assert lasting_console.viewer.client.get("/sweeps").location == "/runs"


def test_an_ended_file_is_offered_no_retry(eventful_console: Console) -> None:
    with eventful_console.api.world.database.read() as tx:
        query = "SELECT min(id) FROM media_files WHERE state = 'deleted' AND attempts > 1"
        number = tx.exec_driver_sql(query).scalar_one()
    assert number
    assert "/do/retry_file" not in eventful_console.admin.get(f"/files/{number}")


def test_only_numbers_of_files_lead_to_files(lasting_console: Console) -> None:
    page = lasting_console.viewer.get("/files")
    assert "file-00000" in page
    assert 'href="/files/file-' not in page
    assert 'href="/files/31"' in lasting_console.viewer.get("/callbacks") + lasting_console.viewer.get("/holds")


def test_the_overview_says_what_holds_keep_and_what_deleting_freed(console: Console) -> None:
    world = console.api.world
    world.keep("30d")
    world.add(2, age=timedelta(days=40), duration_s=3600.0, size_bytes=10**9)
    world.add(1, prefix="held", age=timedelta(days=1), stream_id="x", duration_s=7200.0, size_bytes=3 * 10**9)
    world.sweep()
    console.operator.post("/do/place_new_hold", file="3", reason="x", back="/")
    page = " ".join(console.viewer.get("/").split())
    assert '<a class="text-reset" href="/report">2.0 GB</a></div> <div class="text-secondary small">2 h, in 30' in page
    assert '<a class="text-reset" href="/files?state=held">3.0 GB</a></div> <div class="text-secondary' in page
    for text in ("deleted on this day", "due now", "will be deleted on this day", "Counted"):
        assert text in page


def test_the_overview_says_of_the_forecast_when_it_was_counted(console: Console) -> None:
    world, backend = console.api.world, console.api.app.extensions["zego-retention.backend"]
    world.keep("30d")
    before = world.clock()

    def count() -> Forecast:
        time.sleep(0.3)  # so that it is shown for half a minute
        return make_forecast(world.database, world.service.reader, before)

    assert backend.show_figures("forecast", count) is not None
    world.clock.move(minutes=7)
    page = console.viewer.get("/")
    assert f'Counted <time datetime="{world.clock().isoformat()}"' in page
    assert f'What is held back, what is stored and the forecast: counted <time datetime="{before.isoformat()}"' in page


def test_signs_of_life_and_first_steps_are_true_at_each_look(console: Console) -> None:
    world, backend = console.api.world, console.api.app.extensions["zego-retention.backend"]
    console.viewer.get("/")
    for name in ("state", "forecast"):
        backend._figures[name] = time.monotonic() + 60, backend._figures[name][1]  # as after a long count
    assert console.viewer.get("/").count("✓") == 1, "an app is configured"
    world.send("a")
    page = console.viewer.get("/")
    assert (page.count("✓"), f'href="/callbacks"><time datetime="{world.clock().isoformat()}"' in page) == (2, True)
    world.keep("30d")
    assert console.viewer.get("/").count("✓") == 3


def test_the_overview_shows_the_signs_of_life(console: Console) -> None:
    world = console.api.world
    world.keep("30d")
    world.send("a")

    def shows(*texts: str) -> bool:
        page = " ".join(console.viewer.get("/").split())  # its figures are counted again after a moment
        return all(text in page for text in texts)

    arrived = 'Last callback</div> <div class="figure"><a class="text-reset" href="/callbacks"><t'
    assert shows(
        arrived, "2026-03-01 12:15 UTC", f'<div class="text-secondary small">{world.service.leader.name}</div>'
    )
    world.clock.move(minutes=20)
    wait_until(lambda: shows('<div class="text-secondary small">no worker is running</div>'))
    worker = identify_process() | {"settings": load_settings({"ZEGO_RETENTION_SWEEP_EVERY": "off"}).write_down()}
    world.database.transact(lambda tx: take_lead(tx, lock_leader(tx).token + 1, "host/7", worker, world.clock()))
    wait_until(lambda: shows('href="/files?state=scheduled">off</a>', ">host/7</div>"))


def test_a_page_rounds_distances_durations_and_sizes_as_the_command_line_does(lasting_console: Console) -> None:
    app, now = lasting_console.api.app, lasting_console.now
    with app.test_request_context("/"):
        app.preprocess_request()
        g.now = now
        for seconds in (1, 1.9, 2, 90, 119.7 * 60, 36 * 3_600, 1.7 * 86_400, 29.9 * 86_400, 1_000 * 86_400):
            for at in (now + timedelta(seconds=seconds), now - timedelta(seconds=seconds)):
                assert f">{relative(at, now)}<" in looks.moment(at)
        for name, given in (("size_bytes", 1), ("size_bytes", 10**9), ("duration_s", 2.5), ("duration_s", 3_661.0)):
            assert str(looks.value(name, given)) == describe_amount(name, given)
    with app.test_request_context("/", headers={"Accept-Language": "zh-CN"}):
        app.preprocess_request()
        g.now = now
        assert ">36 小时后<" in looks.moment(now + timedelta(hours=36))
        assert looks.value("duration_s", 120.0) == "2分钟"


def test_commands_in_sentences_lead_to_the_pages_that_do_the_same(eventful_console: Console) -> None:
    database = eventful_console.api.world.database
    with database.read() as tx:
        query = "SELECT min(id) FROM media_files WHERE state = "
        failed, suspected = (
            tx.exec_driver_sql(f"{query}'{state}'").scalar_one() for state in ("failed", "unconfirmed")
        )
    for path, links in {
        "/": (
            "/runs/33",
            "/files?state=failed",
            "/files?state=unconfirmed",
            "/callbacks?verdict=unknown_app",
            "/listings",
        ),
        "/runs/33": ("/runs/33",),
        f"/files/{failed}": (f"/files/{failed}",),
        f"/files/{suspected}": (f"/files/{suspected}",),
        "/nothing": (),
        "/files/99999": ("/files",),
        "/previews/2": ("/files",),
    }.items():
        page = eventful_console.admin.client.get(path).text
        assert "`" not in page, path
        for link in links:
            assert f'<a href="{link}">' in page, path


def test_the_overview_keeps_notes_apart_from_what_is_wrong(eventful_console: Console) -> None:
    page = " ".join(eventful_console.viewer.get("/").split())
    assert "Waiting for a person: 3. May be wrong: 4." in page
    wrong, _, more = page.partition('<details class="border-top">')
    assert wrong.count('bg-yellow-lt">warning') == 4
    assert ">note<" not in wrong
    assert more.count(">note<") >= 3
    assert ">ok<" in more


def test_an_empty_list_says_whether_the_filter_or_nothing_at_all_is_the_reason(console: Console) -> None:
    assert "No files yet" in console.viewer.get("/files")
    filtered = console.viewer.get("/files?state=held&adopted=true")
    assert "Nothing fits this filter." in filtered
    assert '<details class="mt-2" open>' in filtered  # what is filtered by is not folded away
    assert '<details class="mt-2">' in console.viewer.get("/files?state=held")


def test_above_a_list_is_said_what_of_its_filter_does_not_exist(console: Console) -> None:
    console.api.world.keep("30d")
    console.api.world.send("a")
    for query, text in (
        ("rule=old", "no rule is called &#39;old&#39;: those in force are &#39;everything&#39;"),
        ("moved_by=9", "there is no revision 9"),
        ("app=42", "app 42 is not configured: known are"),
    ):
        page = console.viewer.get(f"/files?{query}")
        assert text in page
        assert page.index(text) < page.index("Nothing fits this filter.")
    plain = console.viewer.get("/files?state=held").count('role="alert"')
    for query in ("moved_by=1", "rule=everything"):
        assert console.viewer.get(f"/files?{query}").count('role="alert"') == plain


def test_how_a_callback_is_signed_is_shown_from_the_role_operator_on(console: Console) -> None:
    console.api.world.send("f1", nonce="77123456789123")
    found = console.api.get("/callbacks/1", role="operator")
    for secret in (found["signature"], found["nonce"]):
        assert secret in console.operator.get("/callbacks/1")
        for path in ("/", "/callbacks", "/callbacks/1", "/files/1", "/export/callbacks.jsonl"):
            assert secret not in console.viewer.client.get(path).text
