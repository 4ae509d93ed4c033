from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from service.model import Announcement, Vendor, Verdict
from service.sandbox.callbacks import Shape, callback_body, encode_body, sign_fields
from service.zego.callback import NoFile, parse_callback, read_envelope
from service.zego.signature import parse_timestamp, verify_callback
from tests.other_events import cloud_recording_fields, merge_fields, transcoding_fields

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def is_no_file(parsed: object, verdict: Verdict) -> bool:
    return isinstance(parsed, NoFile) and parsed.verdict is verdict


def body(vendor: Vendor, shape: Shape = "json", **extra: Any) -> tuple[bytes, str]:
    return callback_body(
        vendor,
        app_id="42",
        secret="s",
        file_id="1234",
        stream="room 1",
        began=NOW - HOUR,
        ended=NOW,
        now=NOW,
        shape=shape,
        **extra,
    )


@pytest.mark.parametrize("shape", get_args(Shape))
@pytest.mark.parametrize("vendor", Vendor)
def test_every_shape_of_every_vendor_is_signed_and_understood(vendor: Vendor, shape: Shape) -> None:
    envelope = read_envelope(*body(vendor, shape, nonce="777"))
    assert verify_callback(["s"], envelope.signature, envelope.timestamp, envelope.nonce)
    assert (parse_timestamp(envelope.timestamp), envelope.nonce) == (NOW, "777")
    assert parse_callback(envelope) == Announcement(
        app_id="42",
        vendor=vendor,
        file_id="1234",
        stream_id="room 1",
        event="record",
        began_at=NOW - HOUR,
        ended_at=NOW,
        duration_s=3600.0,
        size_bytes=1_000_000 if vendor is Vendor.HUAWEI else None,
        replay_url="https://media.invalid/1234",
    )


def test_extra_fields_replace_add_and_remove() -> None:
    fields = read_envelope(*body(Vendor.WANGSU, stream_alias="x", colour="red", replay_url=None)).fields
    assert (fields["stream_alias"], fields["colour"]) == ("x", "red")
    assert "replay_url" not in fields


def test_other_events_and_forged_signatures_can_be_made() -> None:
    envelope = read_envelope(*body(Vendor.TENCENT, event="snapshot", signature="0" * 40))
    assert not verify_callback(["s"], envelope.signature, envelope.timestamp, envelope.nonce)
    assert is_no_file(parse_callback(envelope), Verdict.IGNORED)


def parse(fields: dict[str, Any]) -> object:
    return parse_callback(read_envelope(*encode_body(sign_fields(fields, secret="s", now=NOW))))


def test_other_events_are_written_from_their_fields() -> None:
    callback = parse(merge_fields("42", "https://media.invalid/9", file_id="9"))
    assert isinstance(callback, Announcement)
    assert callback.file_id == "9"
    assert is_no_file(parse(merge_fields("42", "https://media.invalid/9")), Verdict.IGNORED)
    assert is_no_file(parse(transcoding_fields("42", "9")), Verdict.IGNORED)
    assert is_no_file(parse(cloud_recording_fields("42")), Verdict.MISDIRECTED)
