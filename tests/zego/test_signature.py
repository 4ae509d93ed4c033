from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.zego.signature import api_signature, callback_signature, parse_timestamp, verify_callback

SECRET, TIMESTAMP, NONCE = "secret", "1470820198", "123412"
SIGNATURE = "5bd59fd62953a8059fb7eaba95720f66d19e4517"


def test_published_callback_vector() -> None:
    assert callback_signature(SECRET, TIMESTAMP, NONCE) == SIGNATURE
    assert verify_callback([SECRET], SIGNATURE, TIMESTAMP, NONCE)


def test_published_api_vector() -> None:
    signature = api_signature("12345", "4fd24687296dd9f3", "9193cc662a4c0ec135ec71fb57194b38", "1615186943")
    assert signature == "43e5cfcca828314675f91b001390566a"


def other_splits() -> list[tuple[str, str]]:
    digits = "".join(sorted([TIMESTAMP, NONCE]))
    halves = [(digits[:cut], digits[cut:]) for cut in range(len(digits) + 1)]
    pairs = {pair for first, second in halves for pair in ((first, second), (second, first))}
    same = {pair for pair in pairs if callback_signature(SECRET, *pair) == SIGNATURE}
    return sorted(same - {(TIMESTAMP, NONCE)})


def test_of_25_other_splits_of_the_digits_24_fail_and_the_last_is_years_old() -> None:
    splits = other_splits()
    assert len(splits) == 25
    accepted = [pair for pair in splits if verify_callback([SECRET], SIGNATURE, *pair)]
    assert accepted == [("1234121470", "820198")]
    assert parse_timestamp(accepted[0][0]) == datetime(2009, 2, 8, 19, 31, 10, tzinfo=UTC)


def test_every_configured_secret_counts_but_never_an_empty_one() -> None:
    assert verify_callback(["old", SECRET], SIGNATURE, TIMESTAMP, NONCE)
    assert verify_callback([SECRET, "new"], SIGNATURE.upper(), TIMESTAMP, NONCE)
    assert not verify_callback(["old", "new"], SIGNATURE, TIMESTAMP, NONCE)
    assert not verify_callback([], SIGNATURE, TIMESTAMP, NONCE)
    assert not verify_callback([""], callback_signature("", TIMESTAMP, NONCE), TIMESTAMP, NONCE)


@pytest.mark.parametrize(
    ("timestamp", "nonce"),
    [
        ("147082019", "123412"),
        ("14708201980", "123412"),
        ("1470820198\n", "123412"),
        ("١٤٧٠٨٢٠١٩٨", "123412"),
        ("1470820198", ""),
        ("1470820198", "1" * 21),
        ("1470820198", "12e412"),
        ("1470820198", "²34"),
    ],
)
def test_other_shapes_are_refused_even_when_signed_rightly(timestamp: str, nonce: str) -> None:
    assert not verify_callback([SECRET], callback_signature(SECRET, timestamp, nonce), timestamp, nonce)


@settings(deadline=None)
@given(st.text(), st.text(), st.text(), st.text())
@example("\ud800", "é" * 40, "\udfff", "9" * 5000)
@example("s", "a" * 41, "1" * 10, "1")
def test_verifying_never_raises_and_never_accepts_noise(
    secret: str, signature: str, timestamp: str, nonce: str
) -> None:
    assert not verify_callback([secret], signature, timestamp, nonce)


@pytest.mark.parametrize(
    "text", ["", "123456789", "12345678901", " 123456789", "+123456789", "12345.6789", "１２３４５６７８９０"]
)
def test_only_ten_ascii_digits_are_a_timestamp(text: str) -> None:
    assert parse_timestamp(text) is None
