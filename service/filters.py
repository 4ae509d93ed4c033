"""What every list can be asked for, declared once: the API makes its parameters from it, the command line its options.

`metadata` of a field holds its `help`, the words that it may be (`one_of`), and what people call it where that is not
its name: `name` everywhere, `option` on the command line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from service.model import FileState, Vendor, Verdict

AUDIT_ACTIONS: Final = (
    *("rules.apply", "hold.place", "hold.release", "files.erase", "files.confirm", "files.retry", "callbacks.replay"),
    *("sweep.request", "plan.approve", "reconcile.request", "token.create", "token.revoke"),
    *("person.add", "person.password", "person.sign_out", "person.remove"),
)


@dataclass(frozen=True, slots=True)
class FileFilter:
    """Which files; every condition that is set must hold. All text is case-sensitive."""

    state: FileState | None = field(default=None, metadata={"help": "Only files in this state."})
    app_id: str | None = field(default=None, metadata={"help": "Only files of this AppID.", "name": "app"})
    vendor: Vendor | None = field(default=None, metadata={"help": "Only files of this vendor."})
    stream: str | None = field(default=None, metadata={"help": "Only streams that match this pattern (* and ?)."})
    name: str | None = field(
        default=None, metadata={"help": "Only names that match this pattern (Ws, Huawei: the file id)."}
    )
    rule: str | None = field(default=None, metadata={"help": "Only files that this rule decides."})
    text: str | None = field(default=None, metadata={"help": "Only files with this text in file id, stream or name."})
    due_before: datetime | None = field(
        default=None, metadata={"help": "Only files still there, due before this time."}
    )
    due_after: datetime | None = field(default=None, metadata={"help": "Only files still there, due after this time."})
    adopted: bool | None = field(default=None, metadata={"help": "Only files that no callback announced."})
    unknown_stream: bool | None = field(default=None, metadata={"help": "Only files whose stream is not known."})
    moved_by: int | None = field(
        default=None,
        metadata={"help": "Only files whose date this rule revision brought forward; the newest of a stream may stay."},
    )


@dataclass(frozen=True, slots=True)
class HoldFilter:
    """Which holds; unless asked for, only those that are in force."""

    app_id: str | None = field(default=None, metadata={"help": "Only holds of this AppID.", "name": "app"})
    released: bool = field(default=False, metadata={"help": "Also released holds."})


@dataclass(frozen=True, slots=True)
class ListingFilter:
    """Which listings; every condition that is set must hold."""

    app_id: str | None = field(default=None, metadata={"help": "Only listings of this AppID.", "name": "app"})
    vendor: Vendor | None = field(default=None, metadata={"help": "Only listings of this vendor."})


@dataclass(frozen=True, slots=True)
class CallbackFilter:
    """Which callbacks; every condition that is set must hold."""

    verdict: Verdict | None = field(default=None, metadata={"help": "Only callbacks with this verdict."})
    app_id: str | None = field(default=None, metadata={"help": "Only callbacks of this AppID.", "name": "app"})
    media_file_id: int | None = field(default=None, metadata={"help": "Only callbacks of this file.", "name": "file"})


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries of the audit; every condition that is set must hold."""

    action: str | None = field(default=None, metadata={"help": "Only changes of this kind.", "one_of": AUDIT_ACTIONS})
    actor: str | None = field(default=None, metadata={"help": "Only changes by this person or token.", "option": "by"})
    subject: str | None = field(default=None, metadata={"help": "Only changes to this, for example hold 4."})


@dataclass(frozen=True, slots=True)
class ReportFilter:
    """Which deletions: those whose end was recorded from the one moment on, and before the other."""

    since: datetime | None = field(default=None, metadata={"help": "The first day or moment.", "name": "from"})
    until: datetime | None = field(
        default=None, metadata={"help": "The last day (it is included), or a moment.", "name": "to", "is_end": True}
    )
