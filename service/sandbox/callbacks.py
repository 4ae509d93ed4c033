"""Callbacks as ZEGO would send them, signed, in every shape that is known (docs/protocol.md, "The callback")."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, TypeAlias
from urllib.parse import quote, quote_plus, urlencode

from service.model import Vendor
from service.zego.signature import callback_signature

Shape: TypeAlias = Literal[
    "json", "numbers", "wrong_type", "percent", "percent_plus", "form", "extra_object", "extra_percent"
]
"""How a body is written.

`json` is the default of ZEGO; `numbers` has numbers where the docs have strings; `wrong_type` is JSON sent as a form;
`percent` and `percent_plus` are JSON encoded as a whole, with a space as `%20` or `+`; `form` is form encoding;
`extra_object` and `extra_percent` have `extra_params` as an object, or percent-encoded on its own.
"""

_JSON_TYPE = "application/json"
_FORM_TYPE = "application/x-www-form-urlencoded"
_NUMBERS = frozenset({"appid", "begin_time", "end_time", "timestamp", "nonce", "FileID"})


def callback_body(  # noqa: PLR0913 (a callback's facts, each by its own name)
    vendor: Vendor | str,
    *,
    app_id: str,
    secret: str,
    file_id: str,
    stream: str,
    began: datetime,
    ended: datetime,
    now: datetime,
    shape: Shape = "json",
    nonce: str | None = None,
    size_bytes: int = 1_000_000,
    **extra: Any,  # noqa: ANN401 (fields of any type, odd ones too)
) -> tuple[bytes, str]:
    """Return body and content type of a signed `record` callback sent at `now`.

    `extra` adds or replaces top-level fields (None leaves a field out). Only Huawei's callbacks carry a size.
    """
    duration_s = (ended - began).total_seconds()
    by_vendor: dict[str, dict[str, Any]] = {
        Vendor.TENCENT: {"TaskId": f"task-{file_id}", "FileID": file_id, "Duration": duration_s},
        Vendor.WANGSU: {"PersistentId": file_id, "Duration": duration_s},
        Vendor.HUAWEI: {"ObsObject": file_id, "Duration": int(duration_s), "FileSize": size_bytes},
    }
    fields: dict[str, Any] = {
        "event": "record",
        "appid": app_id,
        "stream_alias": stream,
        "replay_url": f"https://media.invalid/{quote(file_id)}",
        "begin_time": str(int(began.timestamp())),
        "end_time": str(int(ended.timestamp())),
        "extra_params": by_vendor[vendor],
    }
    kept = {name: value for name, value in (fields | extra).items() if value is not None}
    return encode_body(sign_fields(kept, secret=secret, now=now, nonce=nonce), shape)


def sign_fields(fields: Mapping[str, Any], *, secret: str, now: datetime, nonce: str | None = None) -> dict[str, Any]:
    """Return the fields with timestamp, nonce (six random digits unless given) and signature; given ones stay."""
    timestamp = str(int(now.timestamp()))
    chosen = nonce if nonce is not None else str(100_000 + secrets.randbelow(900_000))
    signature = callback_signature(secret, timestamp, chosen)
    return {"timestamp": timestamp, "nonce": chosen, "signature": signature} | dict(fields)


def encode_body(fields: Mapping[str, Any], shape: Shape = "json") -> tuple[bytes, str]:
    """Return body and content type of these fields in one shape; `extra_params` may be given as an object."""
    written, extra = dict(fields), fields.get("extra_params")
    if shape == "numbers":
        written = _with_numbers(written)
        extra = _with_numbers(extra) if isinstance(extra, dict) else extra
    if isinstance(extra, dict) and shape != "extra_object":
        text = json.dumps(extra, ensure_ascii=False)
        written["extra_params"] = quote(text, safe="") if shape == "extra_percent" else text
    if shape == "form":
        return urlencode(written).encode(), _FORM_TYPE
    text = json.dumps(written, ensure_ascii=False)
    if shape == "percent":
        text = quote(text, safe="")
    elif shape == "percent_plus":
        text = quote_plus(text)
    return text.encode(), _FORM_TYPE if shape == "wrong_type" else _JSON_TYPE


def _with_numbers(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: int(value) if key in _NUMBERS and isinstance(value, str) and value.isdecimal() else value
        for key, value in fields.items()
    }
