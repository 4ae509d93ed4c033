from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.model import Vendor
from service.zego.client import (
    build_url,
    common_parameters,
    delete_parameters,
    search_parameters,
    url_cost,
    url_overhead,
)
from service.zego.messages import Query
from service.zego.signature import api_signature

API_URL = "https://rtc-api.zego.im/"


def delete_url(vendor: Vendor, file_ids: list[str], *, is_test: bool | None = None, clear_cache: bool = False) -> str:
    common = common_parameters(
        "DeleteMedia", "1234567890", "secret", nonce="0123456789abcdef", timestamp="1785585600", is_test=is_test
    )
    return build_url(API_URL, common + delete_parameters(vendor, file_ids, clear_cache=clear_cache))


@settings(deadline=None)
@given(
    vendor=st.sampled_from(Vendor),
    file_ids=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5),
    is_test=st.sampled_from([None, True, False]),
    clear_cache=st.booleans(),
)
def test_overhead_and_costs_add_up_to_the_bytes_of_the_url(
    vendor: Vendor, file_ids: list[str], *, is_test: bool | None, clear_cache: bool
) -> None:
    url = delete_url(vendor, file_ids, is_test=is_test, clear_cache=clear_cache)
    overhead = url_overhead(API_URL, "1234567890", vendor, is_test=is_test, clear_cache=clear_cache)
    assert len(url.encode()) == overhead + sum(map(url_cost, file_ids))
    sent = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    assert [value for key, value in sent if key == "FileId[]"] == file_ids


def test_the_parameters_are_those_of_the_docs() -> None:
    assert delete_url(Vendor.HUAWEI, ["a/b c+d&é"]).endswith("&FileId%5B%5D=a%2Fb%20c%2Bd%26%C3%A9")
    sent = dict(parse_qsl(urlsplit(delete_url(Vendor.HUAWEI, ["a/b"], clear_cache=True)).query))
    assert sent == {
        "Action": "DeleteMedia",
        "AppId": "1234567890",
        "SignatureNonce": "0123456789abcdef",
        "Timestamp": "1785585600",
        "Signature": api_signature("1234567890", "0123456789abcdef", "secret", "1785585600"),
        "SignatureVersion": "2.0",
        "Vendor": "Huawei",
        "FileId[]": "a/b",
    }


@pytest.mark.parametrize("vendor", Vendor)
def test_flags_are_written_only_where_they_are_set(vendor: Vendor) -> None:
    assert "&IsTest=true&" in delete_url(vendor, ["1"], is_test=True)
    assert "&IsTest=false&" in delete_url(vendor, ["1"], is_test=False)
    assert ("&ClearCache=true&" in delete_url(vendor, ["1"], clear_cache=True)) == (vendor is Vendor.WANGSU)
    assert "ClearCache" not in delete_url(vendor, ["1"])


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
