"""Transcoded renditions of a file: what is noted of them. They go with the file, and decide nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_RENDITIONS = 50
"""As many are noted of one file; those that were announced first stay."""


@dataclass(frozen=True, slots=True)
class Rendition:
    """One rendition as it was announced; None is what was not told. It has a height in lines, a replay URL, or both."""

    height: int | None
    size_bytes: int | None
    duration_s: float | None
    replay_url: str | None


def list_renditions(noted: str | None) -> list[dict[str, Any]]:
    """The noted renditions, each with `height`, `size_bytes`, `duration_s`, `replay_url` and `at` (ISO 8601)."""
    renditions: list[dict[str, Any]] = json.loads(noted) if noted else []
    return renditions


def note_renditions(noted: str | None, announced: Iterable[Rendition], at: str) -> str | None:
    """The note after an announcement: known ones keep their facts and get what was missing, new ones come at the end.

    Two are one rendition if they have the same URL or, where one has none, the same height.
    """
    renditions = list_renditions(noted)
    for each in announced:
        known = next((other for other in renditions if _is_same(other, each)), None)
        if known is not None:
            known.update({name: value for name, value in asdict(each).items() if known[name] is None})
        elif len(renditions) < MOST_RENDITIONS:
            renditions.append(asdict(each) | {"at": at})
    return json.dumps(renditions, ensure_ascii=False) if renditions else None


def _is_same(known: dict[str, Any], announced: Rendition) -> bool:
    if known["replay_url"] is not None and announced.replay_url is not None:
        return bool(known["replay_url"] == announced.replay_url)
    return bool(known["height"] == announced.height)
