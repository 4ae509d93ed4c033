"""What a page of a listing shows enters the inventory: files are adopted, confirmed, filled in, reopened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from service.database import Transaction
from service.files.policy import PolicyReader, decide_files
from service.files.store import add_files, find_by_identity, flag_streams, save_files
from service.listing import file_store
from service.listing.adopt import Change, Sighting, adopt_file, compare_file, is_lost, trust_created
from service.listing.record import Listing
from service.model import FileState, MediaFile
from service.rules.latest import counts_as_recording, span_of
from service.zego.messages import ListedFile

_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Intake:
    """How what one listing shows enters the inventory."""

    reader: PolicyReader
    listing: Listing
    cooling_off: timedelta
    first_callback_at: datetime | None

    def take(self, tx: Transaction, files: Sequence[ListedFile], asked_at: datetime, now: datetime) -> Counter[str]:
        """Write what some files of a page mean; returns what changed, as a listing counts. Twice is once."""
        sighting = Sighting(self.listing.id, asked_at, now + self.cooling_off, now)
        # Listed twice with two ages, the later one counts.
        listed = {file.file_id: file for file in sorted(files, key=lambda file: file.created_at or _LONG_AGO)}
        known = find_by_identity(tx, self.listing.app_id, self.listing.vendor, listed)
        new = [file for file_id, file in listed.items() if file_id not in known and self._is_wanted(file, now)]
        counts = self._adopt(tx, new, sighting)
        changes = []
        for each in file_store.describe_known(tx, list(known.values())):
            change = compare_file(each, listed[each.file.file_id], sighting)
            if change is not None:
                changes.append((each.file, change))
        counts["listed"] += sum(old.listed_in != self.listing.id for old, _ in changes)
        seen = [old for old, change in changes if not change.is_changed and old.listed_in != self.listing.id]
        file_store.mark_seen(tx, self.listing.id, seen, asked_at)
        return counts + self._change(tx, [pair for pair in changes if pair[1].is_changed], now)

    def _is_wanted(self, listed: ListedFile, now: datetime) -> bool:
        """Only Tencent lists by time: of the others, what was made before is left out here."""
        created = trust_created(listed, now)
        return self.listing.since is None or created is None or created >= self.listing.since

    def _adopt(self, tx: Transaction, new: Sequence[ListedFile], sighting: Sighting) -> Counter[str]:
        files = [adopt_file(self.listing.app_id, self.listing.vendor, listed, sighting) for listed in new]
        add_files(tx, decide_files(tx, self.reader, files, sighting.now))
        lost = sum(is_lost(file, self.first_callback_at) for file in files)
        return Counter(listed=len(files), adopted=len(files), lost=lost)

    def _change(self, tx: Transaction, changes: Sequence[tuple[MediaFile, Change]], now: datetime) -> Counter[str]:
        # The answer of an open call is recorded first; until then the file stays flagged.
        waiting = [change.file for _, change in changes if change.file.state is FileState.DELETING]
        decidable = [change.file for _, change in changes if change.file.state is not FileState.DELETING]
        decided = decide_files(tx, self.reader, decidable, now)
        save_files(tx, [*decided, *waiting])
        after = {file.id: file for file in (*decided, *waiting)}
        pairs = [(old, after[old.id]) for old, _ in changes]
        streams = {file.stream_id for old, new in pairs if _ranks_change(old, new, now) for file in (old, new)}
        flag_streams(tx, self.listing.app_id, streams, only_state=FileState.KEPT)
        return Counter(
            confirmed=sum(change.is_confirmed for _, change in changes),
            filled=sum(change.is_filled for _, change in changes),
            reopened=sum(change.is_reopened for _, change in changes),
        )


def _ranks_change(old: MediaFile, new: MediaFile, now: datetime) -> bool:
    """Whether the other files of a stream may have another rank now."""
    if (old.stream_id, span_of(old)) != (new.stream_id, span_of(new)):
        return True
    return counts_as_recording(old, now) != counts_as_recording(new, now)
