"""Every command with its arguments, its options and its help, in the order in which people need them.

Nothing that takes long is loaded here: what carries a command out (`files:confirm` is `confirm` of files.py) is loaded
when it is called. It is handed the invocation, and by their names the arguments and options that are not shared. A
command is called like the first word of its function: `add_hold` is `add`.
"""

from __future__ import annotations

from typing import Final

import click

from service import __version__
from service.cli.frame import PROGRAM
from service.cli.options import (
    BY,
    JSON,
    LIMIT,
    WIDE,
    Group,
    OneOf,
    app_id,
    argument,
    entry_id,
    moment,
    number,
    number_from_zero,
    option,
    past_moment,
)
from service.filters import AuditFilter, CallbackFilter, FileFilter, HoldFilter, ListingFilter
from service.model import Role, Vendor, Verdict

_ID: Final = argument("number", type=entry_id, metavar="ID")
_IDS: Final = argument("ids", type=entry_id, metavar="ID...", nargs=-1, required=True)
_ANY_IDS: Final = argument("ids", type=entry_id, metavar="[ID]...", nargs=-1)
_FILE: Final = argument("file", required=False, metavar="[FILE]")
_KEEP: Final = option("--keep", is_flag=True, help="Take ZEGO_RETENTION_KEEP as the one rule, instead of a file.")
_PREVIEW: Final = option("--preview", metavar="N", type=number, help="Apply the rules of this preview.")
_COUNT: Final = option(
    "--count",
    type=number,
    metavar="N",
    help="The number of files due sooner; needed if all of an app would be deleted.",
)
_APP: Final = option(
    "--app", "app_id", type=app_id, help="The AppID of the streams; not needed if only one app is configured."
)
_REASON: Final = option("--reason", required=True, help="Why, for the record.")

