from __future__ import annotations

import pytest

from service.web.remembered import Remembered


def test_an_answer_lives_as_long_as_was_said_of_it() -> None:
    time, asked = [0.0], []

    def ask() -> str:
        asked.append(time[0])
        time[0] += 2
        return "answer"

    remembered = Remembered(ask, lambda _answer, took: 10 * took, lambda: time[0])
    assert remembered.get() == "answer"
    time[0] = 21.9
    remembered.get()
    assert asked == [0]
    time[0] = 22
    remembered.get()
    assert asked == [0, 22]


def test_an_error_is_not_remembered() -> None:
    answers = iter([0, 1])
    remembered = Remembered(lambda: 1 // next(answers), lambda _answer, _took: 10, lambda: 0)
    with pytest.raises(ZeroDivisionError):
        remembered.get()
    assert remembered.get() == 1
