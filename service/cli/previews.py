"""How a preview is shown to people, and how they agree to it."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import click

from service.cli.invocation import CommandFailed
from service.cli.tables import make_table, number, prose, word
from service.cli.wording import absolute, parse_moment, safe, size
from service.core.wording import count

if TYPE_CHECKING:
    from service.cli.invocation import Invocation

_WORDS: Final = {
    "newly_due_now": "newly due now",
    "newly_due_in_7_days": "newly due within 7 days",
    "newly_due_in_30_days": "newly due within 30 days",
    "rescued": "rescued (due now, not any more)",
    "sooner": "due sooner",
    "later": "due later, or never",
    "moved": "moved to another rule",
    "unchanged": "unchanged",
    "kept": "kept for good",
    "observed": "would be deleted, if their rule did not only observe",
    "held": "held",
    "unconfirmed": "unconfirmed",
    "failed": "given up",
}
_EFFECTS: Final = {"kept": "kept", "unjudged": "not judged", "later": "later", "due": "due now"}
_FORECAST_DAYS: Final = (0, 1, 7, 30, 60, 90)
_ADDED: Final = ("newly_due_now", "newly_due_in_30_days", "sooner", "rescued", "observed", "kept")
"""Categories of which a few files are shown."""


def show_preview(invocation: Invocation, preview: dict[str, Any]) -> None:
    """Print a preview for people."""
    base = f"revision {preview['base_revision']}" if preview["base_revision"] else "no rules"
    invocation.show(
        f"Preview {preview['id']}: {safe(preview['source'])} instead of {base}, held against "
        f"{count(preview['files'], 'file')}",
        "",
    )
    _show_effects(invocation, preview)
    _show_changes(invocation, preview)
    _show_forecast(invocation, preview)
    _show_samples(invocation, preview)
    if preview["sooner"]:
        cooling_off = preview["cooling_off"]
        wait = "" if cooling_off == "0s" else f"; the cooling-off of {cooling_off} keeps them from being called at once"
        invocation.show("", f"{count(preview['sooner'], 'file')} would become due sooner{wait}.")


def confirm(invocation: Invocation, preview: dict[str, Any]) -> None:
    """Have a person type how many files become due sooner, where any do.

    Raises:
        CommandFailed: they typed something else.
    """
    if not preview["sooner"]:
        return
    invocation.note(f"To put these rules in force, type how many files become due sooner ({preview['sooner']}):")
    typed = click.prompt("files", prompt_suffix=": ", default="", show_default=False, err=True)
    if typed.strip().replace(",", "") != str(preview["sooner"]):
        raise CommandFailed(
            f"that is not {preview['sooner']}, so nothing was applied; if the preview is right, "
            f"`zego-retention rules apply --preview {preview['id']}`"
        )


def list_of(number_of_files: int) -> str:
    """The verb of a number of files."""
    return "is" if number_of_files == 1 else "are"


def _show_effects(invocation: Invocation, preview: dict[str, Any]) -> None:
    effects = preview["effects"]
    # (A preview of an earlier release does not tell how many could not be judged.)
    unjudged = [effect.get("unjudged", 0) for effect in effects]
    shown = ["kept", *(["unjudged"] if any(unjudged) else []), "later", "due"]
    columns = [prose("rule"), *(number(_EFFECTS[name]) for name in shown)]
    rows = [(effect["rule"] or "(no rule)", *(effect.get(name, 0) for name in shown)) for effect in effects]
    invocation.show(make_table(invocation.out, columns, rows), "")
    if any(unjudged):
        invocation.show(_describe_unjudged(sum(unjudged)), "")


def _describe_unjudged(files: int) -> str:
    return (
        f"{count(files, 'kept file')} could not be judged for lack of a fact, such as the stream of files that only a "
        "listing shows; `zego-retention files explain ID` tells which"
    )


def _show_changes(invocation: Invocation, preview: dict[str, Any]) -> None:
    changes = preview["changes"]
    columns = [prose("change"), number("files"), number("hours"), number("size"), prose("by app"), prose("by vendor")]
    rows = [
        (
            words,
            changes[name]["count"],
            f"{changes[name]['hours']:,.1f}",
            size(changes[name]["bytes"] or None),
            _parts(changes[name]["by_app"]),
            _parts(changes[name]["by_vendor"]),
        )
        for name, words in _WORDS.items()
        if changes[name]["count"]
    ]
    if rows:
        invocation.show(make_table(invocation.out, columns, rows), "")


def _parts(parts: list[dict[str, Any]]) -> str:
    return ", ".join(f"{part['name']} {part['count']:,}" for part in parts)


def _show_forecast(invocation: Invocation, preview: dict[str, Any]) -> None:
    before, after = (list(accumulate(preview["forecast"][side])) for side in ("in_force", "candidate"))
    columns = [prose("deleted by"), number("rules in force"), number("these rules")]
    rows = [("now" if day == 0 else f"day {day}", f"{before[day]:,}", f"{after[day]:,}") for day in _FORECAST_DAYS]
    invocation.show(make_table(invocation.out, columns, rows))


def _show_samples(invocation: Invocation, preview: dict[str, Any]) -> None:
    shown: set[int] = set()
    rows = []
    for name in _ADDED:
        for file in preview["samples"][name]:
            if file["id"] not in shown:
                shown.add(file["id"])
                rows.append((name.replace("_", " "), file, invocation.now()))
    if rows:
        columns = [word("for example"), number("id"), prose("stream"), word("before"), word("after")]
        invocation.show("", make_table(invocation.out, columns, [_sample(*row) for row in rows]))


def _sample(name: str, file: dict[str, Any], now: Any) -> tuple[object, ...]:  # noqa: ANN401
    before, after = (absolute(parse_moment(file[f"due_{side}"]), now) for side in ("before", "after"))
    return (name, file["id"], file["stream_id"], "kept" if before == "-" else before, "kept" if after == "-" else after)
