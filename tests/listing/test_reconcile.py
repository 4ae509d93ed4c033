"""After a reconcile, the inventory equals what the vendors store; nothing is gone that two listings did not lack."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.audit.store import find_order
from service.files.actions import ErasureRequest, confirm_files, erase_files
from service.files.store import save_files
from service.leader.leader import Leader, LeadLost
from service.listing.reconcile import MAX_TRIES, place_reconcile
from service.listing.store import Listing, ListingState, find_listing, interrupt_running, list_listings
from service.model import FileState, NoSuchThing, NotPossible, Suspicion, Vendor, WaitReason
from tests.faults import (
    Fault,
    answer_code,
    answer_html,
    cut_answer,
    drop_after,
    hide_ids,
    list_fewer,
    repeat_marker,
    understate_total,
)
from tests.world import APP, OTHER_APP, START, TESTER

if TYPE_CHECKING:
    from service.sandbox import Call
    from tests.world import World

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ALL = tuple(Vendor)
TENCENT, WANGSU, HUAWEI = Vendor.TENCENT, Vendor.WANGSU, Vendor.HUAWEI


def put(world: World, vendor: Vendor, file_id: str, *, age: timedelta = DAY, **facts: Any) -> None:
    """A file that the vendor stores and that no callback announces."""
    world.sandbox.add_file(APP, vendor, file_id, created_at=world.clock() - age, **facts)


def take(world: World, vendor: Vendor, *file_ids: str) -> None:
    """Somebody else deletes files."""
    for file_id in file_ids:
        world.sandbox.remove_file(APP, vendor, file_id)


def read_listing(world: World, vendor: Vendor, **options: Any) -> Listing:
    """Read one listing; its record."""
    [number] = world.reconcile(vendor, **options)
    with world.database.read() as tx:
        found = find_listing(tx, number)
    assert found is not None
    return found


# Adopting


@pytest.mark.parametrize("vendor", ALL)
def test_an_unknown_file_is_adopted_and_left_alone_for_a_day(world: World, vendor: Vendor) -> None:
    world.keep("1d")
    put(world, vendor, "f1", age=100 * DAY, size_bytes=2_000, duration_s=61, name="lesson")
    found = read_listing(world, vendor)
    assert (found.state, found.note, found.listed, found.adopted, found.lost) == (ListingState.COMPLETE, None, 1, 1, 0)
    file = world.files()["f1"]
    made = START - 100 * DAY
    assert (file.is_adopted, file.stream_id, file.size_bytes, file.listed_in) == (True, "", 2_000, found.id)
    assert (file.vendor_created_at, file.ended_at, file.adopted_at, file.confirmed_at) == (made, made, START, START)
    assert (file.state, file.due_at, file.call_after) == (FileState.SCHEDULED, made + DAY, START + DAY)
    assert file.wait_reason is WaitReason.ADOPTION
    assert (file.name, file.duration_s) == (("lesson", 61) if vendor is TENCENT else (None, None))


@pytest.mark.parametrize("ahead", [DAY, -DAY])
def test_by_a_clock_that_was_set_meanwhile_nothing_is_taken_from_a_listing(world: World, ahead: timedelta) -> None:
    """Else what is adopted would wait for a day more, or not at all."""
    world.keep("1d")
    put(world, TENCENT, "f1", age=100 * DAY)

    def set_clock(call: Call) -> None:
        if call.stage == "done":
            world.clock.time += ahead

    world.sandbox.on_request = set_clock
    found = read_listing(world, TENCENT)
    direction = "ahead of" if ahead > timedelta(0) else "behind"
    assert (found.state, found.adopted) == (ListingState.INTERRUPTED, 0)
    assert f"the clock is 24 hours {direction} ZEGO's" in (found.note or "")
    assert world.files() == {}


def test_reconciling_again_changes_nothing_but_that_it_was_seen(world: World) -> None:
    world.keep("30d")
    world.send("announced", vendor=HUAWEI)
    for vendor in ALL:
        put(world, vendor, f"{vendor.value}-1")
    world.reconcile()
    before = world.files()
    world.clock.move(hours=24)
    with world.database.read() as tx:
        counts = [(each.listed, each.adopted, each.filled, each.calls) for each in list_listings(tx)]
    assert counts == [(2, 1, 1, 1), (1, 1, 0, 1), (1, 1, 0, 1)]
    found = [read_listing(world, vendor) for vendor in ALL]
    assert [(each.listed, each.adopted, each.filled, each.confirmed) for each in found] == [
        (1, 0, 0, 0),
        (1, 0, 0, 0),
        (2, 0, 0, 0),
    ]
    for name, file in world.files().items():
        assert file == before[name]._replace(listed_in=file.listed_in, confirmed_at=START + DAY)


def test_files_that_were_announced_are_filled_in_and_the_later_of_both_times_counts(world: World) -> None:
    world.keep("3d")
    world.send("late", age=2 * DAY, stored=False)
    put(world, TENCENT, "late", age=DAY, size_bytes=5_000, name="lesson")
    world.send("early", age=2 * DAY, stored=False)
    put(world, TENCENT, "early", age=4 * DAY)
    assert read_listing(world, TENCENT).filled == 2
    late, early = world.files()["late"], world.files()["early"]
    assert (late.due_at, early.due_at) == (START + 2 * DAY, START + DAY)
    assert (late.size_bytes, late.name, late.ended_at) == (5_000, "lesson", START - 2 * DAY)


def test_a_size_that_becomes_known_lets_a_rule_be_judged(world: World) -> None:
    world.apply('[[rules]]\nname = "small"\nmatch = { max_size = "10kB" }\nkeep = "1d"\n')
    world.send("f1", age=2 * DAY)
    assert world.state("f1") is FileState.KEPT
    read_listing(world, TENCENT)
    assert world.state("f1") is FileState.SCHEDULED


def test_with_since_only_later_files_are_adopted_and_nothing_is_missing(world: World) -> None:
    world.add(10, vendor=HUAWEI)
    for vendor in ALL:
        put(world, vendor, f"new-{vendor.value}", age=DAY)
        put(world, vendor, f"old-{vendor.value}", age=9 * DAY)
    take(world, HUAWEI, "file-00000")
    for _ in range(3):
        world.clock.move(hours=2)
        found = [read_listing(world, vendor, since=START - 3 * DAY) for vendor in ALL]
        assert {(each.state, each.note, each.missing) for each in found} == {(ListingState.COMPLETE, None, 0)}
    assert {name for name in world.files() if "-" in name and "file" not in name} == {
        *(f"new-{vendor.value}" for vendor in ALL)
    }
    assert world.files()["file-00000"].missing_since is None


def test_lost_callbacks_are_counted(world: World) -> None:
    assert read_listing(world, TENCENT).lost == 0
    put(world, TENCENT, "before", age=DAY)
    world.send("first")
    world.clock.move(days=3)
    put(world, TENCENT, "after", age=DAY)
    put(world, TENCENT, "just-now", age=timedelta(minutes=1))
    found = read_listing(world, TENCENT)
    assert (found.adopted, found.lost) == (3, 1)


def test_of_two_ages_in_one_page_the_later_one_counts(world: World) -> None:
    put(world, HUAWEI, "f1", age=400 * DAY)

    def list_twice(section: dict[str, Any], _: Any) -> None:
        later = section["Keys"][0] | {"LastModified": "2026-02-28T12:00:00Z"}
        section["Keys"] = [later, section["Keys"][0]]

    world.sandbox.always(Fault(acts=True, change=list_twice))
    assert read_listing(world, HUAWEI).listed == 1
    assert world.files()["f1"].ended_at == START - DAY


# Missing and gone


@pytest.mark.parametrize("vendor", ALL)
def test_a_file_is_gone_when_two_complete_listings_lack_it_that_began_an_hour_apart(
    world: World, vendor: Vendor
) -> None:
    world.keep("30d")
    world.add(10, vendor=vendor, age=timedelta(0))
    world.clock.move(minutes=1)
    take(world, vendor, "file-00003")
    for minutes, missing in ((0, 1), (1, 1), (58, 1)):
        world.clock.move(minutes=minutes)
        found = read_listing(world, vendor)
        assert (found.state, found.missing, found.gone) == (ListingState.COMPLETE, missing, 0)
        assert world.state("file-00003") is FileState.SCHEDULED
    world.clock.move(minutes=1)
    found = read_listing(world, vendor)
    assert (found.missing, found.gone, found.note) == (1, 1, None)
    assert world.states() == {
        FileState.SCHEDULED: [f"file-{n:05}" for n in range(10) if n != 3],
        FileState.GONE: ["file-00003"],
    }
    assert "two complete listings in a row did not show it" in world.files()["file-00003"].state_reason


def test_a_file_that_was_seen_in_between_or_came_later_is_not_gone(world: World) -> None:
    world.add(10)
    read_listing(world, TENCENT)
    world.clock.move(minutes=1)
    take(world, TENCENT, "file-00003")
    read_listing(world, TENCENT)
    world.sandbox.add_file(APP, TENCENT, "file-00003", stream_id="room", created_at=START - 2 * DAY)
    world.add(1, prefix="later")  # the second listing is the first to lack it
    take(world, TENCENT, "later-00000")
    world.clock.move(hours=2)
    read_listing(world, TENCENT)
    take(world, TENCENT, "file-00003")
    world.clock.move(minutes=30)
    assert read_listing(world, TENCENT).gone == 0
    world.clock.move(minutes=30)
    assert read_listing(world, TENCENT).gone == 1
    assert world.state("later-00000") is FileState.GONE
    assert world.state("file-00003") is FileState.KEPT


@pytest.mark.parametrize(("lacking", "gone"), [(2, 2), (3, 0)])
def test_a_listing_that_would_end_more_than_the_share_of_the_breaker_ends_none(
    world: World, lacking: int, gone: int
) -> None:
    ids = world.add(10, vendor=HUAWEI)
    world.add(100, prefix="other", vendor=HUAWEI, app_id=OTHER_APP)
    world.clock.move(minutes=1)
    take(world, HUAWEI, *ids[:lacking])
    read_listing(world, HUAWEI)
    world.clock.move(hours=2)
    found = read_listing(world, HUAWEI)
    assert (found.state, found.missing, found.gone) == (ListingState.COMPLETE, lacking, gone)
    assert found.needs_person is (gone == 0)
    if gone == 0:
        assert found.note is not None
        assert "3 files of 10 would be gone, more than ZEGO_RETENTION_BREAKER_SHARE (0.2)" in found.note


def test_an_empty_listing_ends_nothing_however_often_it_comes(world: World) -> None:
    world.service.reconciler.breaker_share = 1.0
    ids = world.add(10, vendor=HUAWEI)
    take(world, HUAWEI, *ids)
    for _ in range(3):
        world.clock.move(hours=2)
        found = read_listing(world, HUAWEI)
        assert (found.state, found.missing, found.gone) == (ListingState.COMPLETE, 10, 0)
        assert "it shows no file, although 10 files should be there" in (found.note or "")
    put(world, HUAWEI, "file-00000")
    world.clock.move(hours=2)
    assert read_listing(world, HUAWEI).gone == 0  # the empty ones prove nothing


LIES = [
    (TENCENT, understate_total(2), "counts 2, and shows"),
    (TENCENT, hide_ids("file-00003"), "without a file id"),
    (HUAWEI, hide_ids("file-00003"), "without a name"),
    (WANGSU, repeat_marker(), "leads back"),
    (HUAWEI, repeat_marker(), "leads back"),
    (TENCENT, list_fewer(700), "would be gone"),
    (HUAWEI, list_fewer(700), "would be gone"),
]


@pytest.mark.parametrize(("vendor", "lie", "says"), LIES)
def test_listings_that_lie_make_nothing_gone_and_say_why(
    plain_world: World, vendor: Vendor, lie: Fault, says: str
) -> None:
    world = plain_world
    world.add(1_005, vendor=vendor)
    world.sandbox.always(lie)
    world.clock.move(hours=2)
    read_listing(world, vendor)
    world.clock.move(hours=2)
    found = read_listing(world, vendor)
    assert found.gone == 0
    assert found.needs_person
    assert says in (found.note or "")
    assert set(world.states()) == {FileState.KEPT}


def test_an_incomplete_listing_between_two_complete_ones_neither_counts_nor_disturbs(world: World) -> None:
    world.add(10)
    world.clock.move(minutes=1)
    take(world, TENCENT, "file-00003")
    world.sandbox.next(answer_code(7))
    assert read_listing(world, TENCENT).state is ListingState.INCOMPLETE
    world.clock.move(hours=2)
    assert read_listing(world, TENCENT).gone == 0
    world.clock.move(minutes=30)
    world.sandbox.next(answer_code(7))
    read_listing(world, TENCENT)
    world.clock.move(minutes=30)
    assert read_listing(world, TENCENT).gone == 1


def test_files_with_an_open_call_are_left_and_ended_ones_are_not_missing(world: World) -> None:
    world.add(10)
    files = world.files()
    states = {"file-00000": FileState.DELETING, "file-00001": FileState.DELETED, "file-00002": FileState.HELD}
    changed = [files[name]._replace(state=state, state_at=START) for name, state in states.items()]
    world.service.leader.transact(lambda tx: save_files(tx, changed))
    take(world, TENCENT, *states)
    for _ in range(2):
        world.clock.move(hours=2)
        read_listing(world, TENCENT)
    assert {name: world.state(name) for name in states} == states | {"file-00002": FileState.GONE}


def test_a_file_with_an_open_call_that_is_shown_is_filled_in_and_decided_once_it_was_answered(world: World) -> None:
    world.add(1)
    claimed = world.files()["file-00000"]._replace(state=FileState.DELETING, state_at=START)
    world.service.leader.transact(lambda tx: save_files(tx, [claimed]))
    assert read_listing(world, TENCENT).filled == 1
    file = world.files()["file-00000"]
    assert (file.state, file.name, file.decide_again) == (FileState.DELETING, "room", True)


def test_a_call_whose_answer_was_lost_has_deleted_what_is_missing(world: World) -> None:
    world.keep("1d")
    world.add(10, vendor=HUAWEI, prefix="other", age=timedelta(0))
    world.add(1, vendor=HUAWEI)
    world.sandbox.next(drop_after())
    world.sweep()
    assert world.state("file-00000") is FileState.SCHEDULED
    world.clock.move(seconds=1)
    read_listing(world, HUAWEI)
    world.clock.move(hours=1)
    assert read_listing(world, HUAWEI).gone == 1
    assert world.state("file-00000") is FileState.DELETED


def test_what_is_gone_lets_the_others_of_its_stream_be_looked_at_again(world: World) -> None:
    world.apply('[[rules]]\nname = "all"\nkeep = "1d"\nkeep_latest = 1\n')
    world.add(10, prefix="other", stream_id="elsewhere")
    world.send("old", age=5 * DAY, stream="s")
    world.send("new", age=4 * DAY, stream="s")
    take(world, TENCENT, "new")
    world.clock.move(minutes=1)
    read_listing(world, TENCENT)
    old = world.files()["old"]
    world.service.leader.transact(lambda tx: save_files(tx, [old._replace(state=FileState.KEPT)]))  # for its rank
    assert not world.files()["old"].decide_again
    world.clock.move(hours=1)
    read_listing(world, TENCENT)
    assert world.state("new") is FileState.GONE
    assert world.files()["old"].decide_again


# Suspicions


def conflict(world: World, **options: Any) -> None:
    """Two callbacks with one signature: about f1, and about another file."""
    world.send("f1", nonce="777777", **options)
    world.send("f2", nonce="777777", **options)
    assert world.state("f1") is FileState.UNCONFIRMED


def test_a_listing_confirms_a_stale_file_but_not_what_its_callback_said(world: World) -> None:
    world.keep("30d")
    world.send("f1", age=DAY, stream="lesson-1", vendor=HUAWEI, now=START - HOUR)
    assert world.state("f1") is FileState.UNCONFIRMED
    world.clock.move(seconds=1)
    assert read_listing(world, HUAWEI).confirmed == 1
    file = world.files()["f1"]
    assert (file.state, file.suspicion, file.is_adopted, file.stream_id) == (FileState.SCHEDULED, None, True, "")
    assert (file.size_bytes, file.wait_reason) == (1_000, WaitReason.ADOPTION)
    world.send("f1", age=DAY, stream="lesson-1", vendor=HUAWEI, stored=False)
    assert world.files()["f1"].stream_id == "lesson-1"


def test_no_forged_fact_chooses_the_rule_of_a_file_in_conflict(world: World) -> None:
    world.apply(
        '[[rules]]\nname = "trial"\nmatch = { stream = "trial-*" }\nkeep = "1d"\n'
        '[[rules]]\nname = "all"\nkeep = "900d"\n'
    )
    conflict(world, age=5 * DAY, stream="trial-1")
    world.clock.move(seconds=1)
    assert read_listing(world, TENCENT).confirmed == 2
    assert world.states() == {FileState.KEPT: ["f1", "f2"]}
    assert "its stream is not known" in world.files()["f1"].state_reason


@pytest.mark.parametrize(("trusted_first", "stream"), [(True, "lesson-1"), (False, "")])
def test_what_a_trusted_callback_had_said_before_the_conflict_stays(
    world: World, trusted_first: bool, stream: str
) -> None:
    world.keep("30d")
    if trusted_first:
        world.send("f1", stream="lesson-1")
    said = "lesson-1" if trusted_first else "trial-1"
    world.send("f1", stream=said, nonce="777777", stored=not trusted_first)
    world.send("f2", stream="trial-1", nonce="777777", stored=False)
    if not trusted_first:
        world.send("f1", stream="lesson-1", stored=False)
    other = world.send("other", stream="lesson-1", stored=False)
    world.service.leader.transact(lambda tx: save_files(tx, [other._replace(state=FileState.KEPT)]))  # for its rank
    assert world.state("f1") is FileState.UNCONFIRMED
    world.clock.move(seconds=1)
    read_listing(world, TENCENT)
    file = world.files()["f1"]
    assert (file.state, file.stream_id, file.is_adopted) == (FileState.SCHEDULED, stream, not trusted_first)
    # It counts again as a recording of its stream, so others may have another rank.
    assert world.files()["other"].decide_again is trusted_first


@pytest.mark.parametrize("streams", [("trial-1", "lesson-1"), ("lesson-1", "trial-1")])
def test_of_two_callbacks_that_contradict_each_other_neither_chooses_the_rule(
    world: World, streams: tuple[str, str]
) -> None:
    world.apply(
        '[[rules]]\nname = "lessons"\nmatch = { stream = "lesson-*" }\nkeep = "forever"\n'
        '[[rules]]\nname = "all"\nkeep = "1d"\n'
    )
    world.send("f1", stream=streams[0], age=5 * DAY)
    world.send("f1", stream=streams[1], age=5 * DAY, stored=False)
    assert world.state("f1") is FileState.UNCONFIRMED
    world.clock.move(seconds=1)
    assert read_listing(world, TENCENT).confirmed == 1
    file = world.files()["f1"]
    assert (file.state, file.stream_id, file.is_adopted) == (FileState.KEPT, "", True)
    assert "its stream is not known" in file.state_reason


def test_what_a_person_confirmed_keeps_its_facts(world: World) -> None:
    world.keep("30d")
    conflict(world, stream="trial-1")
    world.clock.move(seconds=1)
    confirm_files(world.database, TESTER, [world.files()["f1"].id], world.clock())
    world.catch_up()
    read_listing(world, TENCENT)
    assert world.files()["f1"].stream_id == "trial-1"


def meanwhile(world: World, work: Any) -> None:
    """Do something when the next page has been requested and is not answered yet; time goes on before and after."""

    def act(call: Call) -> None:
        if call.stage == "done":
            world.sandbox.on_request = None
            world.clock.move(seconds=1)
            work()
            world.clock.move(seconds=1)

    world.sandbox.on_request = act


def test_a_page_confirms_nothing_that_was_understood_after_it_was_requested(world: World) -> None:
    world.keep("30d")
    world.send("f1", nonce="777777", stream="lesson-1")
    meanwhile(world, lambda: world.send("f2", nonce="777777", now=START, stored=False))
    found = read_listing(world, TENCENT)
    assert (found.confirmed, found.missing) == (0, 0)
    file = world.files()["f1"]
    assert (file.state, file.suspicion, file.stream_id) == (FileState.UNCONFIRMED, Suspicion.CONFLICT, "lesson-1")
    assert read_listing(world, TENCENT).confirmed == 1
    assert world.files()["f1"].stream_id == ""


def test_an_erasure_by_pattern_leaves_a_file_whose_stream_is_dropped(world: World) -> None:
    world.send("f1", stream="mei-1", nonce="777777")
    erase_files(
        world.database,
        TESTER,
        ErasureRequest("she asked", app_id=APP, stream_pattern="mei-*"),
        world.clock(),
        known_apps=[APP],
    )
    world.catch_up()
    assert world.files()["f1"].erasure_id == 1
    world.send("f2", stream="mei-1", nonce="777777", stored=False)
    world.clock.move(seconds=1)
    read_listing(world, TENCENT)
    file = world.files()["f1"]
    assert (file.erasure_id, file.state) == (None, FileState.KEPT)


# Reopening


def end(world: World, name: str) -> None:
    file = world.files()[name]
    ended = file._replace(state=FileState.DELETED, state_at=world.clock(), state_reason="deleted", attempts=1)
    world.service.leader.transact(lambda tx: save_files(tx, [ended]))


def test_an_ended_file_that_is_listed_again_is_reopened_and_waits_like_an_adopted_one(world: World) -> None:
    world.keep("1d")
    world.add(1)
    end(world, "file-00000")
    world.clock.move(seconds=1)
    assert read_listing(world, TENCENT).reopened == 1
    file = world.files()["file-00000"]
    assert (file.state, file.attempts, file.wait_until) == (FileState.SCHEDULED, 0, world.clock() + DAY)
    assert read_listing(world, TENCENT).reopened == 0


def test_a_page_that_was_requested_before_the_end_was_recorded_reopens_nothing(world: World) -> None:
    world.add(1)
    meanwhile(world, lambda: end(world, "file-00000"))
    assert read_listing(world, TENCENT).reopened == 0
    assert world.state("file-00000") is FileState.DELETED


# How listings end


def test_trouble_that_passes_is_waited_out(world: World) -> None:
    put(world, TENCENT, "f1")
    world.sandbox.next(answer_html(502), answer_code(6), answer_code(1000), answer_html(429), cut_answer())
    found = read_listing(world, TENCENT)
    assert (found.state, found.calls, found.adopted) == (ListingState.COMPLETE, 6, 1)


def test_a_listing_that_is_not_answered_is_interrupted_and_starts_over(world: World) -> None:
    put(world, TENCENT, "f1")
    world.sandbox.next(*[cut_answer()] * MAX_TRIES)
    found = read_listing(world, TENCENT)
    assert (found.state, found.calls, found.adopted) == (ListingState.INTERRUPTED, MAX_TRIES, 0)
    assert "was not answered" in (found.note or "")
    assert read_listing(world, TENCENT).state is ListingState.COMPLETE


@pytest.mark.parametrize(
    ("code", "known", "state", "says"),
    [
        (3, False, ListingState.UNUSED, "does not seem to use"),
        (4, False, ListingState.UNUSED, "does not seem to use"),
        (4, True, ListingState.INCOMPLETE, "which CDN stores"),
        (5, True, ListingState.INCOMPLETE, "ask ZEGO's support to enable SearchMedia"),
        (7, False, ListingState.INCOMPLETE, "copy AppID and ServerSecret"),
        (8, False, ListingState.INCOMPLETE, "RECONCILE_EVERY=off"),
        (100_000_004, False, ListingState.INCOMPLETE, "this machine's clock"),
        (100_000_007, False, ListingState.INCOMPLETE, "RECONCILE_EVERY=off"),
    ],
)
def test_a_refusal_says_what_to_do(plain_world: World, code: int, known: bool, state: ListingState, says: str) -> None:
    world = plain_world
    if known:
        world.add(1, vendor=WANGSU)
    world.sandbox.next(answer_code(code, "no"))
    found = read_listing(world, WANGSU)
    assert (found.state, found.calls) == (state, 1)
    assert f"ZEGO refuses to list: {code} no" in (found.note or "")
    assert says in (found.note or "")


def test_a_stop_in_the_middle_ends_it_as_interrupted(world: World) -> None:
    for number in range(1_500):
        put(world, HUAWEI, f"f{number:04}")
    stop = threading.Event()
    world.sandbox.on_request = lambda _: stop.set()
    number = world.service.reconciler.run(APP, HUAWEI, stop)
    with world.database.read() as tx:
        found = find_listing(tx, number)
    assert found is not None
    assert (found.state, found.calls) == (ListingState.INTERRUPTED, 1)


def test_who_loses_the_lead_writes_nothing_more_and_the_next_leader_ends_the_record(world: World) -> None:
    put(world, TENCENT, "f1")
    other = Leader(world.database, "another", timedelta(minutes=2), world.clock)

    def take_lead(_: Call) -> None:
        world.database.transact(lambda tx: tx.exec_driver_sql("UPDATE leader SET holder = ''"))
        assert other.try_to_lead()

    world.sandbox.on_request = take_lead
    with pytest.raises(LeadLost):
        read_listing(world, TENCENT)
    assert world.files() == {}
    assert other.transact(lambda tx: interrupt_running(tx, world.clock())) == 1
    with world.database.read() as tx:
        assert [each.state for each in list_listings(tx)] == [ListingState.INTERRUPTED]


def test_it_gives_signs_of_life_while_it_waits(world: World) -> None:
    world.service.leader.lease = timedelta(0)
    other = Leader(world.database, "another", timedelta(minutes=2), world.clock)

    def take_lead(_: Call) -> None:
        world.sandbox.on_request = None
        world.database.transact(lambda tx: tx.exec_driver_sql("UPDATE leader SET holder = ''"))
        assert other.try_to_lead()

    world.sandbox.next(*[cut_answer()] * MAX_TRIES)
    world.sandbox.on_request = take_lead
    with pytest.raises(LeadLost):
        read_listing(world, TENCENT)
    assert len(world.sandbox.calls) == 1


def test_a_newer_listing_of_the_same_app_and_vendor_ends_the_older_one(world: World) -> None:
    world.add(10, vendor=HUAWEI)
    put(world, HUAWEI, "f1")
    meanwhile(world, lambda: read_listing(world, HUAWEI))
    older = read_listing(world, HUAWEI)
    assert (older.id, older.state, older.adopted) == (1, ListingState.INTERRUPTED, 0)
    assert world.files()["f1"].listed_in == 2


# When, and on request


def test_listings_are_due_once_a_period_and_sooner_where_they_broke_off(world: World) -> None:
    def due() -> set[str]:
        return {vendor.value for app_id, vendor in world.service.reconciler.find_due(DAY) if app_id == APP}

    assert due() == {"Tencent", "Ws", "Huawei"}
    world.sandbox.next(*[cut_answer()] * MAX_TRIES)
    read_listing(world, WANGSU)
    world.sandbox.next(answer_code(8))
    read_listing(world, HUAWEI)
    read_listing(world, TENCENT)
    read_listing(world, TENCENT, since=START - DAY)
    assert due() == set()
    for delta, expected in ((15, {"Ws"}), (345, {"Ws", "Huawei"}), (1_080, {"Ws", "Huawei", "Tencent"})):
        world.clock.move(minutes=delta)
        assert due() == expected


def test_a_request_is_carried_out_for_each_app_and_vendor(world: World) -> None:
    put(world, TENCENT, "f1")
    number = place_reconcile(world.database, TESTER, [APP], [HUAWEI, TENCENT], START - 3 * DAY, START)
    with world.database.read() as tx:
        order = find_order(tx, number)
    assert order is not None
    numbers = world.service.reconciler.run_request(order, threading.Event())
    with world.database.read() as tx:
        found = [find_listing(tx, each) for each in numbers]
        newest = list_listings(tx, 1, app_id=APP, vendor=HUAWEI)
    assert [(each.app_id, each.vendor, each.since) for each in found if each] == [
        (APP, TENCENT, START - 3 * DAY),
        (APP, HUAWEI, START - 3 * DAY),
    ]
    assert newest == found[1:]


def test_what_cannot_be_reconciled_is_refused(world: World) -> None:
    with pytest.raises(NotPossible, match="is in the future"):
        place_reconcile(world.database, TESTER, [APP], [TENCENT], START + DAY, START)
    with pytest.raises(NotPossible, match="no app or vendor"):
        place_reconcile(world.database, TESTER, [], [TENCENT], None, START)
    with pytest.raises(NoSuchThing, match="app 5 is not configured"):
        world.service.reconciler.run("5", TENCENT, threading.Event())
