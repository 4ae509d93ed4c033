from __future__ import annotations

import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import pytest

from service.model import Vendor
from service.sandbox import Call
from service.sandbox.request import Code
from service.zego.signature import api_signature
from tests.faults import FaultySandbox, answer_code, answer_html, answer_late, drop_before

if TYPE_CHECKING:
    from collections.abc import Iterator

APP, SECRET, OTHER = "1234567890", "server-secret", "42"
NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sandbox(clock: Clock) -> Iterator[FaultySandbox]:
    apps = {APP: SECRET, OTHER: SECRET}
    with FaultySandbox(apps, clock.now, monotonic=clock.monotonic) as opened:
        yield opened


NONCES = iter(f"{number:016x}" for number in range(10**9))


def get(sandbox: FaultySandbox, target: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(sandbox.url).netloc, timeout=10)
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def target_of(changes: dict[str, object], *, secret: str = SECRET) -> str:
    fields: dict[str, Any] = {
        "Action": "DeleteMedia",
        "AppId": APP,
        "SignatureNonce": next(NONCES),
        "Timestamp": str(int(NOW.timestamp())),
        "SignatureVersion": "2.0",
        "Vendor": "Tencent",
        "FileId[]": ["a"],
    } | changes
    signature = api_signature(fields["AppId"], fields["SignatureNonce"], secret, fields["Timestamp"])
    fields = {"Signature": signature} | fields
    return "/?" + urlencode({key: value for key, value in fields.items() if value is not ...}, doseq=True)


def ask(sandbox: FaultySandbox, **changes: object) -> dict[str, Any]:
    status, body = get(sandbox, target_of({key.replace("FileId", "FileId[]"): value for key, value in changes.items()}))
    assert status == 200
    answer: dict[str, Any] = json.loads(body)
    return answer


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, Code.DONE),
        ({"AppId": "abc"}, Code.APP_ID_FORMAT),
        ({"AppId": "999"}, Code.APP_UNKNOWN),
        ({"Timestamp": ""}, Code.TIMESTAMP_MISSING),
        ({"Timestamp": "1785585600000"}, Code.TIMESTAMP_FORMAT),
        ({"Timestamp": str(int(NOW.timestamp()) + 600)}, Code.DONE),
        ({"Timestamp": str(int(NOW.timestamp()) + 601)}, Code.SIGNATURE_EXPIRED),
        ({"SignatureNonce": ""}, Code.NONCE_MISSING),
        ({"SignatureNonce": "123456"}, Code.SIGNATURE_WRONG),
        ({"Signature": ...}, Code.SIGNATURE_MISSING),
        ({"Signature": "0" * 32}, Code.SIGNATURE_WRONG),
        ({"SignatureVersion": ...}, Code.VERSION_MISSING),
        ({"SignatureVersion": "1.0"}, Code.VERSION_UNKNOWN),
        ({"Action": ...}, Code.ACTION_MISSING),
        ({"Action": "DeleteAll"}, Code.ACTION_UNKNOWN),
        ({"Vendor": ...}, Code.BAD_PARAMETER),
        ({"Vendor": ["Tencent", "Ws"]}, Code.BAD_PARAMETER),
        ({"FileId": ...}, Code.BAD_PARAMETER),
        ({"FileId": [f"f{number}" for number in range(100)]}, Code.DONE),
        ({"FileId": [f"f{number}" for number in range(101)]}, Code.BAD_PARAMETER),
        ({"FileId": ["a", ""]}, Code.BAD_PARAMETER),
        ({"FileId": ["a", "a"]}, Code.BAD_PARAMETER),
        ({"IsTest": "True"}, Code.BAD_PARAMETER),
        ({"ClearCache": "true"}, Code.BAD_PARAMETER),
        ({"ClearCache": "true", "Vendor": "Ws"}, Code.DONE),
        ({"Colour": "red"}, Code.BAD_PARAMETER),
        ({"StreamId[]": ["s"]}, Code.BAD_PARAMETER),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_the_checks_of_every_call(sandbox: FaultySandbox, changes: dict[str, object], code: Code) -> None:
    sandbox.add_file(APP, Vendor.TENCENT, "a")
    assert ask(sandbox, **changes)["Code"] == code
    assert sandbox.calls[-1].code == code
    assert sandbox.calls[-1].acted == (code == Code.DONE)


