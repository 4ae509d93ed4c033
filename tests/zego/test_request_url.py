from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.model import Vendor
from service.zego.client import ZegoClient, search_parameters, url_cost
from service.zego.messages import Query
from service.zego.signature import api_signature


class Recorder(HTTPServer):
    """Notes what it is asked for; nobody is told anything."""

    targets: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    server: Recorder

    def do_GET(self) -> None:
        self.server.targets.append(self.path)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def zego() -> Iterator[Recorder]:
    with Recorder(("127.0.0.1", 0), Handler) as server:
        server.targets = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def delete_url(
    zego: Recorder, vendor: Vendor, ids: list[str], *, is_test: bool | None = None, clear_cache: bool = False
) -> str:
    """The URL that was asked for; its length is as foretold."""
    client = ZegoClient(
        "1234567890", "secret", zego.url, now=lambda: moment(1785585600.9), is_test=is_test, clear_cache=clear_cache
    )
    with client:
        client.delete_media(vendor, ids)
    url = zego.url + zego.targets[-1].removeprefix("/")
    assert len(url.encode()) == client.url_overhead(vendor) + sum(map(url_cost, ids))
    return url


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    vendor=st.sampled_from(Vendor),
    ids=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=200), min_size=1, max_size=5),
    is_test=st.sampled_from([None, True, False]),
    clear_cache=st.booleans(),
)
def test_overhead_and_costs_add_up_to_the_bytes_of_the_url(
    zego: Recorder, vendor: Vendor, ids: list[str], *, is_test: bool | None, clear_cache: bool
) -> None:
    url = delete_url(zego, vendor, ids, is_test=is_test, clear_cache=clear_cache)
    sent = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    assert [value for key, value in sent if key == "FileId[]"] == ids


def test_the_parameters_are_those_of_the_docs(zego: Recorder) -> None:
    assert delete_url(zego, Vendor.HUAWEI, ["a/b c+d&é"]).endswith("&FileId%5B%5D=a%2Fb%20c%2Bd%26%C3%A9")
    sent = dict(parse_qsl(urlsplit(delete_url(zego, Vendor.HUAWEI, ["a/b"], clear_cache=True)).query))
    nonce = sent.pop("SignatureNonce")
    assert len(bytes.fromhex(nonce)) == 8
    assert sent == {
        "Action": "DeleteMedia",
        "AppId": "1234567890",
        "Timestamp": "1785585600",
        "Signature": api_signature("1234567890", nonce, "secret", "1785585600"),
        "SignatureVersion": "2.0",
        "Vendor": "Huawei",
        "FileId[]": "a/b",
    }


@pytest.mark.parametrize("vendor", Vendor)
def test_flags_are_written_only_where_they_are_set(zego: Recorder, vendor: Vendor) -> None:
    assert "&IsTest=true&" in delete_url(zego, vendor, ["1"], is_test=True)
    assert "&IsTest=false&" in delete_url(zego, vendor, ["1"], is_test=False)
    assert ("&ClearCache=true&" in delete_url(zego, vendor, ["1"], clear_cache=True)) == (vendor is Vendor.WANGSU)
    assert "ClearCache" not in delete_url(zego, vendor, ["1"])


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@pytest.mark.parametrize(
    ("vendor", "query", "sent"),
    [
        ("Tencent", Query(1), "PageNumber=0 PageSize=1"),
        ("Tencent", Query(1000, page=4), "PageNumber=4 PageSize=1000"),
        ("Tencent", Query(5000, start=moment(0)), "StartTime=0 PageNumber=0 PageSize=5000"),
        ("Tencent", Query(9, moment(5), moment(5)), "StartTime=5 EndTime=5 PageNumber=0 PageSize=9"),
        ("Tencent", Query(9, moment(5.9), moment(7.000001)), "StartTime=5 EndTime=8 PageNumber=0 PageSize=9"),
        ("Ws", Query(1), "MaxKeys=1"),
        ("Huawei", Query(1000, marker="é/x"), "MaxKeys=1000 Marker=é/x"),
    ],
    ids=str,
)
def test_what_a_listing_is_asked(vendor: str, query: Query, sent: str) -> None:
    parameters = search_parameters(Vendor(vendor), query)
    assert " ".join(f"{name}={value}" for name, value in parameters) == f"Vendor={vendor} {sent}"
