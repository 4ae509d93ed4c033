"""What a second announcement of a known file changes (docs/callbacks.md, "Announced again")."""

from __future__ import annotations

from dataclasses import dataclass, replace

from service.core.model import MediaFile, Suspicion

_COMPARED = ("stream_id", "event", "began_at", "ended_at", "duration_s", "size_bytes", "replay_url")
_FILLED = ("began_at", "duration_s", "size_bytes", "replay_url")


@dataclass(frozen=True, slots=True)
class Merge:
    """The facts after an announcement, and what it said otherwise without being followed."""

    file: MediaFile
    differences: tuple[str, ...]


def merge_announcement(known: MediaFile, announced: MediaFile, *, end_believed: bool) -> Merge:
    """Merge the facts of a known file with those of another callback about it.

    The later end wins, missing facts are filled in, other differences are only recorded. A suspicious callback may make
    a file live longer but teaches nothing else; a fresh one replaces what only a stale one had said. `end_believed`
    says whether the announcement has an end of its own.
    """
    merged = _facts(known, announced)
    if end_believed and announced.ended_at > known.ended_at:
        merged = replace(merged, ended_at=announced.ended_at)
    merged = replace(merged, suspicion=_suspicion(known.suspicion, announced.suspicion))
    differences = tuple(
        f"{name}: {getattr(announced, name)}"
        for name in _COMPARED
        if _said(announced, name, end_believed=end_believed) and getattr(announced, name) != getattr(merged, name)
    )
    return Merge(merged, differences)


def _facts(known: MediaFile, announced: MediaFile) -> MediaFile:
    if announced.suspicion is not None:
        return known
    if known.suspicion is Suspicion.STALE:
        return replace(announced, ended_at=known.ended_at, received_at=known.received_at, rank=known.rank)
    missing = {name: getattr(announced, name) for name in _FILLED if getattr(known, name) is None}
    return replace(known, **missing)


def _suspicion(known: Suspicion | None, announced: Suspicion | None) -> Suspicion | None:
    if Suspicion.CONFLICT in (known, announced):
        return Suspicion.CONFLICT
    # Stale news about a file that a fresh callback announced proves nothing against it, and the other way round.
    return Suspicion.STALE if known is announced is Suspicion.STALE else None


def _said(announced: MediaFile, name: str, *, end_believed: bool) -> bool:
    return end_believed if name == "ended_at" else getattr(announced, name) is not None
