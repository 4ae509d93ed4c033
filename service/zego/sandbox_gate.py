"""The checks that every call to the sandbox has to pass before it may do anything: a strict reading of ZEGO's rules.

docs/protocol.md, "Calling ZEGO's server API", "DeleteMedia" and "SearchMedia" (sandbox_search reads what its parameters
say). Where nobody knows how lenient ZEGO is, this gate is strict, so that a mistake of ours shows here and not in
production.
"""

from __future__ import annotations

import hmac
import re
from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from service.core.model import Vendor
from service.zego.signature import api_signature, parse_timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

MAX_FILES = 100

_COMMON = frozenset(
    {"Action", "AppId", "SignatureNonce", "Timestamp", "Signature", "SignatureVersion", "IsTest", "Vendor"}
)
_LISTS = ("FileId[]", "StreamId[]")
_TO_LIST_KEYS = frozenset({"NamePrefix", "Marker", "MaxKeys"})
_KNOWN: Mapping[tuple[str, str], frozenset[str]] = {
    ("DeleteMedia", Vendor.TENCENT): frozenset({"FileId[]"}),
    ("DeleteMedia", Vendor.WANGSU): frozenset({"FileId[]", "ClearCache"}),
    ("DeleteMedia", Vendor.HUAWEI): frozenset({"FileId[]"}),
    ("SearchMedia", Vendor.TENCENT): frozenset(
        {"NamePrefix", "StartTime", "EndTime", "PageNumber", "PageSize", "FileId[]", "StreamId[]"}
    ),
    ("SearchMedia", Vendor.WANGSU): _TO_LIST_KEYS,
    ("SearchMedia", Vendor.HUAWEI): _TO_LIST_KEYS,
}
"""What each call may carry beside the common parameters."""

_NONCE = re.compile("[0-9a-f]{16}")


class Code(IntEnum):
    """Top-level codes that the sandbox gives by itself."""

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
    """The call stops at the gate."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of one call; `single` holds the last value of each that is not a list."""

    single: Mapping[str, str]
    file_ids: tuple[str, ...]
    repeated: frozenset[str]
    stream_ids: tuple[str, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """The names of all its parameters."""
        lists = (self.file_ids, self.stream_ids)
        return frozenset(self.single) | {name for name, values in zip(_LISTS, lists, strict=True) if values}

    @property
    def page(self) -> str:
        """What identifies a page of a listing: all parameters but the common ones, in order of their names."""
        single = [(name, value) for name, value in self.single.items() if name not in _COMMON]
        lists = [("FileId[]", value) for value in self.file_ids] + [("StreamId[]", value) for value in self.stream_ids]
        return urlencode(sorted(single + lists))

    def get(self, name: str) -> str:
        """Return the value of a parameter, "" where it is missing."""
        return self.single.get(name, "")


def read_query(text: str) -> Query:
    """Read a query string; whatever it holds, it can be read."""
    pairs = parse_qsl(text, keep_blank_values=True, errors="replace")
    single = {key: value for key, value in pairs if key not in _LISTS}
    counts = Counter(key for key, _ in pairs if key not in _LISTS)
    file_ids, stream_ids = (tuple(value for key, value in pairs if key == name) for name in _LISTS)
    return Query(single, file_ids, frozenset(key for key, count in counts.items() if count > 1), stream_ids)


@dataclass(slots=True)
class Gate:
    """Checks calls against the apps' secrets, the clock and the nonces seen before."""

    tolerance: timedelta
    _nonces: set[tuple[str, str]] = field(default_factory=set)

    def authenticate(self, query: Query, apps: Mapping[str, str], now: datetime) -> None:
        """Check who calls; `apps` maps app ids to server secrets.

        Raises:
            RefusedError: app, time, nonce, version or signature are not right.
        """
        app_id, nonce, timestamp = query.get("AppId"), query.get("SignatureNonce"), query.get("Timestamp")
        _require(re.fullmatch("[0-9]{1,10}", app_id), Code.APP_ID_FORMAT, "AppId format error")
        _require(app_id in apps, Code.APP_UNKNOWN, "no ServerSecret for this AppId")
        _require(timestamp, Code.TIMESTAMP_MISSING, "Timestamp is empty")
        sent_at = parse_timestamp(timestamp)
        if sent_at is None:
            raise RefusedError(Code.TIMESTAMP_FORMAT, "Timestamp format error")
        _require(abs(now - sent_at) <= self.tolerance, Code.SIGNATURE_EXPIRED, "signature expired")
        _require(nonce, Code.NONCE_MISSING, "SignatureNonce is empty")
        _require(query.get("Signature"), Code.SIGNATURE_MISSING, "Signature is empty")
        _require(query.get("SignatureVersion"), Code.VERSION_MISSING, "SignatureVersion is empty")
        _require(query.get("SignatureVersion") == "2.0", Code.VERSION_UNKNOWN, "SignatureVersion is not supported")
        right = api_signature(app_id, nonce, apps[app_id], timestamp)
        given = query.get("Signature").encode()
        _require(hmac.compare_digest(right.encode(), given), Code.SIGNATURE_WRONG, "signature error")
        _require(_NONCE.fullmatch(nonce), Code.SIGNATURE_WRONG, "SignatureNonce is not 16 hex digits")
        _require((app_id, nonce) not in self._nonces, Code.SIGNATURE_WRONG, "SignatureNonce was used before")
        self._nonces.add((app_id, nonce))

    def check_action(self, query: Query, *, search: bool) -> None:
        """Check what is asked for.

        Raises:
            RefusedError: the action is unknown, or one of its parameters is missing, unknown, repeated or wrong.
        """
        action = query.get("Action")
        _require(action, Code.ACTION_MISSING, "Action is empty")
        offered = action == "DeleteMedia" or (action == "SearchMedia" and search)
        _require(offered, Code.ACTION_UNKNOWN, "Action is not supported")
        _require(not query.repeated, Code.BAD_PARAMETER, f"given twice: {', '.join(sorted(query.repeated))}")
        vendor = query.get("Vendor")
        _require(vendor in set(Vendor), Code.BAD_PARAMETER, "Vendor is not one of Tencent, Ws, Huawei")
        unknown = query.names - _COMMON - _KNOWN[action, vendor]
        _require(not unknown, Code.BAD_PARAMETER, f"unknown for {vendor}: {', '.join(sorted(unknown))}")
        for flag in ("IsTest", "ClearCache"):
            right = query.single.get(flag, "true") in ("true", "false")
            _require(right, Code.BAD_PARAMETER, f"{flag} is neither true nor false")
        if action == "DeleteMedia":
            _check_delete(query)


def _check_delete(query: Query) -> None:
    few_enough = 1 <= len(query.file_ids) <= MAX_FILES
    _require(few_enough, Code.BAD_PARAMETER, f"{len(query.file_ids)} file ids, not 1 to {MAX_FILES}")
    _require(all(query.file_ids), Code.BAD_PARAMETER, "an empty file id")
    _require(len(set(query.file_ids)) == len(query.file_ids), Code.BAD_PARAMETER, "a file id given twice")


def _require(condition: object, code: Code, message: str) -> None:
    if not condition:
        raise RefusedError(code, message)
