from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.listing import Query
from service.core.model import Vendor
from service.zego.request_url import (
    build_url,
    common_parameters,
    delete_parameters,
    search_parameters,
    url_cost,
    url_overhead,
)
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


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        (Query(1), ["PageNumber=0", "PageSize=1"]),
        (Query(1000, page=4), ["PageNumber=4", "PageSize=1000"]),
        (
            Query(10, start=moment(5), end=moment(5), prefix="é" * 10),
            ["StartTime=5", "EndTime=5", "PageNumber=0", "PageSize=10", f"NamePrefix={'é' * 10}"],
        ),
        (
            Query(10, start=moment(5.9), end=moment(7.000001)),
            ["StartTime=5", "EndTime=8", "PageNumber=0", "PageSize=10"],
        ),
        (Query(10, start=moment(0)), ["StartTime=0", "PageNumber=0", "PageSize=10"]),
        (
            Query(2, file_ids=("1", "2"), stream_ids=("a&b",)),
            ["PageNumber=0", "PageSize=2", "FileId[]=1", "FileId[]=2", "StreamId[]=a&b"],
        ),
    ],
    ids=str,
)
def test_what_tencents_listing_is_asked(query: Query, sent: list[str]) -> None:
    parameters = search_parameters(Vendor.TENCENT, query)
    assert [f"{name}={value}" for name, value in parameters] == ["Vendor=Tencent", *sent]


@pytest.mark.parametrize("vendor", [Vendor.WANGSU, Vendor.HUAWEI])
def test_what_the_others_listings_are_asked(vendor: Vendor) -> None:
    assert search_parameters(vendor, Query(1)) == [("Vendor", vendor.value), ("MaxKeys", "1")]
    asked = search_parameters(vendor, Query(1000, marker="é" * 500, prefix="x/"))
    assert asked == [("Vendor", vendor.value), ("MaxKeys", "1000"), ("Marker", "é" * 500), ("NamePrefix", "x/")]


TEN = tuple("abcdefghij")


@pytest.mark.parametrize(
    ("vendor", "query"),
    [
        (Vendor.TENCENT, Query(0)),
        (Vendor.TENCENT, Query(5001)),
        (Vendor.TENCENT, Query(1000, page=5)),
        (Vendor.TENCENT, Query(10, page=-1)),
        (Vendor.TENCENT, Query(10, marker="m")),
        (Vendor.TENCENT, Query(10, prefix="é" * 10 + "x")),
        (Vendor.TENCENT, Query(10, prefix="\ud800")),
        (Vendor.TENCENT, Query(10, file_ids=(*TEN, "k"))),
        (Vendor.TENCENT, Query(10, file_ids=("a", "a"))),
        (Vendor.TENCENT, Query(10, file_ids=("",))),
        (Vendor.TENCENT, Query(10, stream_ids=(*TEN, "k"))),
        (Vendor.TENCENT, Query(10, stream_ids=("a", "a"))),
        (Vendor.TENCENT, Query(10, stream_ids=("",))),
        (Vendor.TENCENT, Query(10, start=moment(6), end=moment(5))),
        (Vendor.TENCENT, Query(10, start=moment(-1))),
        (Vendor.TENCENT, Query(10, end=moment(-1))),
        (Vendor.WANGSU, Query(0)),
        (Vendor.WANGSU, Query(1001)),
        (Vendor.WANGSU, Query(10, page=1)),
        (Vendor.WANGSU, Query(10, start=moment(5))),
        (Vendor.HUAWEI, Query(10, end=moment(5))),
        (Vendor.HUAWEI, Query(10, file_ids=("a",))),
        (Vendor.HUAWEI, Query(10, stream_ids=("a",))),
        (Vendor.HUAWEI, Query(10, prefix="x" * 21)),
    ],
    ids=ascii,
)
def test_a_question_that_zego_takes_of_nobody_is_the_callers_mistake(vendor: Vendor, query: Query) -> None:
    with pytest.raises(ValueError, match=r"SearchMedia takes|SearchMedia reaches|surrogates"):
        search_parameters(vendor, query)


@pytest.mark.parametrize("page", range(3))
def test_ten_ids_and_the_5000th_file_can_be_asked_for(page: int) -> None:
    size = 5000 // (page + 1)
    asked = search_parameters(Vendor.TENCENT, Query(size, page=page, file_ids=TEN, stream_ids=TEN))
    assert len(asked) == 23
