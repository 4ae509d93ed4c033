from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.schedule import Cron, Every, Slots, describe_slots

BERLIN, LORD_HOWE, HAVANA = ZoneInfo("Europe/Berlin"), ZoneInfo("Australia/Lord_Howe"), ZoneInfo("America/Havana")
ZONES = [ZoneInfo("UTC"), BERLIN, LORD_HOWE, HAVANA, ZoneInfo("Asia/Shanghai"), ZoneInfo("Pacific/Apia")]
EXPRESSIONS = [
    "* * * * *",
    "*/15 * * * *",
    "30 * * * *",
    "15,45 1-3 * * *",
    "30 2 * * *",
    "0 0 * * *",
    "0 */6 * * *",
    "0 3 * * 0",
    "0 3 * * 7",
    "10 4 13 * 5",
    "0 0 29 2 *",
    "*/10 2 * * *",
]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("period", "now", "last"),
    [
        (timedelta(minutes=15), "2026-05-01T12:14:59.999999", "2026-05-01T12:00"),
        (timedelta(minutes=15), "2026-05-01T12:15", "2026-05-01T12:15"),
        (timedelta(days=1), "2026-05-01T23:59", "2026-05-01T00:00"),
        (timedelta(seconds=7), "1970-01-01T00:00:20", "1970-01-01T00:00:14"),
    ],
)
def test_a_period_fires_at_its_multiples(period: timedelta, now: str, last: str) -> None:
    assert Every(period).last_slot(utc(now)) == utc(last)
    assert Every(period).last_slot(utc(last) + period) == utc(last) + period
    assert Every(period).next_slot(utc(now)) == utc(last) + period


@pytest.mark.parametrize(
    ("expression", "zone", "now", "last", "following"),
    [
        ("30 3 * * *", BERLIN, "2026-01-10T02:30", "2026-01-10T02:30", "2026-01-11T02:30"),
        ("30 3 * * *", BERLIN, "2026-01-10T02:29:59.999999", "2026-01-09T02:30", "2026-01-10T02:30"),
        ("30 3 * * *", BERLIN, "2026-07-10T12:00", "2026-07-10T01:30", "2026-07-11T01:30"),
        # 2026-03-29 in Berlin: 02:00 becomes 03:00, so 02:30 fires at 03:00 (01:00Z).
        ("30 2 * * *", BERLIN, "2026-03-29T00:59", "2026-03-28T01:30", "2026-03-29T01:00"),
        ("30 2 * * *", BERLIN, "2026-03-29T01:00", "2026-03-29T01:00", "2026-03-30T00:30"),
        # 2026-10-25 in Berlin: 03:00 becomes 02:00, so 02:30 comes twice (00:30Z and 01:30Z) and fires once.
        ("30 2 * * *", BERLIN, "2026-10-25T00:29", "2026-10-24T00:30", "2026-10-25T00:30"),
        ("30 2 * * *", BERLIN, "2026-10-25T01:10", "2026-10-25T00:30", "2026-10-26T01:30"),
        ("30 2 * * *", BERLIN, "2026-10-25T01:45", "2026-10-25T00:30", "2026-10-26T01:30"),
        ("*/30 * * * *", BERLIN, "2026-10-25T01:10", "2026-10-25T01:00", "2026-10-25T01:30"),
        # 2026-05-03 is a Sunday, by either number.
        ("0 0 * * 0", ZONES[0], "2026-05-01T00:00", "2026-04-26T00:00", "2026-05-03T00:00"),
        ("0 0 * * 7", ZONES[0], "2026-05-01T00:00", "2026-04-26T00:00", "2026-05-03T00:00"),
        # The 13th or a Friday (the 15th), whichever comes.
        ("0 0 13 * 5", ZONES[0], "2026-05-12T00:00", "2026-05-08T00:00", "2026-05-13T00:00"),
        ("0 0 13 * 5", ZONES[0], "2026-05-14T00:00", "2026-05-13T00:00", "2026-05-15T00:00"),
        ("0 0 29 2 *", ZONES[0], "2026-05-01T00:00", "2024-02-29T00:00", "2028-02-29T00:00"),
    ],
)
def test_cron_fires_as_cron_does(expression: str, zone: ZoneInfo, now: str, last: str, following: str) -> None:
    cron = Cron(expression, zone)
    assert cron.last_slot(utc(now)) == utc(last)
    assert cron.last_slot(utc(following)) == utc(following)
    assert cron.next_slot(utc(now)) == utc(following)
    assert cron.next_slot(utc(last)) == utc(following)
    assert cron.last_slot(utc(following) - timedelta(microseconds=1)) == utc(last)


crons = st.builds(Cron, st.sampled_from(EXPRESSIONS), st.sampled_from(ZONES))
periods = st.integers(1, 10**6).map(lambda seconds: Every(timedelta(seconds=seconds)))
change_days = st.sampled_from(
    [
        utc(day)
        for day in ("2011-12-30", "2026-03-08", "2026-03-29", "2026-04-04", "2026-10-03", "2026-10-25", "2026-11-01")
    ]
)
nearby = st.timedeltas(timedelta(hours=-30), timedelta(hours=30))
moments = st.builds(lambda day, offset: day + offset, change_days, nearby)


@given(crons | periods, moments, st.timedeltas(timedelta(0), timedelta(hours=30)))
@example(Cron("30 2 * * *", BERLIN), utc("2026-10-25T01:10"), timedelta(hours=1))
@example(Cron("*/10 2 * * *", LORD_HOWE), utc("2026-04-04T15:45"), timedelta(minutes=10))
def test_slots_are_moments_in_order_whoever_asks(slots: Slots, now: datetime, ahead: timedelta) -> None:
    last, later = slots.last_slot(now), slots.last_slot(now + ahead)
    assert last <= now
    assert last.utcoffset() == timedelta(0)
    assert slots.last_slot(last) == last
    assert slots.last_slot(last - timedelta(microseconds=1)) < last
    assert last == later if later <= now else last < later


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * * *",
        "0 * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "@hourly",
        "a b c d e",
        "*/0 * * * *",
        "5-1 * * * *",
        "0 0 30 2 *",
        "0 0 31 2,4,6,9,11 *",
        "* * * * 1L/2",
        "9" * 5_000 + " * * * *",
    ],
)
def test_an_expression_that_never_fires_is_refused_with_a_right_one(expression: str) -> None:
    with pytest.raises(ValueError, match=r"for example 30 3 \* \* \*") as caught:
        Cron(expression, BERLIN)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("slots", "text"),
    [
        (None, "off"),
        (Every(timedelta(minutes=15)), "every 15m"),
        (Every(timedelta(seconds=90)), "every 90s"),
        (Cron("30  3 * * 1-5", BERLIN), "30 3 * * 1-5 Europe/Berlin"),
    ],
)
def test_a_schedule_is_described_for_people(slots: Slots | None, text: str) -> None:
    assert describe_slots(slots) == text
