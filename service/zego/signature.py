"""Both of ZEGO's signatures: the one on callbacks that we check, the one on API calls that we make."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import UTC, datetime

_TIMESTAMP = re.compile("[0-9]{10}")
_NONCE = re.compile("[0-9]{1,20}")
_SIGNATURE = re.compile("[0-9a-fA-F]{40}")


def callback_signature(secret: str, timestamp: str, nonce: str) -> str:
    """The signature of a callback as 40 lower-case hex digits (docs/protocol.md, "Callback signature")."""
    parts = sorted(part.encode("utf-8", "surrogatepass") for part in (secret, timestamp, nonce))
    return hashlib.sha1(b"".join(parts), usedforsecurity=False).hexdigest()


def verify_callback(secrets: Sequence[str], signature: str, timestamp: str, nonce: str) -> bool:
    """Whether one of the app's callback secrets made this signature. Never raises, whatever the strings hold.

    The three signed parts are joined without a separator, so other splits of the same digits verify too: the strict
    shapes refuse 24 of the 25 for the published example, its age shows the last one. An empty secret verifies nothing.
    """
    if not (_SIGNATURE.fullmatch(signature) and _TIMESTAMP.fullmatch(timestamp) and _NONCE.fullmatch(nonce)):
        return False
    given = signature.lower()
    # A list, so that every secret is tried: the time taken does not show which one fitted.
    fits = [hmac.compare_digest(callback_signature(secret, timestamp, nonce), given) for secret in secrets if secret]
    return any(fits)


def parse_timestamp(text: str) -> datetime | None:
    """The moment that a signed timestamp names (ten ASCII digits, Unix seconds), or None for anything else."""
    return datetime.fromtimestamp(int(text), UTC) if _TIMESTAMP.fullmatch(text) else None


def api_signature(app_id: str, nonce: str, server_secret: str, timestamp: str) -> str:
    """The signature of one API call as 32 hex digits (docs/protocol.md, "Calling ZEGO's server API")."""
    signed = f"{app_id}{nonce}{server_secret}{timestamp}"
    return hashlib.md5(signed.encode(), usedforsecurity=False).hexdigest()
