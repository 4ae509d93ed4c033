"""What announcements do to files: add them, or fill in what is known of them (docs/callbacks.md, "Announced again")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple, TypeAlias

from service.model import END_STATES, Announcement, Erasure, MediaFile, Suspicion, Vendor
from service.rules.decide import trust_end
from service.rules.patterns import matches

Identity: TypeAlias = tuple[str, Vendor, str]
"""What tells files apart: app, vendor and the vendor's file id."""

_COMPARED: Final = ("stream_id", "event", "began_at", "ended_at", "duration_s", "size_bytes", "replay_url")
_FILLED_IN: Final = ("began_at", "duration_s", "size_bytes", "replay_url")


class Change(NamedTuple):
    """A file before and after; `old` None: it is new."""

    old: MediaFile | None
    new: MediaFile


def identify(said: Announcement) -> Identity:
    """The identity of the file that is announced."""
    return said.app_id, said.vendor, said.file_id


@dataclass(slots=True)
class FileBook:
    """The files that a batch of callbacks is about, as they are known and as they become.

    `erasures` are those that these files carry.
    """

    known: Mapping[Identity, MediaFile]
    erasures: Mapping[int, Erasure]
    _changed: dict[Identity, MediaFile] = field(default_factory=dict)
    _by_number: dict[int, Identity] = field(init=False)

    def __post_init__(self) -> None:
        self._by_number = {file.id: identity for identity, file in self.known.items()}

    def announce(
        self, said: Announcement, received_at: datetime, suspicion: Suspicion | None, since: datetime | None
    ) -> str:
        """Add the file that is announced, or merge what is said of it; returns what came of it, for people.

        A suspicion that is known `since` a moment changes nothing if the file was confirmed after that. None: since
        now, whatever the clock says; it may have been set back.
        """
        identity = identify(said)
        announced, end_is_trusted = _read_announcement(said, received_at, suspicion)
        file = self._find(identity)
        if file is None:
            self._changed[identity] = announced
            return "announced a new file"
        if suspicion is not None and _was_confirmed(file, since):
            return "announced a file that was confirmed since"
        merged, differences = merge_announcement(file, announced, end_is_trusted=end_is_trusted)
        self._change(identity, file, merged)
        if file.state in END_STATES:
            return f"announced a file that is {file.state} already"
        return describe_merge(file, merged, differences)

    def suspect(self, number: int, since: datetime | None) -> None:
        """Stop trusting a file because of a conflict that is known since a moment (None: since now).

        Not if it was confirmed after it.
        """
        identity = self._by_number.get(number)
        file = None if identity is None else self._find(identity)
        if identity is not None and file is not None and not _was_confirmed(file, since):
            self._change(identity, file, file._replace(suspicion=Suspicion.CONFLICT))

    def changes(self) -> Iterable[Change]:
        """The files that are new or have changed; those to be decided about are flagged."""
        return [Change(self.known.get(identity), file) for identity, file in self._changed.items()]

    def _find(self, identity: Identity) -> MediaFile | None:
        return self._changed.get(identity) or self.known.get(identity)

    def _change(self, identity: Identity, file: MediaFile, changed: MediaFile) -> None:
        is_ended = file.state in END_STATES
        if is_ended:  # only a conflict is noted: a listing may show the file again
            suspicion = changed.suspicion if changed.suspicion is Suspicion.CONFLICT else file.suspicion
            changed = file._replace(suspicion=suspicion)
        if changed == file:
            return
        erasure = None if changed.erasure_id is None else self.erasures.get(changed.erasure_id)
        if erasure is not None and not fits_erasure(changed, erasure):
            changed = changed._replace(erasure_id=None)
        self._changed[identity] = changed._replace(decide_again=not is_ended)


def merge_announcement(
    known: MediaFile, announced: MediaFile, *, end_is_trusted: bool
) -> tuple[MediaFile, tuple[str, ...]]:
    """The facts of a known file after another announcement of it, and what that said otherwise and is not followed.

    The later end wins, missing facts are filled in. An announcement that is not trusted may make a file live longer but
    teaches nothing else; a trusted one replaces what only a stale one had said, and introduces a file that only a
    listing showed so far. `end_is_trusted` says whether the announcement has an end of its own.
    """
    merged = known
    if announced.suspicion is None:
        merged = _learn(known, announced)
        created_at = known.vendor_created_at
        if known.is_adopted and end_is_trusted and created_at is not None and known.ended_at <= created_at:
            merged = merged._replace(ended_at=announced.ended_at)  # its age counts from the vendor's time all the same
    if end_is_trusted and announced.ended_at > merged.ended_at:
        merged = merged._replace(ended_at=announced.ended_at)
    merged = merged._replace(suspicion=_merge_suspicions(known.suspicion, announced.suspicion))
    differences = tuple(
        f"{name} {getattr(announced, name)}"
        for name in _COMPARED
        if (end_is_trusted if name == "ended_at" else getattr(announced, name) is not None)
        and getattr(announced, name) != getattr(merged, name)
    )
    return merged, differences


def describe_merge(known: MediaFile, merged: MediaFile, differences: tuple[str, ...]) -> str:
    """What came of an announcement of a known file, in words."""
    changed = [name for name in (*_COMPARED, "suspicion") if getattr(known, name) != getattr(merged, name)]
    text = f"announced a known file: changed {', '.join(changed)}" if changed else "announced a known file"
    return f"{text}; not followed: {', '.join(differences)}" if differences else text


def fits_erasure(file: MediaFile, erasure: Erasure) -> bool:
    """Whether an erasure still concerns a file, as far as its stream goes: an unknown one fits no pattern."""
    pattern = erasure.stream_pattern
    return pattern is None or (bool(file.stream_id) and matches(pattern, file.stream_id))


def _read_announcement(
    said: Announcement, received_at: datetime, suspicion: Suspicion | None
) -> tuple[MediaFile, bool]:
    began_at, ended_at = trust_end(said.began_at, said.ended_at, received_at)
    file = MediaFile(
        0,
        said.app_id,
        said.vendor,
        said.file_id,
        said.stream_id,
        said.event,
        ended_at,
        received_at,
        began_at,
        said.duration_s,
        said.size_bytes,
        said.replay_url,
        suspicion=suspicion,
        decide_again=True,
    )
    return file, ended_at == said.ended_at


def _learn(known: MediaFile, announced: MediaFile) -> MediaFile:
    """The facts of a file after a trusted announcement, its end left aside."""
    if known.suspicion is Suspicion.STALE:  # nothing trusted was said of it before
        return known._replace(**{name: getattr(announced, name) for name in ("stream_id", "event", *_FILLED_IN)})
    missing = {name: getattr(announced, name) for name in _FILLED_IN if getattr(known, name) is None}
    if known.is_adopted:
        missing |= {"stream_id": announced.stream_id, "event": announced.event}
        missing["began_at"] = announced.began_at or known.began_at
    return known._replace(**missing)


def _merge_suspicions(known: Suspicion | None, announced: Suspicion | None) -> Suspicion | None:
    if Suspicion.CONFLICT in (known, announced):
        return Suspicion.CONFLICT
    # Stale news about a file that a fresh callback announced prove nothing against it, and the other way round.
    return announced if known is Suspicion.STALE else known


def _was_confirmed(file: MediaFile, since: datetime | None) -> bool:
    return since is not None and file.confirmed_at is not None and since <= file.confirmed_at
