"""Exports of 100,000 rows and more: as fast for each row as small ones, in memory that does not grow with them."""

from __future__ import annotations

import time
import tracemalloc
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from service.preview.make import Candidate, make_preview
from service.rules.file import parse_rules
from service.views.export import WRITERS
from tests.bench.inventory import fill
from tests.world import TESTER

if TYPE_CHECKING:
    from tests.console.console_scene import Console

FILES = 140_000
MAX_BYTES = 12_000_000


def read(console: Console, path: str) -> tuple[int, int]:
    """How many lines and bytes an export has; nothing of it is kept."""
    lines = size = 0
    with console.viewer.client.get(f"/export/{path}", buffered=False) as answer:
        assert answer.status_code == 200
        for piece in answer.iter_encoded():
            lines, size = lines + piece.count(b"\n"), size + len(piece)
    return lines, size


@pytest.mark.long
@pytest.mark.timeout(1_200)
def test_a_large_export_needs_no_more_memory_than_a_small_one(console: Console, database_url: str) -> None:
    fill(database_url, FILES)
    world = console.api.world
    candidate = Candidate(parse_rules('[[rules]]\nname = "all"\nkeep = "1d"\n'), "a test")
    made = make_preview(world.database, world.service.reader, candidate, TESTER, timedelta(0), console.now)
    assert made.sooner_count > 100_000
    lists = {"files": FILES, f"previews/{made.id}/sooner": made.sooner_count}
    for path, count in lists.items():
        for kind in WRITERS:
            read(console, f"holds.{kind}")  # what is loaded once
            tracemalloc.start()
            lines, size = read(console, f"{path}.{kind}")
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert kind == "xlsx" or lines == count + (kind == "csv")
            assert size > (3_000_000 if kind == "xlsx" else 15_000_000)
            assert peak < MAX_BYTES, f"{path}.{kind} held {peak:,} bytes"
            print(f"{path}.{kind}: {size:,} bytes, at most {peak:,} held")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_last_rows_of_a_large_export_take_as_long_as_the_first(console: Console, database_url: str) -> None:
    fill(database_url, FILES)
    began, count, passed = time.process_time(), 0, [0.0]
    with console.viewer.client.get("/export/files.jsonl", buffered=False) as answer:
        for piece in answer.iter_encoded():
            count += piece.count(b"\n")
            if count >= len(passed) * FILES // 10:
                passed.append(time.process_time() - began)
    assert (count, len(passed)) == (FILES, 11)
    assert passed[10] - passed[9] < 2 * passed[1], passed
