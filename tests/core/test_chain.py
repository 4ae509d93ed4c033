from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import accumulate

import pytest

from service.core.chain import START, Entry, Head, Link, add_link, canonical_bytes, check_chain, parse_head

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ENTRY = Entry(7, NOON, "ålice", "command line", "place_hold", "hold 3", '{"reason": "trial"}')


def make_chain(count: int) -> list[Link]:
    entries = [replace(ENTRY, id=number, at=NOON + timedelta(seconds=number)) for number in range(1, count + 1)]
    heads = list(accumulate(entries, add_link, initial=START))[1:]
    return [Link(h.position, e.id, h.hash, e) for h, e in zip(heads, entries, strict=True)]


def altered(link: Link, **changes: object) -> Link:
    assert link.entry is not None
    return replace(link, entry=replace(link.entry, **changes))  # type: ignore[arg-type]


def test_an_entry_has_the_bytes_that_the_documentation_shows() -> None:
    assert canonical_bytes(ENTRY) == (
        b'{"action":"place_hold","actor":"\\u00e5lice","at":"2026-03-01T12:00:00.000000Z",'
        b'"detail":"{\\"reason\\": \\"trial\\"}","id":7,"subject":"hold 3","through":"command line"}'
    )
    digest = hashlib.sha256(b"0" * 64 + canonical_bytes(ENTRY)).hexdigest()
    assert add_link(START, ENTRY) == Head(1, digest)


def test_the_zone_in_which_a_time_is_read_does_not_matter() -> None:
    elsewhere = replace(ENTRY, at=NOON.astimezone(timezone(timedelta(hours=8))))
    assert canonical_bytes(elsewhere) == canonical_bytes(ENTRY)


def test_a_chain_is_right_in_one_walk_and_in_parts() -> None:
    links = make_chain(5)
    whole = check_chain(START, links)
    assert whole == (Head(5, links[-1].hash), None)
    first, fault = check_chain(START, links[:2])
    assert fault is None
    assert check_chain(first, links[2:]) == whole
    assert check_chain(START, []) == (START, None)


@pytest.mark.parametrize(
    "change",
    [
        {"id": 99},
        {"at": NOON},
        {"actor": "mallory"},
        {"through": "API"},
        {"action": "release_hold"},
        {"subject": "hold 4"},
        {"detail": "{}"},
        {"detail": b"{}"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_altered_fact_is_found(change: dict[str, object]) -> None:
    links = make_chain(4)
    links[2] = altered(links[2], **change)
    head, fault = check_chain(START, links)
    assert head == Head(2, links[1].hash)
    assert fault is not None
    assert "entry 3 (position 3)" in fault


def test_what_is_missing_swapped_or_put_between_is_found() -> None:
    links = make_chain(4)
    for found, says in (
        ([links[0], *links[2:]], "position 2 of the chain is missing"),
        ([links[0], replace(links[1], entry=None), *links[2:]], "entry 2 (position 2) is missing"),
        ([links[0], replace(links[2], position=2), replace(links[1], position=3), links[3]], "entry 3 (position 2)"),
        ([*links[:3], replace(links[3], hash="0" * 64)], "entry 4 (position 4)"),
    ):
        fault = check_chain(START, found)[1]
        assert fault is not None
        assert says in fault


def test_a_noted_head_is_looked_for_on_the_way() -> None:
    links = make_chain(4)
    assert check_chain(START, links, Head(2, links[1].hash))[1] is None
    fault = check_chain(START, links, Head(2, links[2].hash))[1]
    assert fault is not None
    assert "rewritten" in fault


def test_a_head_reads_back_as_it_was_written() -> None:
    head = add_link(START, ENTRY)
    assert parse_head(str(head)) == head


@pytest.mark.parametrize(
    "text", ["", "1", "1:", "1:abc", f"x:{'0' * 64}", f"-1:{'0' * 64}", f"1:{'g' * 64}", "²:" + "0" * 64]
)
def test_what_is_no_head_is_refused_with_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="POSITION:HASH"):
        parse_head(text)