cli: Final = Group(
    PROGRAM,
    help="""Delete ZEGO's CDN recordings when their retention window has passed.

    Settings come from environment variables ZEGO_RETENTION_…, or from a TOML file named by ZEGO_RETENTION_CONFIG.
    """,
    epilog="Exit codes: 0 done; 1 something failed; 2 usage; 3 done, but something needs a person.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
click.version_option(__version__, prog_name=PROGRAM)(cli)

cli.add(
    "processes:demo",
    "Show the main job with built-in parts: no account, no settings.",
    option("--serve", "serves", is_flag=True, help="Then let its world run, with the console open on it."),
)
cli.add("processes:doctor", "Check everything; say what is wrong, and the fix. It changes nothing.", JSON)
cli.add("processes:serve", "Run the web side and the worker together, until interrupted.")
cli.add("processes:web", "Run the web side: it receives callbacks and answers the API.")
cli.add(
    "processes:worker",
    "Run the worker: it deletes what is due.\n\nWith several, one works and the others stand by.",
    option("--check", is_flag=True, help="Only check whether a worker is running and its sweeps are on time."),
)
cli.add(
    "sweep:sweep",
    """Delete what is due now, once; waits for a run in progress.

    With --approve, only what the plans of that run cover. Exits 3 if something needs a person.
    """,
    option("--dry-run", "is_dry", is_flag=True, help="Only show what would be deleted now; delete nothing."),
    option("--approve", "plan", metavar="RUN", type=number, help="Approve what the breaker stopped in this run."),
    *(BY, WIDE, JSON),
)
cli.add(
    "sweep:reconcile",
    """Compare the inventory with the vendors' listings.

    Adopts files that no callback announced, fills in facts, confirms unconfirmed files. A file is gone when two
    complete listings in a row, begun at least an hour apart, do not show it.
    """,
    option("--app", "app_ids", type=app_id, metavar="APP", multiple=True, help="Only this AppID; may be repeated."),
    option("--vendor", "vendors", type=OneOf(Vendor), multiple=True, help="Only this vendor; may be repeated."),
    option(
        "--since",
        type=past_moment,
        metavar="MOMENT",
        help="Only files made since then: a time, or 7d for seven days ago; marks no file as gone.",
    ),
    *(BY, JSON),
)

cli.add_command(rules := Group("rules", help="Show, preview, apply and roll back retention rules."))
rules.add("rules:list_rules", "List the rules in force, in their order.", JSON)
rules.add(
    "rules:preview",
    'Show what the rules in FILE ("-": standard input) would do, and store it as a preview; changes nothing else.',
    *(_FILE, _KEEP, BY, JSON),
)
rules.add(
    "rules:apply",
    'Put the rules in FILE ("-": standard input), or of a preview, in force; all files are then decided by them.',
    *(_FILE, _KEEP, _PREVIEW, _COUNT, BY),
)
rules.add(
    "rules:rollback",
    "Put the rules of an earlier REVISION in force again, as a new revision; 0: keep everything, as before revision 1.",
    *(argument("revision", type=number_from_zero, metavar="REVISION"), _PREVIEW, _COUNT, BY),
)
rules.add_list("rules:REVISIONS", "List every rule set that was in force, the newest first.", name="history")
rules.add(
    "rules:export",
    "Print the rules in force, or of an earlier revision, as a rules file.",
    option("--revision", type=number, help="Print this revision, not the one in force."),
)

cli.add_command(previews := Group("previews", help="Show what a preview of rules has found."))
previews.add_list("rules:PREVIEWS", "List previews, the newest first.")
previews.add(
    "rules:show_preview",
    "Show one preview; with --files, every file that becomes due sooner by it.",
    *(
        _ID,
        option("--files", is_flag=True, help="List the files that become due sooner, as they are now."),
        option("--csv", "as_csv", is_flag=True, help="With --files: print all of them as CSV."),
        *(LIMIT, WIDE, JSON),
    ),
)

cli.add_command(files := Group("files", help="List, explain, confirm, retry and delete media files."))
files.add_list("files:FILES", "List files, the oldest entry first.", FileFilter)
files.add("files:show_files", "Show everything that is known of files.", _IDS, WIDE, JSON)
files.add("files:explain", "Explain why a file is kept or deleted, and what happens next.", _ID, WIDE, JSON)
files.add(
    "files:retry",
    "Retry files that failed, or that wait for their next attempt.",
    *(_ANY_IDS, option("--all-failed", is_flag=True, help="Every failed file."), BY, JSON),
)
files.add(
    "files:confirm",
    "Confirm unconfirmed files: from now on the rules decide them.",
    *(_IDS, BY, JSON),
)
files.add(
    "files:delete",
    """Order files to be deleted by the next sweep, whatever the rules say.

    Shows first what would be deleted; then the number of files is to be typed, or given with --count. Held files stay
    until they are released, unconfirmed ones until they are confirmed.
    """,
    argument("files", type=number, metavar="[ID]...", nargs=-1),
    option(
        "--stream", "stream_pattern", metavar="PATTERN", help="Files of matching streams; not files that arrive later."
    ),
    *(_APP, _REASON),
    option("--count", type=number, metavar="N", help="Do not ask; delete only if exactly N files match."),
    *(BY, JSON),
)

cli.add_command(holds := Group("holds", help="Keep files whatever the rules say."))
holds.add(
    "files:add_hold",
    "Put a hold in force, at once.",
    option("--file", type=number, metavar="ID", help="Hold this file."),
    option(
        "--stream",
        "stream_pattern",
        metavar="PATTERN",
        help="Hold files of matching streams, also files that arrive later.",
    ),
    *(_APP, _REASON),
    option(
        "--until", type=moment, help="When the hold ends by itself: a time, or a duration from now, for example 30d."
    ),
    *(BY, JSON),
)
holds.add_list("files:HOLDS", "List the holds that are in force, the oldest first.", HoldFilter)
holds.add(
    "files:release_hold",
    "End a hold: rules, erasures and other holds decide its files again.",
    *(_ID, BY, JSON),
)

cli.add_command(erasures := Group("erasures", help="Show what people asked to be deleted."))
erasures.add_list("files:ERASURES", "List erasures, the newest first.")
erasures.add_show("files:ERASURES", "Show an erasure, with its files by state.")

cli.add_command(callbacks := Group("callbacks", help="Show stored callbacks, and have them judged again."))
callbacks.add_list("callbacks:CALLBACKS", "List stored callbacks, the newest first.", CallbackFilter)
callbacks.add(
    "records:show_callback",
    "Show one callback with its body.",
    *(_ID, option("--raw", is_flag=True, help="Print only the raw body, byte by byte."), JSON),
)
callbacks.add(
    "records:replay",
    "Judge stored callbacks again, with the current secrets and code. Creates no duplicates.",
    _ANY_IDS,
    option("--verdict", type=OneOf(Verdict), help="Every callback with this verdict."),
    option("--app", "app_id", type=app_id, help="With --verdict: only callbacks of this AppID."),
    *(BY, JSON),
)

cli.add_command(runs := Group("runs", help="Show what sweeps have done."))
runs.add_list("runs:RUNS", "List runs, the newest first.")
runs.add(
    "sweep:show_run",
    "Show one run with what its plans cover, its calls, and what came of each file.",
    _ID,
    LIMIT,
    WIDE,
    JSON,
)

cli.add_command(listings := Group("listings", help="Show what was found in the vendors' listings."))
listings.add_list("runs:LISTINGS", "List listings, the newest first.", ListingFilter)
listings.add_show("runs:LISTINGS", "Show one listing.")

cli.add_command(audit := Group("audit", help="List, verify and export the record of changes."))
audit.add_list("audit:AUDIT", "List changes, the newest first.", AuditFilter)
audit.add(
    "records:order_outcome",
    "Show the result of an order, by the number of its audit entry.",
    *(argument("number", type=number, metavar="NUMBER"), JSON),
)
audit.add(
    "records:verify",
    "Check the whole chain: is every entry unchanged?",
    *(
        option(
            "--head", metavar="NUMBER:HASH", help="A head that you noted earlier; check that it is still in the chain."
        ),
        JSON,
    ),
)
audit.add(
    "records:export",
    "Print every entry as a line of JSON, the oldest first.",
    option("--after", type=number, help="Only entries after this number."),
)

cli.add_command(tokens := Group("tokens", help="Make and revoke access tokens of the API."))
tokens.add_list("audit:TOKENS", "List tokens, without their text.")
tokens.add(
    "records:add_token",
    "Make a token and show its text, only this once.",
    argument("name"),
    option("--role", type=OneOf(Role), required=True, help="What it may do."),
    option(
        "--expires",
        type=moment,
        help="When it expires: a time, or a duration from now, for example 90d (default: never).",
    ),
    *(BY, JSON),
    shows=True,  # its text is shown only once
)
tokens.add("records:revoke_token", "Revoke a token: it stops working at once.", _ID, BY)

cli.add_command(users := Group("users", help="Let people sign in to the console, or end that."))
users.add_list("people:PEOPLE", "List people who may sign in.")
users.add(
    "people:add_person",
    "Let a person sign in with a password, which is asked for (or read from standard input).",
    argument("name"),
    option("--role", type=OneOf(Role), required=True, help="What they may do."),
    *(BY, JSON),
)
users.add("people:password_of", "Give a person a new password; their sessions end.", _ID, BY)
users.add("people:sign_out", "End all sessions of a person.", _ID, BY, name="sign-out")
users.add("people:remove_person", "Let a person sign in no more.", _ID, BY)

cli.add_command(notify := Group("notify", help="Try the notifications (ZEGO_RETENTION_NOTIFY)."))
notify.add("processes:test_channels", "Send a test message through every channel; say what came of it.", JSON)

cli.add(
    "processes:migrate",
    "Bring the database to this release's schema, or create it.",
    option("--from", "copied_from", metavar="URL", help="Then copy everything from this database, which nobody uses."),
)
