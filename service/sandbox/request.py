"""A call to the sandbox, read as strictly as ZEGO may read it.

docs/protocol.md, "Calling ZEGO's server API", "DeleteMedia" and "SearchMedia". Where nobody knows how lenient ZEGO is,
this is strict, so that a mistake of ours shows here and not in production. What this service never asks for
(renditions, filters by name, stream or file) is refused as unknown.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Final
from urllib.parse import parse_qsl, urlencode

from service.model import Vendor
from service.zego.signature import api_signature, parse_timestamp

MAX_FILES: Final = 100
TENCENT_LIMIT: Final = 5000
MAX_KEYS: Final = 1000

_COMMON: Final = frozenset(
    {"Action", "AppId", "SignatureNonce", "Timestamp", "Signature", "SignatureVersion", "IsTest", "Vendor"}
)
_FILE_IDS: Final = "FileId[]"
_KEYS_PAGE: Final = frozenset({"Marker", "MaxKeys"})
_KNOWN: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("DeleteMedia", Vendor.TENCENT): frozenset({_FILE_IDS}),
    ("DeleteMedia", Vendor.WANGSU): frozenset({_FILE_IDS, "ClearCache"}),
    ("DeleteMedia", Vendor.HUAWEI): frozenset({_FILE_IDS}),
    ("SearchMedia", Vendor.TENCENT): frozenset({"StartTime", "EndTime", "PageNumber", "PageSize"}),
    ("SearchMedia", Vendor.WANGSU): _KEYS_PAGE,
    ("SearchMedia", Vendor.HUAWEI): _KEYS_PAGE,
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


_REQUIRED: Final = {
    "Timestamp": Code.TIMESTAMP_MISSING,
    "SignatureNonce": Code.NONCE_MISSING,
    "Signature": Code.SIGNATURE_MISSING,
    "SignatureVersion": Code.VERSION_MISSING,
}


class RefusedError(Exception):
    """The call is answered with a code and does nothing."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Request:
    """The parameters of one call; `single` holds the last value of each but the file ids."""

    single: Mapping[str, str]
    file_ids: tuple[str, ...]
    repeated: frozenset[str]

    @property
    def page(self) -> str:
        """What identifies a page of a listing: all parameters but the common ones, in order of their names."""
        return urlencode(sorted((name, value) for name, value in self.single.items() if name not in _COMMON))

    def get(self, name: str) -> str:
        """Return the value of a parameter, "" where it is missing."""
        return self.single.get(name, "")


@dataclass(frozen=True, slots=True)
class Search:
    """A page of a listing: `size` files from the `first` on, or beyond the marker.

    Only files created from `start` on and before `before` count.
    """

    first: int
    size: int
    start: datetime | None = None
    before: datetime | None = None
    marker: str = ""


def read_request(text: str) -> Request:
    """Read a query string; whatever it holds, it can be read."""
    pairs = parse_qsl(text, keep_blank_values=True, errors="replace")
    single = [(key, value) for key, value in pairs if key != _FILE_IDS]
    counts = Counter(key for key, _ in single)
    return Request(
        dict(single),
        tuple(value for key, value in pairs if key == _FILE_IDS),
        frozenset(key for key, count in counts.items() if count > 1),
    )


