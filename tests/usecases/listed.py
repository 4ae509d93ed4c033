"""Files as a listing leaves them in the inventory, for tests of what callbacks do with them afterwards."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from service.core.model import Vendor
from service.db import files
from tests.world import APP

if TYPE_CHECKING:
    from datetime import datetime

    from tests.world import World


def adopt(
    world: World,
    file_id: str,
    *,
    vendor: Vendor = Vendor.HUAWEI,
    app_id: str = APP,
    age: timedelta = timedelta(0),
    url: str | None = None,
    **facts: Any,
) -> datetime:
    """Let a listing find a file of this age that no callback has announced; returns when the vendor made it."""
    created_at = world.clock() - age
    [made] = world.add(
        1, prefix=file_id, age=age, vendor=vendor, app_id=app_id, stream_id="", event="", replay_url=url, **facts
    )

    def mark(session: Any) -> None:
        row = files.find_by_identity(session, app_id, vendor, made)
        assert row is not None
        row.file_id, row.adopted_at, row.vendor_created_at = file_id, world.clock(), created_at
        row.lost_on = f"{created_at:%Y-%m-%d}"

    world.database.transact(mark)
    return created_at
