from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from service.core.listing import Query, SearchAnswer
from service.core.model import Transport, Vendor
from service.usecases.access import AppAccess, check_access, check_clock
from service.usecases.diagnosis import Status

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def coded(code: int, message: str = "said so") -> SearchAnswer:
    return SearchAnswer(Transport.ANSWERED, http_status=200, code=code, message=message)


class Zego:
    """Answers SearchMedia with one scripted answer for each vendor, in the order asked."""

    def __init__(self, *answers: SearchAnswer) -> None:
        self.answers = list(answers)
        self.asked: list[Vendor] = []

    def __call__(self, vendor: Vendor, query: Query) -> SearchAnswer:
        assert query == Query(size=1)
        self.asked.append(vendor)
        return self.answers.pop(0)

    def app(self) -> AppAccess:
        return AppAccess("1234567890", "my school", "https://rtc-api.zego.im/", self)


@pytest.mark.parametrize(
    ("answers", "status", "asked", "says"),
    [
        ([coded(0)], Status.OK, 1, "takes the credentials of my school (Tencent)"),
        ([coded(4), coded(0)], Status.OK, 2, "(Ws)"),
        ([coded(3), coded(5), coded(0)], Status.OK, 3, "(Huawei)"),
        ([coded(3), coded(4), coded(8)], Status.PROBLEM, 3, "Tencent: code 3 said so"),
        ([coded(4), coded(7)], Status.PROBLEM, 2, "code 7"),
        ([coded(7)], Status.PROBLEM, 1, "copy AppID and ServerSecret again"),
        ([coded(100000005)], Status.PROBLEM, 1, "copy AppID and ServerSecret again"),
        ([coded(100000004)], Status.PROBLEM, 1, "clock"),
        ([coded(100000016)], Status.PROBLEM, 1, "is_test"),
        ([coded(100000017)], Status.PROBLEM, 1, "ask ZEGO's support to enable"),
        ([coded(100000012)], Status.PROBLEM, 1, "code 100000012"),
        ([coded(100000007)], Status.WARNING, 1, "SearchMedia is not offered"),
        ([coded(6)], Status.WARNING, 1, "busy"),
        ([coded(1000)], Status.WARNING, 1, "code 1000"),
        ([SearchAnswer(Transport.ANSWERED, http_status=429, unreadable=True)], Status.WARNING, 1, "busy"),
        ([SearchAnswer(Transport.ANSWERED, http_status=502, unreadable=True)], Status.PROBLEM, 1, "HTTP 502"),
        ([SearchAnswer(Transport.NOT_SENT, message="timed out")], Status.PROBLEM, 1, "cannot be reached: timed out"),
        ([SearchAnswer(Transport.LOST, message="timed out")], Status.PROBLEM, 1, "cannot be reached: timed out"),
    ],
)
def test_each_answer_has_a_meaning_and_what_is_wrong_a_fix(
    answers: list[SearchAnswer], status: Status, asked: int, says: str
) -> None:
    zego = Zego(*answers)
    check = check_access(zego.app(), lambda: NOW).check
    assert check.status is status
    assert len(zego.asked) == asked
    assert says in f"{check.text} {check.fix}"
    assert check.name == "app 1234567890"
    assert bool(check.fix) == (status is not Status.OK)


@pytest.mark.parametrize(
    ("ahead", "status", "says"),
    [
        (timedelta(0), Status.OK, "within 1 s"),
        (timedelta(seconds=-60), Status.OK, "within 60 s"),
        (timedelta(seconds=61), Status.WARNING, "61 s behind"),
        (timedelta(seconds=-600), Status.WARNING, "600 s ahead of"),
        (timedelta(seconds=601), Status.PROBLEM, "601 s behind"),
        (None, Status.SKIPPED, "no time"),
    ],
)
def test_the_clock_is_held_against_zegos(ahead: timedelta | None, status: Status, says: str) -> None:
    check = check_clock(ahead)
    assert check.status is status
    assert says in check.text


def test_zegos_time_is_taken_even_from_a_refusal() -> None:
    refusal = SearchAnswer(Transport.ANSWERED, http_status=200, code=100000004, date=NOW + timedelta(minutes=20))
    assert check_access(Zego(refusal).app(), lambda: NOW).ahead == timedelta(minutes=20)
