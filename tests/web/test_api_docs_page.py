"""The page that shows the API: only its own files, nothing inline, and what others wrote is what they wrote."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from service.web.api.openapi import CONTENT_SECURITY_POLICY, STATIC

if TYPE_CHECKING:
    from tests.web.api_scene import Api

VENDOR = STATIC / "vendor" / "swagger-ui"


def test_every_file_of_the_page_is_served_under_the_policy(lasting_api: Api) -> None:
    page = lasting_api.ask("GET", "/docs", role="none")
    assert page.mimetype == "text/html"
    assert page.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    loaded = re.findall(r'(?:src|href)="(?!data:)([^"]+)"', page.text)
    assert len(loaded) == 4
    for path in loaded:
        response = lasting_api.ask("GET", f"/{path}", role="none")
        assert response.status_code == 200, path
        assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_nothing_in_the_page_is_inline_or_from_elsewhere(lasting_api: Api) -> None:
    page = lasting_api.ask("GET", "/docs", role="none").text
    assert re.findall(r"<script(?![^>]* src=)[^>]*>", page) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:", page) == []
    assert re.findall(r"https?:|\"//", page) == []
    start = lasting_api.ask("GET", "/docs/start.js", role="none").text
    assert "validatorUrl: null" in start
    assert re.findall(r"eval|innerHTML|document\.write|https?:", start) == []


def test_the_policy_allows_nothing_inline() -> None:
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none';")


def test_what_others_wrote_is_unchanged_and_licensed() -> None:
    lines = [line.split() for line in (VENDOR / "SHA256SUMS").read_text().splitlines()]
    sums = {name: digest for digest, name in lines}
    assert {"LICENSE", "NOTICE", "swagger-ui.css", "swagger-ui-bundle.js"} <= sums.keys()
    present = {path.name for path in VENDOR.iterdir()} - {"SHA256SUMS", "VERSION"}
    assert present == sums.keys()
    for name, expected in sums.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == expected, name
