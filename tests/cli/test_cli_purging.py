"""What people see of a purge of Wangsu's cache that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.core.model import Vendor
from tests.world import OTHER_APP, SECOND_APP, SERVER_SECRET

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run
    from tests.world import World


def test_a_failed_purge_is_told_and_changes_no_exit_code(run: Run, world: World, tmp_path: Path) -> None:
    text = SECOND_APP.format(app_id=OTHER_APP, secret=SERVER_SECRET, api_url=world.sandbox.url)
    config = tmp_path / "config.toml"
    config.write_text(f"{text}clear_cache = true\n")
    world.keep("1d")
    world.add(2, app_id=OTHER_APP, vendor=Vendor.WANGSU)
    world.sandbox.purge_code = 5
    ended = run("sweep", CONFIG=str(config))
    assert (ended.code, "purges_failed" in ended.err) == (0, True)
    assert "2 files deleted, but not purged from Wangsu's cache: purge by hand in its console" in ended.out
    assert "failed: purge it in Wangsu's console" in run("files", "show", 1).out
    assert "failed: purge it in Wangsu's console" in run("files", "explain", 1).out
    assert "2 failed" in run("runs", "show", 1).out
    assert "purging Wangsu's cache failed of 2 files deleted in the last 30 days: 1, 2" in run("doctor").out
    world.sandbox.purge_code = 1
    world.add(1, app_id=OTHER_APP, vendor=Vendor.WANGSU, prefix="more")
    assert "cache" not in run("sweep", CONFIG=str(config)).out
    assert "done" in run("files", "show", 3).out
