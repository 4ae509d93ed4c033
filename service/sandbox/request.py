"""A call to the sandbox, read as strictly as ZEGO may read it (docs/protocol.md, "Calling ZEGO's server API" and on).

Where nobody knows how lenient ZEGO is, this is strict, so that a mistake of ours shows here and not in production. What
this service never asks for (renditions, filters by name, stream or file) is refused as unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Final

from service.model import Vendor
from service.zego.messages import Query
from service.zego.signature import api_signature, parse_timestamp

FILE_IDS: Final = "FileId[]"
MAX_FILES: Final = 100
TENCENT_LIMIT: Final = 5000
MAX_KEYS: Final = 1000

COMMON: Final = frozenset(
    {"Action", "AppId", "SignatureNonce", "Timestamp", "Signature", "SignatureVersion", "IsTest", "Vendor"}
)
_KNOWN: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("DeleteMedia", Vendor.TENCENT): frozenset({FILE_IDS}),
    ("DeleteMedia", Vendor.WANGSU): frozenset({FILE_IDS, "ClearCache"}),
    ("DeleteMedia", Vendor.HUAWEI): frozenset({FILE_IDS}),
    ("SearchMedia", Vendor.TENCENT): frozenset({"StartTime", "EndTime", "PageNumber", "PageSize"}),
    ("SearchMedia", Vendor.WANGSU): frozenset({"Marker", "MaxKeys"}),
    ("SearchMedia", Vendor.HUAWEI): frozenset({"Marker", "MaxKeys"}),
}
"""What each call may carry beside the common parameters."""
_NONCE = re.compile("[0-9a-f]{16}")
_WHOLE = re.compile("[0-9]{1,10}")
_TOLERANCE: Final = timedelta(seconds=600)


class Code(IntEnum):
    """Top-level codes that the sandbox gives on its own."""

    DONE = 0
    BAD_PARAMETER = 2
    TOO_FREQUENT = 6
    APP_ID_FORMAT = 100000001
    TIMESTAMP_MISSING = 100000002
    TIMESTAMP_FORMAT = 100000003
    SIGNATURE_EXPIRED = 100000004
    SIGNATURE_WRONG = 100000005
    ACTION_MISSING = 100000006
    ACTION_UNKNOWN = 100000007
    NONCE_MISSING = 100000008
    SIGNATURE_MISSING = 100000009
    APP_UNKNOWN = 100000010
    VERSION_MISSING = 100000013
    VERSION_UNKNOWN = 100000014


class RefusedError(Exception):
    """The call is answered with a code and does nothing."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


def authenticate(asked: Mapping[str, str], apps: Mapping[str, str], now: datetime) -> None:
    """Check who calls; raises RefusedError. `apps` maps app ids to server secrets."""
    app_id, nonce, timestamp = (asked.get(name, "") for name in ("AppId", "SignatureNonce", "Timestamp"))
    _require(_WHOLE.fullmatch(app_id), Code.APP_ID_FORMAT, "AppId format error")
    _require(app_id in apps, Code.APP_UNKNOWN, "no ServerSecret for this AppId")
    _require(timestamp, Code.TIMESTAMP_MISSING, "Timestamp is empty")
    _require(nonce, Code.NONCE_MISSING, "SignatureNonce is empty")
    _require(asked.get("Signature"), Code.SIGNATURE_MISSING, "Signature is empty")
    _require(asked.get("SignatureVersion"), Code.VERSION_MISSING, "SignatureVersion is empty")
    _require(asked["SignatureVersion"] == "2.0", Code.VERSION_UNKNOWN, "SignatureVersion is not supported")
    sent_at = parse_timestamp(timestamp)
    if sent_at is None:
        raise RefusedError(Code.TIMESTAMP_FORMAT, "Timestamp format error")
    _require(abs(now - sent_at) <= _TOLERANCE, Code.SIGNATURE_EXPIRED, "signature expired")
    right = api_signature(app_id, nonce, apps[app_id], timestamp)
    _require(asked["Signature"] == right, Code.SIGNATURE_WRONG, "signature error")
    _require(_NONCE.fullmatch(nonce), Code.SIGNATURE_WRONG, "SignatureNonce is not 16 hex digits")


def check_action(parameters: Mapping[str, list[str]]) -> None:
    """Check what is asked for: its names, and the ids of DeleteMedia; raises RefusedError."""
    action, vendor = parameters.get("Action", [""])[-1], parameters.get("Vendor", [""])[-1]
    _require(action, Code.ACTION_MISSING, "Action is empty")
    _require(action in ("DeleteMedia", "SearchMedia"), Code.ACTION_UNKNOWN, "Action is not supported")
    repeated = sorted(name for name, values in parameters.items() if len(values) > 1 and name != FILE_IDS)
    _require_parameter(not repeated, f"given twice: {', '.join(repeated)}")
    _require_parameter(vendor in set(Vendor), "Vendor is not one of Tencent, Ws, Huawei")
    unknown = sorted(parameters.keys() - COMMON - _KNOWN[action, vendor])
    _require_parameter(not unknown, f"unknown for {vendor}: {', '.join(unknown)}")
    for flag in ("IsTest", "ClearCache"):
        right = parameters.get(flag, ["true"])[-1] in ("true", "false")
        _require_parameter(right, f"{flag} is neither true nor false")
    if action == "DeleteMedia":
        ids = parameters.get(FILE_IDS, [])
        _require_parameter(1 <= len(ids) <= MAX_FILES, f"{len(ids)} file ids, not 1 to {MAX_FILES}")
        _require_parameter(all(ids) and len(set(ids)) == len(ids), "a file id that is empty or given twice")


def read_query(asked: Mapping[str, str]) -> Query:
    """Read the parameters of SearchMedia, whose names have been checked; raises RefusedError."""
    if asked["Vendor"] != Vendor.TENCENT:
        size = _whole(asked, "MaxKeys", MAX_KEYS)
        _require_parameter(1 <= size <= MAX_KEYS, "MaxKeys is not 1 to 1000")
        return Query(size, marker=asked.get("Marker", ""))
    page, size = _whole(asked, "PageNumber", 0), _whole(asked, "PageSize", 10)
    _require_parameter(size >= 1 and (page + 1) * size <= TENCENT_LIMIT, "paging is out of range")
    start, end = (
        datetime.fromtimestamp(_whole(asked, name, 0), UTC) if name in asked else None
        for name in ("StartTime", "EndTime")
    )
    _require_parameter(start is None or end is None or start <= end, "EndTime is before StartTime")
    return Query(size, start, end, page)


def _whole(asked: Mapping[str, str], name: str, default: int) -> int:
    text = asked.get(name, str(default))
    _require_parameter(_WHOLE.fullmatch(text), f"{name} is not a whole number")
    return int(text)


def _require_parameter(condition: object, message: str) -> None:
    _require(condition, Code.BAD_PARAMETER, message)


def _require(condition: object, code: Code, message: str) -> None:
    if not condition:
        raise RefusedError(code, message)
