from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.model import Vendor
from service.zego.request_url import build_url, common_parameters, delete_parameters, url_cost, url_overhead
from service.zego.signature import api_signature

API_URL = "https://rtc-api.zego.im/"


def delete_url(vendor: Vendor, file_ids: list[str], *, is_test: bool | None, clear_cache: bool) -> str:
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


def test_reserved_characters_are_escaped() -> None:
    url = build_url(API_URL, [("FileId[]", "a/b c+d&é")])
    assert url == "https://rtc-api.zego.im/?FileId%5B%5D=a%2Fb%20c%2Bd%26%C3%A9"


def test_the_common_parameters_are_those_of_the_docs() -> None:
    sent = dict(parse_qsl(urlsplit(delete_url(Vendor.HUAWEI, ["a/b"], is_test=None, clear_cache=True)).query))
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


@pytest.mark.parametrize(("is_test", "written"), [(True, "&IsTest=true&"), (False, "&IsTest=false&")])
def test_is_test_is_written_only_where_it_is_set(*, is_test: bool, written: str) -> None:
    assert written in delete_url(Vendor.TENCENT, ["1"], is_test=is_test, clear_cache=False)


@pytest.mark.parametrize("vendor", Vendor)
def test_only_wangsu_is_told_to_clear_its_cache(vendor: Vendor) -> None:
    told = "ClearCache=true" in delete_url(vendor, ["1"], is_test=None, clear_cache=True)
    assert told == (vendor is Vendor.WANGSU)
    assert "ClearCache" not in delete_url(vendor, ["1"], is_test=None, clear_cache=False)