TIME = str(int(NOW.timestamp()))
LATER = str(int(NOW.timestamp()) + 1)
GOOD_SEARCHES: list[dict[str, Any]] = [
    {},
    {"StartTime": TIME, "EndTime": TIME},
    {"PageSize": "5000"},
    {"PageSize": "1000", "PageNumber": "4"},
    {"PageNumber": "499"},
    {"Vendor": "Ws"},
    {"Vendor": "Huawei", "Marker": "", "MaxKeys": "1000"},
]
BAD_SEARCHES: list[dict[str, Any]] = [
    *({"StartTime": value} for value in ("", "-1", "1785585600.5", "1785585600000", "٣", [TIME, TIME])),
    {"StartTime": LATER, "EndTime": TIME},
    *({"PageSize": value} for value in ("0", "5001")),
    *({"PageNumber": value} for value in ("-1", "x", "500")),
    {"PageSize": "1000", "PageNumber": "5"},
    *({name: "1"} for name in ("Marker", "MaxKeys", "ClearCache", "NamePrefix", "StreamId[]", "FileId")),
    *({"Vendor": "Huawei", "MaxKeys": value} for value in ("0", "1001")),
    *({"Vendor": "Ws", name: "1"} for name in ("PageSize", "StartTime", "EndTime", "NamePrefix", "FileId")),
]


@pytest.mark.parametrize("changes", GOOD_SEARCHES + BAD_SEARCHES, ids=lambda value: repr(value)[:60])
def test_the_checks_of_the_listing(sandbox: FaultySandbox, changes: dict[str, object]) -> None:
    answer = ask(sandbox, **({"Action": "SearchMedia", "FileId": ...} | changes))
    assert answer["Code"] == (Code.DONE if changes in GOOD_SEARCHES else Code.BAD_PARAMETER)
    assert bool(answer["Data"]) == (changes in GOOD_SEARCHES)
    assert not sandbox.calls[-1].acted


def test_a_nonce_works_once_per_app(sandbox: FaultySandbox) -> None:
    nonce = "0123456789abcdef"
    assert ask(sandbox, SignatureNonce=nonce)["Code"] == 0
    assert ask(sandbox, SignatureNonce=nonce)["Code"] == Code.SIGNATURE_WRONG
    assert ask(sandbox, SignatureNonce=nonce, AppId=OTHER)["Code"] == 0


def test_long_urls_and_other_paths_get_the_page_of_a_front_end(sandbox: FaultySandbox) -> None:
    start = target_of({})
    assert get(sandbox, start + "x" * (8192 - len(start)))[0] == 200
    assert get(sandbox, start + "x" * (8193 - len(start)))[0] == 414
    assert get(sandbox, "/other" + start)[0] == 404


def test_at_most_20_calls_of_an_app_in_any_second(sandbox: FaultySandbox, clock: Clock) -> None:
    def codes(count: int, app_id: str = APP) -> list[int]:
        return [ask(sandbox, AppId=app_id)["Code"] for _ in range(count)]

    assert codes(10) == [0] * 10
    clock.seconds = 0.75
    assert codes(11) == [0] * 10 + [Code.TOO_FREQUENT]
    assert codes(1, OTHER) == [0]
    assert (sandbox.max_calls_in_any_second(), sandbox.max_calls_in_any_second(OTHER)) == (21, 1)
    clock.seconds = 1.0
    assert codes(9) == [0] * 9
    assert codes(1) == [Code.TOO_FREQUENT]
    assert not sandbox.calls[-1].acted


def test_files_belong_to_an_app_and_a_vendor_which_says_not_found_in_its_own_words(sandbox: FaultySandbox) -> None:
    sandbox.add_file(APP, "Tencent", "a", size_bytes=5, stream_id="s")
    sandbox.add_file(APP, "Huawei", "a")
    assert ask(sandbox, AppId=OTHER)["Data"]["Deleted"] == []
    assert ask(sandbox, FileId=["b", "a"])["Data"]["Deleted"] == ["a"]
    assert sandbox.files(APP, "Tencent") == {}
    assert set(sandbox.files(APP, "Huawei")) == {"a"}
    codes = {vendor: ask(sandbox, Vendor=vendor, FileId=["b"])["Data"]["Errors"][0]["Code"] for vendor in Vendor}
    assert codes == {Vendor.TENCENT: "ResourceNotFound", Vendor.WANGSU: "612", Vendor.HUAWEI: "NoSuchKey"}


