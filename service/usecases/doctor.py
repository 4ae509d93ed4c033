"""Looking over the whole service without changing anything: each check stands alone, whatever else is broken."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from service.core.model import Verdict
from service.core.purge import Purge, read_purge
from service.core.wording import count
from service.db import figures, gates, inbox, probing, revisions, runs
from service.db.engine import Database, DatabaseUnavailable
from service.db.migrate import pending_migrations
from service.usecases.access import AppAccess, check_access, check_clock
from service.usecases.diagnosis import Check, Status
from service.usecases.health import judge_worker
from service.usecases.inventory import iso
from service.usecases.listing_checks import check_listings
from service.usecases.policy import count_to_decide, keep_differs
from service.usecases.remedies import NO_PERMISSION_REMEDY, describe_no_permission, find_remedy
from service.usecases.reports import find_attention

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from service.core.slots import Slots

_APPS_AT_ONCE = 8
_CORRECTED_AFTER: Final = timedelta(days=7)
_LISTED_WITHIN: Final = timedelta(days=2)
_NAMED = 10
_PURGES_TOLD = timedelta(days=30)
_PURGES: Final = (
    (Purge.FAILED, "purging Wangsu's cache failed"),
    (Purge.UNKNOWN, "nobody knows whether Wangsu's cache was purged"),
)


@dataclass(frozen=True, slots=True)
class Examined:
    """What is looked over: the database, the apps, the KEEP setting, when sweeps are meant to start, and a clock.

    `patience` is how long a worker may be silent or a sweep late, `reconcile_every` how often listings are
    read, `confirm_all` whether every file waits for one.
    """

    database: Database
    apps: Sequence[AppAccess]
    keep: str | None
    slots: Slots
    patience: timedelta
    reconcile_every: timedelta | None
    now: Callable[[], datetime]
    confirm_all: bool = False


def examine(subject: Examined) -> Iterator[Check]:
    """Look at everything, one check after the other; never raises and never writes."""
    database_checks = list(_guarded("database", partial(_check_database, subject.database)))
    yield from database_checks
    # Only a database that can be read has more to tell; a pending migration means that tables may be missing.
    readable = all(check.status is Status.OK for check in database_checks)
    for name, look in _LOOKS.items():
        if readable:
            yield from _guarded(name, partial(look, subject))
        else:
            yield Check(name, Status.SKIPPED, "cannot be looked at before the database is ready")
    yield from _check_apps(subject)


def _guarded(name: str, look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """One broken part of the service must not hide how the others are."""
    try:
        yield from look()
    except DatabaseUnavailable as error:
        fix = find_remedy(str(error)) or "make the database reachable, or correct DATABASE_URL"
        yield Check(name, Status.PROBLEM, str(error), fix)
    except PermissionError as error:
        yield Check(name, Status.PROBLEM, describe_no_permission(error), NO_PERMISSION_REMEDY)
    except Exception as error:  # noqa: BLE001  (whatever it is: the other checks have to appear)
        yield Check(
            name, Status.PROBLEM, f"looking at it failed with {type(error).__name__}", "report this as a defect"
        )


def _check_database(database: Database) -> Iterator[Check]:
    missing = probing.find_missing_file(database)
    if missing is not None and not probing.can_create(missing):
        fix = "make its folder writable, or set DATABASE_URL to another place"
        yield Check("database", Status.PROBLEM, f"{missing.absolute()} does not exist and cannot be created", fix)
        return
    if missing is not None:
        fix = "`zego-retention migrate` creates it; if it should be there, correct DATABASE_URL or go to its folder"
        yield Check("database", Status.PROBLEM, f"{missing.absolute()} does not exist", fix)
        return
    pending = pending_migrations(database)
    if not pending:
        probing.prove_writable(database)
        yield Check("database", Status.OK, f"{database.name}: reachable and writable")
        yield Check("migrations", Status.OK, "up to date")
        return
    yield Check("database", Status.OK, f"{database.name}: reachable")
    # An SQLite file is migrated by the next command that opens it.
    status = Status.WARNING if database.is_sqlite else Status.PROBLEM
    yield Check("migrations", status, f"{len(pending)} pending", "run `zego-retention migrate`")


def _check_rules(subject: Examined) -> Iterator[Check]:
    with subject.database.read() as session:
        revision = revisions.current_revision(session)
        rules = revisions.current_rules(session)
    if revision is None and subject.keep is not None:
        when = "with the next sweep, or when the web side or the worker starts"
        text = f"none yet: KEEP={subject.keep} becomes the first rule set {when}"
        yield Check("rules", Status.OK, text)
    elif revision is None:
        text = "none are in force, so nothing is ever deleted"
        yield Check("rules", Status.WARNING, text, "set KEEP (for example 30d), or `zego-retention rules apply FILE`")
    else:
        text = f"revision {revision.number} from {revision.source}, {count(len(rules.rules), 'rule')}"
        yield Check("rules", Status.OK, text)
        if difference := keep_differs(subject.database, subject.keep):
            yield Check("rules", Status.WARNING, difference)
    if behind := count_to_decide(subject.database):
        text = f"{count(behind, 'file')} not decided yet under the rules in force"
        yield Check("rules", Status.WARNING, text, "the next sweep decides them first")


def _check_callbacks(subject: Examined) -> Iterator[Check]:
    now = subject.now()
    with subject.database.read() as session:
        counts = inbox.count_by_verdict(session)
        misdirected = inbox.find_newest(session, Verdict.MISDIRECTED)
        set_aside = inbox.find_oldest(session, Verdict.SET_ASIDE)
    # Those on record stay there: once the console is corrected and a listing had its chance, they need nobody any more.
    settled = (
        {Verdict.MISDIRECTED} if misdirected is None or now - misdirected.received_at > _CORRECTED_AFTER else set()
    )
    settled |= {Verdict.SET_ASIDE} if set_aside is None or now - set_aside.received_at <= _LISTED_WITHIN else set()
    troubles = [(verdict, counts[verdict]) for verdict in _CALLBACK_FIXES if counts.get(verdict)]
    troubles = [(verdict, many) for verdict, many in troubles if verdict not in settled]
    for verdict, many in troubles:
        what, fix = _CALLBACK_FIXES[verdict]
        yield Check("callbacks", Status.WARNING, f"{count(many, 'callback')} {what}", fix)
    if not troubles:
        waiting = counts.get(Verdict.SET_ASIDE, 0)
        how = f"{waiting:,} set aside until the next listing" if waiting else "all understood"
        yield Check("callbacks", Status.OK, f"{count(sum(counts.values()), 'callback')} stored, {how}")


def _check_worker(subject: Examined) -> Iterator[Check]:
    health = judge_worker(subject.database, subject.slots, subject.patience, subject.now())
    yield Check("worker", Status.OK if health.is_well else Status.WARNING, health.detail)


def _check_sweeps(subject: Examined) -> Iterator[Check]:
    now = subject.now()
    with subject.database.read() as session:
        last = runs.last_full_pass(session)
        running = runs.running_run(session)
    if running is not None and now - running.heartbeat_at <= subject.patience:
        yield Check("sweeps", Status.OK, f"run {running.id} is under way")
        return
    fix = "keep `zego-retention worker` (or `serve`) running, or call `zego-retention sweep` regularly"
    if last is None:
        yield Check("sweeps", Status.WARNING, "none has finished yet", fix)
        return
    text = f"the last one that finished is run {last.id} of {iso(last.started_at)}"
    # One slot may pass while a long sweep is still under way; two without a finished one mean that nobody sweeps.
    late = subject.slots.next_slot(subject.slots.next_slot(last.started_at)) + subject.patience < now
    yield Check("sweeps", Status.PROBLEM, f"{text}, too long ago", fix) if late else Check("sweeps", Status.OK, text)


def _check_files(subject: Examined) -> Iterator[Check]:
    sentences = find_attention(subject.database, {app.app_id for app in subject.apps}, subject.now()).sentences
    yield from (Check("files", Status.ATTENTION, sentence) for sentence in sentences)
    if not sentences:
        yield Check("files", Status.OK, "none waits for a person")
    with subject.database.read() as session:
        cooling, until = figures.count_cooling(session, subject.now())
    if cooling:
        text = f"{count(cooling, 'file')} whose date has come: waiting for a cooling-off, the last until {iso(until)}"
        fix = "they are deleted then: see `zego-retention files list`; rules and holds can still keep them"
        yield Check("files", Status.OK, text, fix)


def _check_pauses(subject: Examined) -> Iterator[Check]:
    with subject.database.read() as session:
        pauses = [gate for gate in gates.list_gates(session) if not gate.blocked]
    for gate in pauses:
        text = (
            f"app {gate.app_id} pauses until {iso(gate.until)}: {count(gate.failures, 'call')} in a row failed since "
            f"{iso(gate.since)}, the last with {gate.code} {gate.message}".rstrip()
        )
        yield Check("calls", Status.WARNING, text, "ZEGO's trouble passes by itself; ask ZEGO if it stays")
    if not pauses:
        yield Check("calls", Status.OK, "no app pauses after failed calls")


def _check_listings(subject: Examined) -> Iterator[Check]:
    app_ids = [app.app_id for app in subject.apps]
    every, confirm_all = subject.reconcile_every, subject.confirm_all
    yield from check_listings(subject.database, app_ids, every, subject.now(), confirm_all=confirm_all)


def _check_purges(subject: Examined) -> Iterator[Check]:
    with subject.database.read() as session:
        codes = figures.find_unpurged(session, subject.now() - _PURGES_TOLD)
    fix = "purge by hand in Wangsu's console; deleting again does not help, since the files are gone"
    for purge, what in _PURGES:
        numbers = [number for number, code in codes.items() if read_purge(code) is purge]
        if numbers:
            named = ", ".join(map(str, numbers[:_NAMED])) + (", …" if len(numbers) > _NAMED else "")
            text = f"{what} of {count(len(numbers), 'file')} deleted in the last {_PURGES_TOLD.days} days: {named}"
            yield Check("cache", Status.WARNING, text, fix)
    if not codes:
        yield Check("cache", Status.OK, "no purge of Wangsu's cache failed")


def _check_apps(subject: Examined) -> Iterator[Check]:
    with ThreadPoolExecutor(_APPS_AT_ONCE) as pool:
        found = list(pool.map(lambda app: check_access(app, subject.now), subject.apps))
    yield from (access.check for access in found)
    if found:
        told = [access.ahead for access in found if access.ahead is not None]
        yield check_clock(max(told, key=abs, default=None))


_WRONG_FIELD: Final = (
    "in ZEGO's console this service's URL is entered under Cloud Recording's callback; enter it under Project → Server "
    "callback → Recording file, and take it out there"
)
_CALLBACK_FIXES: Final = {
    Verdict.PENDING: ("stored, not understood yet", "the next sweep or the worker tries again; its log says why"),
    Verdict.FORGED: (
        "refused: the signature fits none of the app's callback secrets",
        "if they are ZEGO's own, correct CALLBACK_SECRET, then `zego-retention callbacks replay --verdict forged`",
    ),
    Verdict.UNKNOWN_APP: (
        "refused: of an app that is not configured",
        "if it is yours, add it to the settings, then `zego-retention callbacks replay --verdict unknown_app`",
    ),
    Verdict.NOT_UNDERSTOOD: (
        "authentic, but not understood",
        "see `zego-retention callbacks list --verdict not_understood`",
    ),
    Verdict.SET_ASIDE: (
        "set aside: some for more than two days, and no listing has shown their files",
        "see `zego-retention callbacks list --verdict set_aside` for each one's reason",
    ),
    Verdict.MISDIRECTED: (
        "of Cloud Recording, whose files are in your own storage and not deleted by this service",
        _WRONG_FIELD,
    ),
}

_LOOKS: Final[dict[str, Callable[[Examined], Iterator[Check]]]] = {
    "rules": _check_rules,
    "callbacks": _check_callbacks,
    "worker": _check_worker,
    "sweeps": _check_sweeps,
    "calls": _check_pauses,
    "files": _check_files,
    "listings": _check_listings,
    "cache": _check_purges,
}