def authenticate(request: Request, apps: Mapping[str, str], nonces: set[tuple[str, str]], now: datetime) -> None:
    """Check who calls; `apps` maps app ids to server secrets, `nonces` are those seen before, and grow.

    Raises:
        RefusedError: app, time, nonce, version or signature are not right.
    """
    app_id, nonce, timestamp = request.get("AppId"), request.get("SignatureNonce"), request.get("Timestamp")
    _require(_WHOLE.fullmatch(app_id), Code.APP_ID_FORMAT, "AppId format error")
    _require(app_id in apps, Code.APP_UNKNOWN, "no ServerSecret for this AppId")
    for name, code in _REQUIRED.items():
        _require(request.get(name), code, f"{name} is empty")
    sent_at = parse_timestamp(timestamp)
    if sent_at is None:
        raise RefusedError(Code.TIMESTAMP_FORMAT, "Timestamp format error")
    _require(abs(now - sent_at) <= _TOLERANCE, Code.SIGNATURE_EXPIRED, "signature expired")
    _require(request.get("SignatureVersion") == "2.0", Code.VERSION_UNKNOWN, "SignatureVersion is not supported")
    right = api_signature(app_id, nonce, apps[app_id], timestamp)
    _require(request.get("Signature") == right, Code.SIGNATURE_WRONG, "signature error")
    _require(_NONCE.fullmatch(nonce), Code.SIGNATURE_WRONG, "SignatureNonce is not 16 hex digits")
    _require((app_id, nonce) not in nonces, Code.SIGNATURE_WRONG, "SignatureNonce was used before")
    nonces.add((app_id, nonce))


def check_action(request: Request, *, knows_search: bool) -> None:
    """Check what is asked for.

    Raises:
        RefusedError: the action is unknown, or one of its parameters is missing, unknown, repeated or wrong.
    """
    action, vendor = request.get("Action"), request.get("Vendor")
    _require(action, Code.ACTION_MISSING, "Action is empty")
    offered = action == "DeleteMedia" or (action == "SearchMedia" and knows_search)
    _require(offered, Code.ACTION_UNKNOWN, "Action is not supported")
    _require_parameter(not request.repeated, f"given twice: {', '.join(sorted(request.repeated))}")
    _require_parameter(vendor in set(Vendor), "Vendor is not one of Tencent, Ws, Huawei")
    names = set(request.single) | ({_FILE_IDS} if request.file_ids else set())
    unknown = names - _COMMON - _KNOWN[action, vendor]
    _require_parameter(not unknown, f"unknown for {vendor}: {', '.join(sorted(unknown))}")
    for flag in ("IsTest", "ClearCache"):
        right = request.single.get(flag, "true") in ("true", "false")
        _require_parameter(right, f"{flag} is neither true nor false")
    if action == "DeleteMedia":
        ids = request.file_ids
        _require_parameter(1 <= len(ids) <= MAX_FILES, f"{len(ids)} file ids, not 1 to {MAX_FILES}")
        _require_parameter(all(ids) and len(set(ids)) == len(ids), "a file id that is empty or given twice")


def read_search(request: Request) -> Search:
    """Read the parameters of SearchMedia, whose names have been checked.

    Raises:
        RefusedError: one of them is wrong.
    """
    if request.get("Vendor") != Vendor.TENCENT:
        size = _whole(request, "MaxKeys", MAX_KEYS)
        _require_parameter(1 <= size <= MAX_KEYS, "MaxKeys is not 1 to 1000")
        return Search(0, size, marker=request.get("Marker"))
    number, size = _whole(request, "PageNumber", 0), _whole(request, "PageSize", 10)
    _require_parameter(size >= 1 and (number + 1) * size <= TENCENT_LIMIT, "paging is out of range")
    start, end = _moment(request, "StartTime"), _moment(request, "EndTime")
    _require_parameter(start is None or end is None or start <= end, "EndTime is before StartTime")
    # Whether a window holds the second of its EndTime is not documented; here it does.
    return Search(number * size, size, start, None if end is None else end + timedelta(seconds=1))


def _moment(request: Request, name: str) -> datetime | None:
    return datetime.fromtimestamp(_whole(request, name, 0), UTC) if name in request.single else None


def _whole(request: Request, name: str, default: int) -> int:
    text = request.single.get(name, str(default))
    _require_parameter(_WHOLE.fullmatch(text), f"{name} is not a whole number")
    return int(text)


def _require_parameter(condition: object, message: str) -> None:
    _require(condition, Code.BAD_PARAMETER, message)


def _require(condition: object, code: Code, message: str) -> None:
    if not condition:
        raise RefusedError(code, message)
