"""The forms of resources: what the contract says of a file in JSON, and how everything becomes JSON; both databases."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.filters import FileFilter
from service.model import FileState, NoSuchThing, Vendor
from service.preview.make import Candidate, make_preview
from service.rules.file import parse_rules
from service.sweep.dry_run import dry_run
from service.views.audit import AUDIT
from service.views.figures import count_totals, describe_dry_run
from service.views.files import FILES, explain_file
from service.views.form import to_json
from service.views.rules import PREVIEWS, REVISIONS
from tests.world import TESTER, open_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.world import World

# contract.md, "A file in JSON".
CONTRACT = (
    *("id", "app_id", "vendor", "file_id", "stream_id", "event", "state", "state_reason", "began_at", "ended_at"),
    *("received_at", "duration_s", "size_bytes", "replay_url", "rule", "due_at", "held", "attempts", "last_outcome"),
)
NEWEST = '[[rules]]\nname = "newest"\nkeep = "1d"\nkeep_latest = 1\n'


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with open_world(database_url) as world:
        yield world


def show(world: World, file_id: str) -> dict[str, Any]:
    return to_json(FILES.show(world.database, world.files()[file_id].id))


def test_a_file_has_the_keys_of_the_contract_and_its_times_are_utc(world: World) -> None:
    world.keep("30d")
    world.send("first", stream="lesson-1", vendor=Vendor.HUAWEI)
    shown = show(world, "first")
    assert set(CONTRACT) <= shown.keys()
    assert {name: shown[name] for name in CONTRACT[:12]} == {
        "id": 1,
        "app_id": "1234567890",
        "vendor": "Huawei",
        "file_id": "first",
        "stream_id": "lesson-1",
        "event": "record",
        "state": "scheduled",
        "state_reason": 'rule "everything" deletes files older than 30d',
        "began_at": "2026-03-01T11:00:00Z",
        "ended_at": "2026-03-01T12:00:00Z",
        "received_at": "2026-03-01T12:00:00Z",
        "duration_s": shown["duration_s"],
    }
    assert (shown["rule"], shown["due_at"], shown["held"], shown["attempts"], shown["last_outcome"]) == (
        "everything",
        "2026-03-31T12:00:00Z",
        False,
        0,
        None,
    )
    assert json.loads(json.dumps(shown)) == shown


def test_what_is_not_known_is_null(world: World) -> None:
    world.sandbox.add_file("1234567890", Vendor.TENCENT, "adopted", created_at=world.clock() - timedelta(days=3))
    world.reconcile(Vendor.TENCENT)
    shown = show(world, "adopted")
    unknown = ("stream_id", "event", "began_at", "rule", "due_at", "last_outcome", "erasure_id", "missing_since")
    assert {name: shown[name] for name in unknown} == dict.fromkeys(unknown)
    assert (shown["ended_at"], shown["adopted_at"]) == ("2026-02-26T12:00:00Z", "2026-03-01T12:00:00Z")
    assert (shown["wait_reason"], shown["wait_until"]) == ("adoption", "2026-03-02T12:00:00Z")


def test_a_file_that_is_kept_for_its_rank_shows_no_date(world: World) -> None:
    world.apply(NEWEST)
    world.send("only", age=timedelta(days=5))
    assert show(world, "only")["due_at"] == "2026-02-25T12:00:00Z"
    first = explain_file(world.database, world.service.reader, 1, world.clock(), world.service.settings)
    assert "newest recording" in first.reason
    world.sweep()
    shown = show(world, "only")
    assert (shown["state"], shown["due_at"]) == ("kept", None)
    explained = explain_file(world.database, world.service.reader, 1, world.clock(), world.service.settings)
    assert (explained.state, explained.due_at, explained.rule) == (FileState.KEPT, None, "newest")
    assert explained.latest is not None


def test_the_last_outcome_and_the_timeline_show_every_attempt(world: World) -> None:
    world.keep("1d")
    world.send("first", age=timedelta(days=2))
    world.sandbox.fail_file("first", "InternalError", "busy", times=1)
    world.sweep()
    failed = show(world, "first")
    assert (failed["last_outcome"]["outcome"], failed["last_outcome"]["message"]) == ("retryable", "busy")
    assert (failed["wait_reason"], failed["attempts"]) == ("retry", 1)
    world.clock.move(hours=1)
    world.sweep()
    shown = show(world, "first")
    assert (shown["state"], shown["attempts"]) == ("deleted", 2)
    assert shown["last_outcome"] == {
        "outcome": "deleted",
        "code": "0",
        "message": "success",
        "request_id": shown["timeline"][1]["request_id"],
        "at": "2026-03-01T13:00:00Z",
    }
    first, second = FILES.show(world.database, 1).timeline
    assert (first.outcome, second.outcome, second.run_id, second.call_id, second.media_file_id) == (
        "retryable",
        "deleted",
        2,
        2,
        1,
    )
    assert (second.rule, second.revision, second.opened_at) == ("everything", 1, datetime(2026, 3, 1, 13, tzinfo=UTC))


def test_an_explanation_of_a_held_file_and_of_an_ended_one(world: World) -> None:
    world.keep("1d")
    world.send("first", age=timedelta(days=2))
    world.sweep()
    ended = explain_file(world.database, world.service.reader, 1, world.clock(), world.service.settings)
    assert [line.result.value for line in ended.lines] == ["decided"]
    assert (ended.state, ended.next_step, ended.obstacles) == (FileState.DELETED, "nothing: it is deleted", [])
    assert ended.applied is not None
    assert (ended.applied.number, ended.applied.applied_by, ended.revision_in_force) == (1, "a tester", 1)
    with pytest.raises(NoSuchThing, match="there is no file 99"):
        explain_file(world.database, world.service.reader, 99, world.clock(), world.service.settings)


def test_not_found_is_said_in_one_way(world: World) -> None:
    for listed in (FILES, REVISIONS, PREVIEWS, AUDIT):
        with pytest.raises(NoSuchThing, match=f"there is no {listed.name} 99: see `zego-retention {listed.command}`"):
            listed.show(world.database, 99)


def test_a_preview_a_dry_run_and_totals_become_json_and_stay_typed(world: World) -> None:
    world.keep("30d")
    world.add(3, age=timedelta(days=40))
    world.add(2, prefix="young")
    candidate = Candidate(parse_rules('[[rules]]\nname = "all"\nkeep = "1d"\n'), "a test")
    cooling_off, now, service = timedelta(hours=1), world.clock(), world.service
    made = make_preview(world.database, service.reader, candidate, TESTER, cooling_off, now)
    preview = PREVIEWS.show(world.database, made.id)
    assert preview.changes["newly_due_now"].count == 2
    assert preview.changes["due_now"].by_rule[0].name == "all"
    assert preview.changes["newly_due_now"].samples[0].ended_at == now - timedelta(days=2)
    assert (preview.effects[0].rule, preview.effects[0].due, sum(preview.forecast["candidate"])) == ("all", 5, 5)
    assert to_json(preview)["as_of"] == "2026-03-01T12:00:00Z"
    sweeper = service.sweeper
    found = dry_run(world.database, service.reader, service.app_ids, sweeper.limits, now, confirm_all=False, limit=2)
    shown = describe_dry_run(world.database, found)
    assert (shown.total, len(shown.files), shown.by_rule, shown.by_vendor[0].count) == (3, 2, {"everything": 3}, 3)
    assert to_json(shown)["files"][0]["state"] == "scheduled"
    totals = count_totals(world.database, now)
    assert (totals.files[FileState.SCHEDULED], totals.due, totals.oldest_due_at) == (
        5,
        {"1234567890": 3},
        now,  # known only since then
    )


def test_lists_are_read_in_batches_that_fit_the_limit(world: World) -> None:
    world.add(5)
    wanted = FileFilter(state=FileState.KEPT)
    for limit in (0, 1, 4, 5, 6):
        assert len(list(FILES.iterate(world.database, wanted, limit))) == min(limit, 5)
    assert [file.id for file in FILES.iterate(world.database, wanted)] == [1, 2, 3, 4, 5]
    first = FILES.page(world.database, wanted, 2)
    rest = FILES.page(world.database, wanted, 10, int(first.next_cursor or 0))
    assert [file.id for file in (*first.items, *rest.items)] == [1, 2, 3, 4, 5]
    assert rest.next_cursor is None
