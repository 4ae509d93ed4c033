from __future__ import annotations

import pytest

from service.core.replay_urls import list_spellings


@pytest.mark.parametrize(
    ("url", "spellings"),
    [
        ("https://a/b.mp4", {"http://a/b.mp4"}),
        ("http://a/b.mp4", {"https://a/b.mp4"}),
        ("HTTP://a/b.mp4", {"https://a/b.mp4", "http://a/b.mp4"}),
        ("http://a/b.mp4?x=1", {"https://a/b.mp4?x=1", "https://a/b.mp4", "http://a/b.mp4"}),
        ("https://a/b.mp4#t=1?x", {"http://a/b.mp4#t=1?x", "https://a/b.mp4", "http://a/b.mp4"}),
        ("a/b.mp4", set()),
        ("", set()),
        ("rtmp://a/b", set()),
    ],
)
def test_other_spellings_of_the_same_url(url: str, spellings: set[str]) -> None:
    assert set(list_spellings(url)) == spellings
