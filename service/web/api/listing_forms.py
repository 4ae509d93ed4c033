"""What the API answers about listings."""

from __future__ import annotations

from service.web.api.forms import Form, Page, eg

_AT = "2026-03-01T03:30:00Z"


class Listing(Form):
    """One comparison of an app and vendor with its listing."""

    id: int = eg(4)
    app_id: str = eg("1234567890")
    vendor: str = eg("Tencent")
    state: str = eg("complete")
    since: str | None = eg(None)
    started_at: str | None = eg(_AT)
    finished_at: str | None = eg("2026-03-01T03:31:12Z")
    worker: str = eg("host/4711")
    calls: int = eg(42)
    listed: int = eg(41_000)
    adopted: int = eg(12)
    lost: int = eg(2)
    confirmed: int = eg(3)
    filled: int = eg(900)
    reopened: int = eg(0)
    missing: int = eg(5)
    contradicted: int = eg(0)
    gone: int = eg(5)
    note: str | None = eg(None)


class ListingPage(Page):
    """Listings, the newest first."""

    items: list[Listing]


class LostDay(Form):
    """The callbacks of one app that never came on one day."""

    app_id: str = eg("1234567890")
    day: str = eg("2026-02-27")
    count: int = eg(2)


class LostCallbacks(Form):
    """Lost callbacks by app and day, the newest day first."""

    items: list[LostDay]
