"""The URL of a call to ZEGO's server API, and how long it will be (docs/protocol.md, "Calling ZEGO's server API")."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from service.core.model import Vendor
from service.zego.signature import api_signature

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_FILE_ID_KEY = "FileId[]"

Parameters = list[tuple[str, str]]


def build_url(api_url: str, parameters: Iterable[tuple[str, str]]) -> str:
    """Return `api_url` with the parameters as its query, every reserved character percent-encoded."""
    return f"{api_url}?{'&'.join(_pair(key, value) for key, value in parameters)}"


def common_parameters(
    action: str, app_id: str, server_secret: str, *, nonce: str, timestamp: str, is_test: bool | None
) -> Parameters:
    """The parameters of every call, signed. `is_test` None leaves `IsTest` out, as newer projects do."""
    parameters = [
        ("Action", action),
        ("AppId", app_id),
        ("SignatureNonce", nonce),
        ("Timestamp", timestamp),
        ("Signature", api_signature(app_id, nonce, server_secret, timestamp)),
        ("SignatureVersion", "2.0"),
    ]
    if is_test is not None:
        parameters.append(("IsTest", str(is_test).lower()))
    return parameters


def delete_parameters(vendor: Vendor, file_ids: Sequence[str], *, clear_cache: bool) -> Parameters:
    """The parameters of DeleteMedia beside the common ones; only Ws knows `ClearCache`."""
    parameters = [("Vendor", vendor.value)]
    if clear_cache and vendor is Vendor.WANGSU:
        parameters.append(("ClearCache", "true"))
    return parameters + [(_FILE_ID_KEY, file_id) for file_id in file_ids]


def url_overhead(api_url: str, app_id: str, vendor: Vendor, *, is_test: bool | None, clear_cache: bool) -> int:
    """Bytes of a DeleteMedia URL before its first file id: exact, as nonce, time and signature have fixed lengths."""
    common = common_parameters(
        "DeleteMedia", app_id, server_secret="", nonce="0" * 16, timestamp="0" * 10, is_test=is_test
    )
    return len(build_url(api_url, common + delete_parameters(vendor, [], clear_cache=clear_cache)))


def url_cost(file_id: str) -> int:
    """Bytes that one more file id adds to a DeleteMedia URL: exact."""
    return len(f"&{_pair(_FILE_ID_KEY, file_id)}")


def _pair(key: str, value: str) -> str:
    return f"{quote(key, safe='')}={quote(value, safe='')}"