def test_trouble_with_single_files(sandbox: FaultySandbox) -> None:
    for file_id in "abcd":
        sandbox.add_file(APP, Vendor.TENCENT, file_id)
    sandbox.fail_file("a", "InternalError", "try again", times=1)
    sandbox.omit_file("b")
    sandbox.omit_file("c", acts=True)
    data = ask(sandbox, FileId=["a", "b", "c", "d"])["Data"]
    assert data["Deleted"] == ["d"]
    assert [(error["Key"], error["Code"], error["Message"]) for error in data["Errors"]] == [
        ("a", "InternalError", "try again")
    ]
    assert set(sandbox.files(APP, Vendor.TENCENT)) == {"a", "b"}
    sandbox.heal("b")
    assert ask(sandbox, FileId=["a", "b"])["Data"]["Deleted"] == ["a", "b"]


def test_a_poisonous_id_fails_the_whole_call(sandbox: FaultySandbox) -> None:
    sandbox.add_file(APP, Vendor.TENCENT, "a")
    sandbox.poison("x", 1000)
    assert ask(sandbox, FileId=["a", "x"])["Code"] == 1000
    assert set(sandbox.files(APP, Vendor.TENCENT)) == {"a"}
    assert not sandbox.calls[-1].acted
    sandbox.heal("x")
    assert ask(sandbox, FileId=["a", "x"])["Data"]["Deleted"] == ["a"]


def test_faults_of_the_next_calls_come_before_standing_ones_and_end(sandbox: FaultySandbox) -> None:
    sandbox.always(answer_code(4, app_id=APP, vendor=Vendor.HUAWEI), answer_code(3, app_id=OTHER))
    sandbox.next(answer_code(2), answer_code(1000))
    assert ask(sandbox, Signature="0" * 32)["Code"] == Code.SIGNATURE_WRONG, "it meets no fault"
    assert [ask(sandbox)["Code"] for _ in range(3)] == [2, 1000, 0]
    assert [ask(sandbox, Vendor="Huawei")["Code"] for _ in range(2)] == [4, 4]
    assert ask(sandbox, AppId=OTHER)["Code"] == 3
    sandbox.end_faults()
    assert ask(sandbox, AppId=OTHER)["Code"] == 0


def test_a_hidden_answer_is_recorded_as_none(sandbox: FaultySandbox) -> None:
    sandbox.add_file(APP, Vendor.TENCENT, "a")
    sandbox.next(answer_html(502, acts=True), drop_before())
    assert get(sandbox, target_of({}))[0] == 502
    with pytest.raises(ConnectionError):
        get(sandbox, target_of({}))
    assert [(call.code, call.acted) for call in sandbox.calls] == [(None, True), (None, False)]
    assert sandbox.files(APP, Vendor.TENCENT) == {}


def test_the_hook_sees_each_call_before_and_after_the_work(sandbox: FaultySandbox) -> None:
    sandbox.add_file(APP, Vendor.TENCENT, "a")
    seen: list[tuple[str, bool, int]] = []

    def look(call: Call) -> None:
        seen.append((call.stage, call.acted, len(sandbox.files(APP, Vendor.TENCENT))))

    sandbox.on_request = look
    ask(sandbox)
    assert seen == [("arrived", False, 1), ("done", True, 0)]


def test_closing_ends_waiting_answers_and_open_connections(clock: Clock) -> None:
    arrived = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        with FaultySandbox({APP: SECRET}, clock.now) as sandbox:
            sandbox.next(answer_late(60))
            sandbox.on_request = lambda call: arrived.set() if call.stage == "done" else None
            waiting = pool.submit(get, sandbox, target_of({}))
            assert arrived.wait(10)
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            waiting.result(10)
        with pytest.raises(ConnectionRefusedError):
            get(sandbox, "/")


def test_latency_delays_every_answer_and_calls_do_not_wait_for_each_other(sandbox: FaultySandbox) -> None:
    sandbox.latency_s = 0.2
    started = time.monotonic()
    with ThreadPoolExecutor(10) as pool:
        codes = list(pool.map(lambda _: ask(sandbox)["Code"], range(10)))
    assert codes == [0] * 10
    assert 0.2 <= time.monotonic() - started < 1.5
