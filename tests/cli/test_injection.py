"""What strangers write into any field of a callback stays text: in SQL, pages, headers, exports, tables, the log."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from service.logs import configure_logging
from service.model import Vendor
from service.web.app import create_app
from service.web.console.export import _LISTS
from tests.console.console_scene import Console
from tests.console.test_pages import PAGES, _Page
from tests.web.api_scene import Api

if TYPE_CHECKING:
    import pytest

    from tests.cli.conftest import Run
    from tests.world import World

HOSTILE = (
    "'; DROP TABLE media_files; --",
    '" OR 1=1) --',
    "%' OR stream_id LIKE '%",
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</title><svg/onload=alert(1)>",
    "javascript:alert(1)",
    '=HYPERLINK("http://evil.example","x")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "\t=1+1",
    "\r\nSet-Cookie: owned=1\r\n\r\n<html>",
    '\n{"event":"owned","level":"info"}',
    "\x1b[2J\x1b]0;owned\x07",
    "\u202egpj.exe",
    "{{7*7}}${7*7}%(x)s{0}",
    "../../etc/passwd",
)
STEERING = [text for text in HOSTILE if not text.isprintable()][-4:]
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def test_what_strangers_write_stays_text_everywhere(world: World, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("console", "DEBUG")
    world.keep("1d")
    for text in STEERING:  # few enough to be logged one by one
        world.announce(f"log {text}", stream=text, stored=False)
    world.catch_up()
    for number, text in enumerate(HOSTILE):
        every: dict[str, Any] = {"replay_url": text, "task_id": text, "user": {text: text}, "event_time": text}
        facts: dict[str, Any] = {"age": timedelta(days=3), "stream": text, "vendor": Vendor.HUAWEI}
        world.announce(f"{number}{text}", **facts, **every)
        world.announce(text, secret="another", stored=False, **facts)
        world.announce(f"{number}", app_id="555", stored=False, **facts)
        world.announce(f"event{number}", event=text, stored=False, **facts)
        world.announce(f"appid{number}", appid=text, stored=False, **facts)
    world.catch_up()
    world.sweep()
    world.reconcile()
    said = capsys.readouterr()
    logged = (said.out + said.err).splitlines()
    assert sum(line.endswith("vendor=Tencent") or "owned" in line for line in logged) >= len(STEERING) - 1
    assert all(line.isprintable() and line[:2] == "20" for line in logged), "a line begins with its date"
    files = world.files()
    assert {file.stream_id for file in files.values()} == set(HOSTILE), "nothing was cut, run or taken for SQL"
    assert len(files) == len(HOSTILE) + len(STEERING)

    api = Api(world, {})
    api.app = create_app(world.service.settings, now=world.clock, sleep=api.sleep)
    browser = Console(api).admin.client
    entries = [f"/{kind}/{number}" for kind in ("files", "callbacks") for number in range(1, 60, 6)]
    for path in (*PAGES, *entries, "/files?stream=%27%3B--", "/callbacks?verdict=forged"):
        answer = browser.get(path)
        assert answer.status_code in (200, 404), path
        assert not _Page(answer.text).faults, path
        for piece in ("<script>alert", "<img src=x", "<svg/onload"):
            assert piece not in answer.text, path
        assert "owned" not in str(answer.headers), path
    for name in _LISTS:
        answer = browser.get(f"/export/{name}.csv")
        assert "owned" not in str(answer.headers)
        cells = [cell for row in csv.reader(io.StringIO(answer.text)) for cell in row]
        assert not [cell for cell in cells if cell.startswith(FORMULA) and not is_number(cell)], name
    for path in ("/metrics", "/zego", "/nothing\r\nX: owned"):
        assert "owned" not in str(browser.get(path).headers)
    api.app.extensions["zego-retention"].close()

    for command in (["files", "list"], ["files", "show", "1"], ["files", "explain", "13"], ["callbacks", "list"]):
        shown = run(*command).out
        assert all(line.isprintable() for line in shown.splitlines()), command
    for number in (1, 61, 71):
        assert "\x1b" not in run("callbacks", "show", f"{number}").out
    assert all(line.isascii() for line in run("files", "list", "--json").out.splitlines())


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
