from __future__ import annotations

from datetime import UTC, datetime, timedelta

from service.notify.changes import Channel, Finding, Kind, Known, Message, State, compare, write_text

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FAILED = Finding("failed files", "3 files given up", "see them")


def tell(*looks: tuple[float, list[Finding]]) -> list[tuple[float, str, str]]:
    """What is said, by the minute of the look."""
    known: dict[str, Known] = {}
    said = []
    for minute, found in looks:
        known, messages = compare(known, found, NOW + timedelta(minutes=minute))
        said += [(minute, message.kind.value, message.text) for message in messages]
    return said


def test_what_holds_for_a_minute_is_said_once_and_what_is_gone_for_five_is_over() -> None:
    more = FAILED._replace(text="9 files given up")
    looks = [(0, [FAILED]), (0.9, [FAILED]), (1, [FAILED]), (2, [more]), (30, [more]), (31, []), (35.9, []), (36, [])]
    looks += [(37, []), (60, [FAILED]), (61, [FAILED])]
    assert tell(*looks) == [
        (1, "problem", "3 files given up"),
        (36, "over", "9 files given up"),
        (61, "problem", "3 files given up"),
    ]


def test_what_flaps_is_not_said() -> None:
    flapping = [(number / 2, [FAILED] if number % 2 else []) for number in range(200)]
    assert tell(*flapping) == []
    reported = [
        (0.0, [FAILED]),
        (1.0, [FAILED]),
        *((2 + number, [FAILED] if number % 4 else []) for number in range(99)),
    ]
    assert [kind for _, kind, _ in tell(*reported)] == ["problem"]


def test_findings_are_independent_of_each_other() -> None:
    other = Finding("leader", "no worker is running")
    said = tell((0, [FAILED]), (1, [FAILED, other]), (2, [other]), (3, [other]), (7, [other]))
    assert said == [(1, "problem", FAILED.text), (2, "problem", other.text), (7, "over", FAILED.text)]


def test_a_clock_that_was_set_back_delays_nothing() -> None:
    assert tell((1_000, [FAILED]), (0, [FAILED]), (1, [FAILED])) == [(1, "problem", FAILED.text)]
    said = tell((0, [FAILED]), (1, [FAILED]), (900, []), (0, []), (5, []))
    assert [kind for _, kind, _ in said] == ["problem", "over"]


def test_a_channel_that_fails_is_tried_again_after_longer_and_longer_pauses() -> None:
    channel, moment, pauses = Channel([Message(Kind.TEST, "a")]), NOW, []
    for _ in range(10):
        assert channel.may_send(moment)
        channel.note_failure("it answered 500", moment)
        assert channel.retry_at is not None
        pauses.append((channel.retry_at - moment).total_seconds())
        assert not channel.may_send(channel.retry_at - timedelta(seconds=1))
        moment = channel.retry_at
    assert pauses[:3] == [30, 60, 120]
    assert pauses[-1] == 3600
    assert channel.failing_since == NOW
    channel.note_failure("it answered 500", moment + timedelta(days=300))
    assert channel.may_send(moment), "the clock was set back"
    channel.note_sent()
    assert channel == Channel()


def test_what_waits_is_bounded_and_channels_that_are_not_set_any_more_are_forgotten() -> None:
    state = State()
    state.queue([Message(Kind.PROBLEM, f"{number}") for number in range(200)], ["slack", "mailto"])
    assert [message.text for message in state.channels["slack"].waiting] == [f"{number}" for number in range(150, 200)]
    state.queue([], ["mailto"])
    assert list(state.channels) == ["mailto"]


def test_a_message_says_what_happened_what_to_do_and_where() -> None:
    messages = [
        Message(Kind.PROBLEM, "app 1 has been blocked", "correct the secret"),
        Message(Kind.OVER, "no worker is running"),
    ]
    title, body = write_text(messages, "web-1", "https://retention.example.com")
    assert title == "zego-retention on web-1: 1 problem, 1 over"
    assert body.splitlines() == [
        "app 1 has been blocked",
        "→ correct the secret",
        "Over: no worker is running",
        "https://retention.example.com",
    ]
    assert write_text([messages[1]], "web-1", None)[1] == "Over: no worker is running"
