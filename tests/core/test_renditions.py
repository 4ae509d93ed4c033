from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.core.renditions import MOST_RENDITIONS, Rendition, list_renditions, note_renditions

AT, LATER = "2026-03-01T12:00:00Z", "2026-03-02T12:00:00Z"
SMALL = Rendition(360, 10, 2.5, "https://a/360")
LARGE = Rendition(720, None, None, "https://a/720")

announced = st.builds(
    Rendition,
    height=st.none() | st.sampled_from([360, 720]),
    size_bytes=st.none() | st.integers(0, 3),
    duration_s=st.none() | st.just(1.5),
    replay_url=st.none() | st.sampled_from(["https://a", "https://b"]),
).filter(lambda each: each.height is not None or each.replay_url is not None)


def noted(*renditions: Rendition) -> str | None:
    return note_renditions(None, renditions, AT)


def test_they_are_noted_in_their_order_with_the_moment() -> None:
    assert list_renditions(noted(SMALL, LARGE)) == [
        {"height": 360, "size_bytes": 10, "duration_s": 2.5, "replay_url": "https://a/360", "at": AT},
        {"height": 720, "size_bytes": None, "duration_s": None, "replay_url": "https://a/720", "at": AT},
    ]


def test_none_are_noted_as_none() -> None:
    assert noted() is None
    assert list_renditions(None) == []


def test_the_same_url_is_the_same_rendition_and_gets_what_was_missing() -> None:
    again = note_renditions(noted(LARGE), [Rendition(540, 20, 9.0, "https://a/720")], LATER)
    assert list_renditions(again) == [
        {"height": 720, "size_bytes": 20, "duration_s": 9.0, "replay_url": "https://a/720", "at": AT}
    ]


def test_without_a_url_the_height_tells_them_apart() -> None:
    assert len(list_renditions(noted(LARGE, Rendition(720, 5, None, None), Rendition(360, 5, None, None)))) == 2
    assert len(list_renditions(noted(LARGE, Rendition(720, 5, None, "https://a/another")))) == 2
    assert (
        len(list_renditions(noted(Rendition(None, 1, None, "https://a"), Rendition(None, 1, None, "https://b")))) == 2
    )


def test_the_first_fifty_stay() -> None:
    many = [Rendition(None, None, None, f"https://a/{number}") for number in range(MOST_RENDITIONS + 9)]
    full = note_renditions(noted(*many[9:]), many[:9], LATER)
    assert full == noted(*many[9:])
    assert len(list_renditions(full)) == MOST_RENDITIONS


@given(st.lists(announced, max_size=6))
def test_noting_the_same_again_changes_nothing(renditions: list[Rendition]) -> None:
    once = note_renditions(None, renditions, AT)
    settled = note_renditions(once, renditions, LATER)
    assert note_renditions(settled, renditions, LATER) == settled
    assert len(list_renditions(settled)) == len(list_renditions(once))
