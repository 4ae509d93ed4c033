"""What a `procedure` callback tells of the renditions that were made of a file (docs/protocol.md, "The callback")."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from service.core.renditions import MOST_RENDITIONS, Rendition
from service.zego.callback_facts import OddFactError, read_duration, read_size, read_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.zego.wirejson import JsonValue

Fact = TypeVar("Fact")

_TALLEST = 100_000


@dataclass(frozen=True, slots=True)
class Transcoded:
    """Renditions were made of a file of Tencent that was announced, or will be listed, on its own."""

    app_id: str
    file_id: str
    renditions: tuple[Rendition, ...]


def read_renditions(extra: JsonValue) -> tuple[Rendition, ...] | None:
    """The renditions that were made, as far as they can be told apart; None where there is no list of them.

    They only inform: a fact that is odd becomes unknown.
    """
    media = extra.get("media") if isinstance(extra, dict) else None
    listed = media.get("transcode") if isinstance(media, dict) else None
    if not isinstance(listed, list):
        return None
    made = [_read_rendition(entry) for entry in listed[:MOST_RENDITIONS] if _was_made(entry)]
    return tuple(each for each in made if each.replay_url is not None or each.height is not None)


def _was_made(entry: JsonValue) -> bool:
    return isinstance(entry, dict) and entry.get("code") == "0"


def _read_rendition(entry: JsonValue) -> Rendition:
    facts = entry if isinstance(entry, dict) else {}
    video = facts.get("video")
    height = _known(read_size, "height", video.get("height") if isinstance(video, dict) else None)
    return Rendition(
        height=height if height is not None and 0 < height <= _TALLEST else None,
        size_bytes=_known(read_size, "size", facts.get("size")),
        duration_s=_known(read_duration, "duration", facts.get("duration")),
        replay_url=_known(read_url, "replay_url", facts.get("replay_url")),
    )


def _known(read: Callable[[str, JsonValue], Fact | None], name: str, value: JsonValue) -> Fact | None:
    with suppress(OddFactError):
        return read(name, value)
    return None
