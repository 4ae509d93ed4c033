"""Whether ZEGO lets an app in, and whether the clocks agree: asked with SearchMedia, which changes nothing.

docs/protocol.md, "DeleteMedia" and "SearchMedia", lists the codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from service.core.listing import Query
from service.core.model import Transport, Vendor
from service.usecases.diagnosis import Check, Status
from service.usecases.remedies import ENABLE_API, find_refusal_remedy

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.core.listing import SearchAnswer

_VENDOR_CODES: Final = frozenset({3, 4, 5, 8})
"""What ZEGO answers for a vendor that an app does not use; only where every vendor does is something wrong."""

_UNKNOWN_ACTION: Final = 100_000_007
_TOO_FREQUENT: Final = 6
_TOO_MANY_REQUESTS: Final = 429

_CLOCK_WARNING: Final = timedelta(seconds=60)
_CLOCK_PROBLEM: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class AppAccess:
    """One app as the doctor sees it: its names, where its API is, and a way to ask SearchMedia."""

    app_id: str
    name: str
    api_url: str
    search: Callable[[Vendor, Query], SearchAnswer]


@dataclass(frozen=True, slots=True)
class Access:
    """What asking for one app showed; `ahead` is how far ZEGO's clock is ahead of ours (None: it told no time)."""

    check: Check
    ahead: timedelta | None


def check_access(app: AppAccess, now: Callable[[], datetime]) -> Access:
    """Ask ZEGO as this app, vendor by vendor, until one answer settles whether the credentials work."""
    ahead: timedelta | None = None
    refusals: list[str] = []
    for vendor in Vendor:
        answer = app.search(vendor, Query(size=1))
        if answer.date is not None:
            ahead = answer.date - now()
        if answer.code not in _VENDOR_CODES:
            return Access(_judge(app, vendor, answer), ahead)
        refusals.append(f"{vendor.value}: {_said(answer)}")
    text = f"ZEGO refuses every vendor ({', '.join(refusals)})"
    return Access(Check(_name(app), Status.PROBLEM, text, ENABLE_API), ahead)


def check_clock(ahead: timedelta | None) -> Check:
    """Compare ZEGO's clock with ours; signatures are refused beyond ten minutes."""
    if ahead is None:
        return Check("clock", Status.SKIPPED, "ZEGO told no time to compare with")
    seconds = abs(ahead.total_seconds())
    direction = "behind" if ahead > timedelta(0) else "ahead of"
    if abs(ahead) <= _CLOCK_WARNING:
        return Check("clock", Status.OK, f"within {max(seconds, 1):.0f} s of ZEGO's")
    status = Status.PROBLEM if abs(ahead) > _CLOCK_PROBLEM else Status.WARNING
    text = f"{seconds:.0f} s {direction} ZEGO's; beyond 600 s every call is refused"
    return Check("clock", status, text, "set the clock, and keep it set with NTP (chrony or systemd-timesyncd)")


def _judge(app: AppAccess, vendor: Vendor, answer: SearchAnswer) -> Check:
    name = _name(app)
    if answer.transport is not Transport.ANSWERED:
        fix = f"let this machine reach {app.api_url}, or correct API_URL"
        return Check(name, Status.PROBLEM, f"{app.api_url} cannot be reached: {answer.message}", fix)
    if answer.code == _TOO_FREQUENT or answer.http_status == _TOO_MANY_REQUESTS:
        return Check(name, Status.WARNING, "ZEGO is busy with this app's calls", "run doctor again in a minute")
    if answer.code is None:
        text = f"{app.api_url} does not answer as ZEGO does (HTTP {answer.http_status})"
        return Check(name, Status.PROBLEM, text, "correct API_URL, or wait if ZEGO has trouble")
    if answer.code == 0:
        return Check(name, Status.OK, f"ZEGO takes the credentials of {app.name} ({vendor.value})")
    return _judge_refusal(name, answer, answer.code)


def _judge_refusal(name: str, answer: SearchAnswer, code: int) -> Check:
    if code == _UNKNOWN_ACTION:
        text = f"SearchMedia is not offered here, so the credentials cannot be tried out ({_said(answer)})"
        return Check(name, Status.WARNING, text, "the first sweep that has something due tells")
    if fix := find_refusal_remedy(code):
        return Check(name, Status.PROBLEM, f"ZEGO does not let it in: {_said(answer)}", fix)
    return Check(name, Status.WARNING, f"ZEGO answered {_said(answer)}", "run doctor again; if it stays, ask ZEGO")


def _name(app: AppAccess) -> str:
    return f"app {app.app_id}"


def _said(answer: SearchAnswer) -> str:
    return f"code {answer.code} {answer.message}".rstrip()
