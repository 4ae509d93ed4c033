from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.zego.messages import (
    DeleteAnswer,
    FileError,
    HttpAnswer,
    Transport,
    read_delete_answer,
    read_retry_after,
)

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
ENTRY = {"Code": "ResourceNotFound", "Message": "gone", "Key": "c", "RequestId": "cdn-1"}
DATA = {"Deleted": ["5285890784273533167", "b"], "Errors": [ENTRY]}
ERROR = FileError("c", "ResourceNotFound", "gone", "cdn-1")


def read(text: str, status: int = 200) -> DeleteAnswer:
    return read_delete_answer(HttpAnswer(Transport.ANSWERED, status=status, text=text), NOW)


def read_fields(**fields: object) -> DeleteAnswer:
    return read(json.dumps({"Code": 0, "Message": "success", "RequestId": "r1"} | fields))


@pytest.mark.parametrize("data", [DATA, json.dumps(DATA)], ids=["object", "string"])
def test_data_is_read_in_both_spellings(data: object) -> None:
    answer = read_fields(Data=data)
    assert (answer.code, answer.message, answer.request_id, answer.unreadable) == (0, "success", "r1", False)
    assert answer.deleted == {"5285890784273533167", "b"}
    assert answer.errors == (ERROR,)


def test_ids_and_codes_that_come_as_numbers_keep_every_digit() -> None:
    answer = read(
        '{"Code": 0, "RequestId": 7153210987654321098, "Data": {"Deleted": [5285890784273533167],'
        ' "Errors": [{"Code": 404, "Key": 5285890784273533169}]}}'
    )
    assert answer.request_id == "7153210987654321098"
    assert answer.deleted == {"5285890784273533167"}
    assert answer.errors == (FileError("5285890784273533169", "404", "", ""),)


@pytest.mark.parametrize("code", [True, False, None, "", "0x7", "7 ", 1.5, "٧", [0], {}, "9" * 5000], ids=str)
def test_any_other_code_is_unreadable(code: object) -> None:
    answer = read_fields(Code=code, Data=DATA)
    assert (answer.code, answer.unreadable, answer.deleted) == (None, True, frozenset())


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html><body>502</body></html>",
        '{"Code": 0, "Data": {"Deleted": ["a"',
        "[]",
        '"0"',
        "null",
        '{"Code": 0, "Code": 7}',
        '{"Code": NaN}',
        "[" * 200_000,
        "\ufffd\ufffd",
    ],
    ids=lambda body: ascii(body)[:30],
)
def test_what_is_no_answer_of_zego_is_unreadable(body: str) -> None:
    answer = read(body, 502)
    assert (answer.transport, answer.http_status) == (Transport.ANSWERED, 502)
    assert (answer.code, answer.unreadable, answer.deleted, answer.errors) == (None, True, frozenset(), ())


@pytest.mark.parametrize("data", ["{cut", [], 5, True, {"Deleted": "a"}, {"Errors": {}}, '{"Deleted": 1}'], ids=str)
def test_code_0_with_data_that_cannot_be_read_says_nothing_of_the_files(data: object) -> None:
    answer = read_fields(Data=data)
    assert (answer.code, answer.unreadable, answer.deleted, answer.errors) == (0, True, frozenset(), ())


@pytest.mark.parametrize("data", [None, "", {}, "{}", {"Deleted": None, "Errors": None}], ids=str)
def test_code_0_without_lists_is_readable_and_names_no_file(data: object) -> None:
    answer = read_fields(Data=data)
    assert (answer.code, answer.unreadable, answer.deleted, answer.errors) == (0, False, frozenset(), ())


def test_entries_that_name_no_file_are_ignored() -> None:
    answer = read_fields(
        Data={"Deleted": ["a", None, ["b"], True], "Errors": ["c", {"Code": "1"}, {"Key": ["d"]}, ENTRY]}
    )
    assert (answer.deleted, answer.errors, answer.unreadable) == (frozenset({"a"}), (ERROR,), False)


def test_texts_are_storable_and_bounded() -> None:
    answer = read_fields(Message="\x00\ud800 " + "x" * 5000, Data={"Errors": [{"Key": "a", "Message": "\x00" * 2000}]})
    assert answer.message.startswith("\ufffd\ufffd x")
    assert len(answer.message) == 1000
    assert answer.errors == (FileError("a", "", "\ufffd" * 1000, ""),)
    assert len(read("y" * 100_000).raw) == 65_536


@pytest.mark.parametrize("transport", [Transport.LOST, Transport.NOT_SENT])
def test_no_answer_is_not_an_unreadable_one(transport: Transport) -> None:
    http = HttpAnswer(transport, failure="timed out")
    assert read_delete_answer(http, NOW) == DeleteAnswer(transport, message="timed out")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("", None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("-5", None),
        ("soon", None),
        ("Sat, 01 Aug 2026 12:00:30 GMT", 30.0),
        ("Sat, 01 Aug 2026 14:00:30 +0200", 30.0),
        ("Sat, 01 Aug 2020 12:00:30 GMT", 0.0),
        ("Sat, 99 Aug 2026 12:00:30 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert read_retry_after(value, NOW) == seconds


@settings(max_examples=300, deadline=None)
@given(st.text(), st.text(), st.text())
def test_reading_never_raises(text: str, date: str, retry_after: str) -> None:
    http = HttpAnswer(Transport.ANSWERED, status=200, date=date, retry_after=retry_after, text=text)
    assert read_delete_answer(http, NOW).deleted == frozenset()
