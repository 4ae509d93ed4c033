"""What a second announcement of a known file changes (docs/callbacks.md, "Announced again")."""

from __future__ import annotations

from dataclasses import dataclass, replace

from service.core.model import MediaFile, Suspicion

_COMPARED = ("stream_id", "event", "began_at", "ended_at", "duration_s", "size_bytes", "replay_url")
_FILLED = ("began_at", "duration_s", "size_bytes", "replay_url")
_KEPT = ("ended_at", "received_at", "vendor_created_at", "rank")


@dataclass(frozen=True, slots=True)
class Merge:
    """The facts after an announcement, and what it said otherwise without being followed."""

    file: MediaFile
    differences: tuple[str, ...]


def is_believed(suspicion: Suspicion | None) -> bool:
    """Nothing speaks against what the callback says, even if its file waits for the vendor's listing."""
    return suspicion is None or suspicion is Suspicion.UNLISTED


def merge_announcement(
    known: MediaFile, announced: MediaFile, *, end_believed: bool, only_listed: bool = False
) -> Merge:
    """Merge the facts of a known file with those of another callback about it.

    The later end wins, missing facts are filled in, other differences are only recorded. A suspicious callback may make
    a file live longer but teaches nothing else; a fresh one replaces what only a stale one had said, and tells of a
    file that was `only_listed` so far what no listing tells. `end_believed` says whether the announcement has an end of
    its own.
    """
    merged = _facts(known, announced)
    if only_listed and is_believed(announced.suspicion):
        merged = _introduce(merged, announced, end_believed=end_believed)
    if end_believed and announced.ended_at > merged.ended_at:
        merged = replace(merged, ended_at=announced.ended_at)
    merged = replace(merged, suspicion=_suspicion(known.suspicion, announced.suspicion))
    differences = tuple(
        f"{name}: {getattr(announced, name)}"
        for name in _COMPARED
        if _said(announced, name, end_believed=end_believed) and getattr(announced, name) != getattr(merged, name)
    )
    return Merge(merged, differences)


def _facts(known: MediaFile, announced: MediaFile) -> MediaFile:
    if not is_believed(announced.suspicion):
        return known
    if known.suspicion is Suspicion.STALE:
        kept = {name: getattr(known, name) for name in _KEPT}
        return replace(announced, **kept)
    missing = {name: getattr(announced, name) for name in _FILLED if getattr(known, name) is None}
    return replace(known, **missing)


def _introduce(known: MediaFile, announced: MediaFile, *, end_believed: bool) -> MediaFile:
    """The facts of a file that a listing showed before its first callback came.

    Where the vendor's own time is its end so far, ages go on counting from there: an earlier end makes it no older.
    """
    introduced = replace(known, stream_id=announced.stream_id, event=announced.event)
    created_at = known.vendor_created_at
    if end_believed and created_at is not None and known.ended_at <= created_at:
        introduced = replace(introduced, ended_at=announced.ended_at)
    return introduced


def _suspicion(known: Suspicion | None, announced: Suspicion | None) -> Suspicion | None:
    if Suspicion.CONFLICT in (known, announced):
        return Suspicion.CONFLICT
    # Doubtful news about a file that a fresh callback announced proves nothing against it, and the other way round.
    return announced if known is Suspicion.STALE else known


def _said(announced: MediaFile, name: str, *, end_believed: bool) -> bool:
    return end_believed if name == "ended_at" else getattr(announced, name) is not None
