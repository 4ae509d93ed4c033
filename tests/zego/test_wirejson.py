from __future__ import annotations

import pytest

from service.zego.wirejson import MAX_DEPTH, is_text, make_storable, read_json


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5285890784273533167", "5285890784273533167"),
        ("1.50", "1.50"),
        ("-0", "-0"),
        ('{"a": [1, "1", true, null]}', {"a": ["1", "1", True, None]}),
        ('"line\nbreak"', "line\nbreak"),
        (r'"[[[[ \" {{{"', '[[[[ " {{{'),
    ],
)
def test_values_are_read_with_numbers_as_they_stand(text: str, value: object) -> None:
    assert read_json(text) == (value, None)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"a": 1, "a": 1}', "'a'"),
        ('[{"b": {"c": 1, "c": 2}}]', "'c'"),
        ('{"\\ud800": 1, "\\ud800": 1}', "ud800"),
        ('{"a": NaN}', "NaN"),
        ("[-Infinity]", "-Infinity"),
    ],
)
def test_what_leaves_the_meaning_uncertain_is_named(text: str, named: str) -> None:
    _, problem = read_json(text)
    assert problem is not None
    assert named in problem
    assert problem.isascii()


def test_depth_is_bounded_whatever_the_stack_of_the_caller() -> None:
    def nested(levels: int) -> str:
        return "[" * levels + "]" * levels

    assert read_json(nested(MAX_DEPTH))[1] is None
    for levels in (MAX_DEPTH + 1, 200_000):
        with pytest.raises(ValueError, match="levels deep"):
            read_json(nested(levels))


def test_storable_text() -> None:
    assert is_text("課程-😀\n")
    assert not is_text("a\x00b")
    assert not is_text("a\udc80")
    assert [is_text("é" * count, max_bytes=4) for count in (2, 3)] == [True, False]
    assert make_storable("a\x00\ud800b" + "c" * 9, 6) == "a\ufffd\ufffdbcc"
