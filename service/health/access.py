"""Whether ZEGO accepts an app's credentials, and whether the clocks agree: asked with a harmless SearchMedia.

docs/protocol.md, "DeleteMedia" and "SearchMedia", lists the codes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from service.health.check import Check, Status
from service.health.remedies import ENABLE_API, find_refusal_remedy
from service.model import Vendor
from service.zego.messages import Query, Transport

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from service.settings import AppSettings
    from service.zego.messages import SearchAnswer

_VENDOR_CODES: Final = frozenset({3, 4, 5, 8})
"""What ZEGO answers for a vendor that an app does not use; only where every vendor does is something wrong."""

_UNKNOWN_ACTION: Final = 100_000_007
_BUSY: Final = (6, 429)
_CLOCK_WARNING: Final = timedelta(seconds=60)
_CLOCK_PROBLEM: Final = timedelta(minutes=10)


class SearchClient(Protocol):
    """One app's way to SearchMedia."""

    def search_media(self, vendor: Vendor, query: Query) -> SearchAnswer:
        """Ask once."""


class Access(NamedTuple):
    """What asking for one app showed; `ahead` is how far ZEGO's clock is ahead of ours (None: it sent no time)."""

    check: Check
    ahead: timedelta | None


def check_access(app: AppSettings, client: SearchClient, now: Callable[[], datetime]) -> Access:
    """Ask ZEGO as this app, vendor by vendor, until one answer shows whether the credentials work."""
    ahead: timedelta | None = None
    refusals: list[str] = []
    for vendor in Vendor:
        answer = client.search_media(vendor, Query(size=1))
        if answer.date is not None:
            ahead = answer.date - now()
        if answer.code not in _VENDOR_CODES:
            return Access(Check(f"app {app.app_id}", *_judge(app, vendor, answer)), ahead)
        refusals.append(f"{vendor}: {_describe(answer)}")
    text = f"ZEGO refuses every vendor ({', '.join(refusals)})"
    return Access(Check(f"app {app.app_id}", Status.PROBLEM, text, ENABLE_API), ahead)


def check_clock(ahead: timedelta | None) -> Check:
    """Compare ZEGO's clock with ours; signatures are refused beyond ten minutes."""
    if ahead is None:
        return Check("clock", Status.SKIPPED, "ZEGO sent no time to compare with")
    seconds = abs(ahead.total_seconds())
    if abs(ahead) <= _CLOCK_WARNING:
        return Check("clock", Status.OK, f"within {max(seconds, 1):.0f} s of ZEGO's")
    status = Status.PROBLEM if abs(ahead) > _CLOCK_PROBLEM else Status.WARNING
    direction = "behind" if ahead > timedelta(0) else "ahead of"
    text = f"{seconds:.0f} s {direction} ZEGO's; beyond 600 s every call is refused"
    return Check("clock", status, text, "set the clock, and keep it set with NTP (chrony or systemd-timesyncd)")


def _judge(app: AppSettings, vendor: Vendor, answer: SearchAnswer) -> tuple[Status, str, str]:
    if answer.transport is not Transport.ANSWERED:
        fix = f"let this machine reach {app.api_url}, or correct ZEGO_RETENTION_API_URL"
        return Status.PROBLEM, f"{app.api_url} cannot be reached: {answer.message}", fix
    if answer.code in _BUSY or answer.http_status in _BUSY:
        return Status.WARNING, "ZEGO is busy with this app's calls", "run doctor again in a minute"
    if answer.code is None:
        text = f"{app.api_url} does not answer as ZEGO does (HTTP {answer.http_status})"
        return Status.PROBLEM, text, "correct ZEGO_RETENTION_API_URL, or wait if ZEGO has trouble"
    if answer.code == 0:
        return Status.OK, f"ZEGO accepts the credentials of {app.name} ({vendor})", ""
    return _judge_refusal(answer, answer.code)


def _judge_refusal(answer: SearchAnswer, code: int) -> tuple[Status, str, str]:
    if code == _UNKNOWN_ACTION:
        text = f"SearchMedia is not offered here, so the credentials cannot be tried ({_describe(answer)})"
        return Status.WARNING, text, "the first sweep that has something due shows whether they work"
    if remedy := find_refusal_remedy(code):
        return Status.PROBLEM, f"ZEGO refuses it: {_describe(answer)}", remedy
    return Status.WARNING, f"ZEGO answered {_describe(answer)}", "run doctor again; if it stays, ask ZEGO"


def _describe(answer: SearchAnswer) -> str:
    return f"code {answer.code} {answer.message}".rstrip()
