"""A page of a list takes as many queries as a page of one entry."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from service.filters import AuditFilter, CallbackFilter, FileFilter
from service.views.audit import AUDIT
from service.views.callbacks import CALLBACKS
from service.views.files import FILES
from service.views.form import Listed
from service.views.rules import REVISIONS
from service.views.runs import RUNS
from tests.world import World, open_world

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with open_world(database_url) as world:
        yield world


def count_queries(world: World, listed: Listed[Any, Any, Any], wanted: object, limit: int) -> int:
    seen: list[str] = []

    def note(*arguments: Any) -> None:
        seen.append(arguments[2])

    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert len(listed.page(world.database, wanted, limit).items) == limit
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    return len(seen)


def test_a_page_takes_as_many_queries_as_one_entry(world: World) -> None:
    for number in range(4):
        world.keep(f"{number + 1}h")
        world.send(f"file-{number}", age=timedelta(days=1))
        world.sweep()
    assert [run.outcomes for run in RUNS.page(world.database, None, 9).items] == [{"deleted": 1}] * 4
    assert '-keep = "1h"\n+keep = "2h"' in REVISIONS.page(world.database, None, 1, cursor=3).items[0].diff
    lists: list[tuple[Listed[Any, Any, Any], object]] = [
        (RUNS, None),
        (REVISIONS, None),
        (FILES, FileFilter()),
        (CALLBACKS, CallbackFilter()),
        (AUDIT, AuditFilter()),
    ]
    for listed, wanted in lists:
        assert count_queries(world, listed, wanted, 3) == count_queries(world, listed, wanted, 1), listed.name
