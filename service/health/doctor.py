"""The doctor: looks over the whole service; each check stands alone, whatever else is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from shutil import disk_usage
from typing import Final

from service.callbacks.spool import Spool
from service.database import Database, DatabaseUnavailable, Transaction, UnfitDatabase
from service.database.migrate import is_blank, pending_migrations
from service.health.callbacks import describe_callback_url
from service.health.check import Check, Status
from service.health.checks import CHECKS
from service.health.remedies import IF_EMPTY, find_remedy
from service.health.store import prove_durable, prove_room
from service.model import Vendor
from service.notify.changes import Finding
from service.notify.channels import Channels
from service.settings import AppSettings, Settings, SettingsError
from service.units import count_of
from service.zego.client import ZegoClient
from service.zego.messages import Query, SearchAnswer, Transport
from service.zego.refusals import ENABLE_API, advise_on_code

_MAX_APPS_AT_ONCE: Final = 8
_CLOCK_WARNING_S: Final = 60
_CLOCK_PROBLEM_S: Final = 600
_ROOM_WARNING: Final = 100_000_000
_ROOM_PROBLEM: Final = 1_000_000

# The codes of ZEGO: docs/protocol.md, "DeleteMedia" and "SearchMedia".
_OF_VENDOR: Final = frozenset({3, 4, 5, 8})
"""What ZEGO answers for a vendor that an app does not use; only where every vendor does is something wrong."""

_BUSY: Final = (6, 429)
_UNKNOWN_ACTION: Final = 100_000_007
_REFUSED: Final = frozenset({7, *range(100_000_000, 100_000_100)})


def examine(
    settings: Settings, database: Database, clients: Mapping[str, ZegoClient], now: Callable[[], datetime]
) -> Iterator[Check]:
    """Look at everything, one check after the other; never raises, and changes nothing. `clients` are by AppID."""
    yield from _check_settings(settings)
    found = _guard("database", lambda: list(_check_database(database, now())))
    yield from found
    if database.path is not None and database.path.is_file():
        yield from judge_room(database.path, disk_usage(database.path.parent).free)
    yield from _guard("spool", lambda: list(_check_spool(Spool(database, settings.spool_dir, settings.spool_max))))
    # Only a database that can be read has more to say; a pending migration means that tables may be missing.
    is_readable = all(check.status is Status.OK for check in found)
    for name in CHECKS:
        if is_readable:
            yield from _guard(name, partial(_look, name, settings, database, now))
        else:
            yield Check(name, Status.SKIPPED, "cannot be checked until the database is ready")
    if settings.apps:
        with ThreadPoolExecutor(_MAX_APPS_AT_ONCE) as pool:
            accesses = list(pool.map(lambda app: check_access(app, clients[app.app_id], now), settings.apps))
        yield from (check for check, _ in accesses)
        yield _check_clock(max((ahead for _, ahead in accesses if ahead is not None), key=abs, default=None))


def examine_database(settings: Settings, database: Database, now: Callable[[], datetime]) -> list[Check]:
    """What the database says of the service, without asking ZEGO."""
    return [check for name in CHECKS for check in _guard(name, partial(_look, name, settings, database, now))]


def list_to_notify(settings: Settings, tx: Transaction, now: datetime) -> Iterator[Finding]:
    """What people are notified of. Raises what a check does: what cannot be looked at is not over."""
    for look, _nothing in CHECKS.values():
        for check in (Check("", *found) for found in look(settings, tx, now)):
            if check.key:
                yield Finding(check.key, " ".join(check.text.split()), " ".join(check.fix.split()))


def _guard(name: str, look: Callable[[], list[Check]]) -> list[Check]:
    """One broken part of the service must not hide how the others are."""
    try:
        return look()
    except (DatabaseUnavailable, PermissionError) as error:
        text, fix = find_remedy(error)
        if not fix and not isinstance(error, UnfitDatabase):  # (which says itself what helps)
            fix = "make the database reachable, or correct ZEGO_RETENTION_DATABASE_URL"
    except Exception as error:  # noqa: BLE001  (whatever it is: the other checks have to appear)
        text, fix = f"this check failed with {type(error).__name__}", "report this as a defect"
    return [Check(name, Status.PROBLEM, text, fix)]


def _look(name: str, settings: Settings, database: Database, now: Callable[[], datetime]) -> list[Check]:
    look, nothing = CHECKS[name]
    with database.read() as tx:
        found = [Check(name, *finding) for finding in look(settings, tx, now())]
    return found or [Check(name, Status.OK, nothing)]


def _check_settings(settings: Settings) -> Iterator[Check]:
    if settings.apps:
        yield Check("settings", Status.OK, f"{count_of(len(settings.apps), 'app')} configured")
    else:
        fix = (
            "set ZEGO_RETENTION_APP_ID, ZEGO_RETENTION_SERVER_SECRET and ZEGO_RETENTION_CALLBACK_SECRET from ZEGO's"
            " console, or [[apps]] in the TOML file"
        )
        yield Check("settings", Status.PROBLEM, "no app is configured, so every callback is refused", fix)
    yield from (Check("settings", Status.WARNING, text, "remove or correct it") for text in settings.warnings)
    try:
        if settings.notify:
            Channels(url.get_secret_value() for url in settings.notify)
    except SettingsError as error:
        yield Check("settings", Status.PROBLEM, str(error), "correct it: neither web nor worker starts with it")
    hint = "" if settings.public_url else "; set ZEGO_RETENTION_PUBLIC_URL to see it whole"
    where = "to be entered in ZEGO's console: Project → Server callback → Recording file"
    yield Check("callback URL", Status.OK, f"{describe_callback_url(settings, with_token=True)}, {where}{hint}")


def _check_database(database: Database, now: datetime) -> Iterator[Check]:
    if database.path is not None and not database.path.exists():
        creates = "a new one is created by `zego-retention serve`, `web`, `worker` or `migrate`"
        fix = f"if it was there before, put it back, or correct ZEGO_RETENTION_DATABASE_URL; {creates}"
        yield Check("database", Status.PROBLEM, f"{database.path} does not exist", fix)
    elif is_blank(pending := pending_migrations(database)):
        yield Check("database", Status.PROBLEM, f"{database.name} is empty", IF_EMPTY)
    elif pending:
        yield Check("database", Status.OK, f"{database.name}: reachable")
        # An SQLite file is migrated by the next command that opens it.
        status = Status.WARNING if database.is_sqlite else Status.PROBLEM
        yield Check("migrations", status, f"{len(pending)} pending", "run `zego-retention migrate`")
    else:
        prove_durable(database, now)
        prove_room(database, now)
        yield Check("database", Status.OK, f"{database.name}: reachable and writable")
        yield Check("migrations", Status.OK, "up to date")


def _check_spool(spool: Spool) -> Iterator[Check]:
    """Where callbacks go while the database is away, and whether some wait there."""
    troubles = []
    if fault := spool.find_fault():
        fix = "make it writable, or name another folder in ZEGO_RETENTION_SPOOL_DIR"
        text = f"{fault}: while the database is away, callbacks are answered 503, and lost after 62 s"
        troubles.append((Status.WARNING, text, fix))
    if waiting := spool.describe_waiting():
        fix = "they are stored by themselves once the database takes them; the log says why it does not"
        troubles.append((Status.ATTENTION, f"{waiting}; no sweep starts before they are", fix))
    if foreign := spool.list_foreign():
        text = f"{count_of(len(foreign), 'journal')} of databases of other names, for example {foreign[0]}"
        fix = "if the database was renamed, begin its name with that of this one, up to the last but one hyphen"
        troubles.append((Status.NOTE, text, fix))
    for path in spool.list_rejected():
        text = f"{path} holds callbacks that could not be stored"
        troubles.append((Status.ATTENTION, text, "keep the file, and report this as a defect; then move it away"))
    if not troubles:
        empty = "off (ZEGO_RETENTION_SPOOL_DIR)" if spool.folder is None else f"{spool.folder}: nothing waits there"
        troubles.append((Status.OK, empty, ""))
    yield from (Check("spool", *trouble) for trouble in troubles)


def judge_room(path: Path, free: int) -> Iterator[Check]:
    """What is to be said of the bytes that are free where the database is."""
    if free < _ROOM_WARNING:
        text = f"{free / 1_000_000:.1f} MB are free where {path} is; once it is full, no callback can be stored"
        status = Status.PROBLEM if free < _ROOM_PROBLEM else Status.WARNING
        yield Check("disk", status, text, "make room there, or move the database to a larger disk")


def check_access(app: AppSettings, client: ZegoClient, now: Callable[[], datetime]) -> tuple[Check, timedelta | None]:
    """Ask ZEGO as this app, vendor by vendor, until one answer shows whether the credentials work.

    Returned is also how far ZEGO's clock is ahead of ours (None: it sent no time).
    """
    name, ahead = f"app {app.app_id}", None
    refusals: list[str] = []
    for vendor in Vendor:
        answer = client.search_media(vendor, Query(size=1))
        if answer.date is not None:
            ahead = answer.date - now()
        said = f"code {answer.code} {answer.message}".rstrip()
        if answer.code == 0:
            return Check(name, Status.OK, f"ZEGO accepts the credentials of {app.name} ({vendor})"), ahead
        if answer.code not in _OF_VENDOR:
            return Check(name, *_judge(app, answer, said)), ahead
        refusals.append(f"{vendor}: {said}")
    return Check(name, Status.PROBLEM, f"ZEGO refuses every vendor ({', '.join(refusals)})", ENABLE_API), ahead


def _judge(app: AppSettings, answer: SearchAnswer, said: str) -> tuple[Status, str, str]:
    if answer.transport is not Transport.ANSWERED:
        fix = f"let this machine reach {app.api_url}, or correct ZEGO_RETENTION_API_URL"
        if "certificate verify failed" in answer.message:
            fix = "add the CA that signed its certificate to the system's, or name it as ZEGO_RETENTION_API_CA_FILE"
        elif "through the proxy" in answer.message:
            fix += " or ZEGO_RETENTION_API_PROXY"
        return Status.PROBLEM, f"{app.api_url} cannot be reached: {answer.message}", fix
    if answer.code in _BUSY or answer.http_status in _BUSY:
        return Status.WARNING, "ZEGO is busy with this app's calls", "run doctor again in a minute"
    if answer.code is None:
        text = f"{app.api_url} does not answer as ZEGO does (HTTP {answer.http_status})"
        return Status.PROBLEM, text, "correct ZEGO_RETENTION_API_URL, or wait if ZEGO has trouble"
    if answer.code == _UNKNOWN_ACTION:
        text = f"SearchMedia is not offered here, so the credentials cannot be tried ({said})"
        return Status.WARNING, text, "the first sweep that has something due shows whether they work"
    if answer.code in _REFUSED:
        return Status.PROBLEM, f"ZEGO refuses it: {said}", advise_on_code(answer.code)
    return Status.WARNING, f"ZEGO answered {said}", "run doctor again; if it stays, ask ZEGO"


def _check_clock(ahead: timedelta | None) -> Check:
    """Compare ZEGO's clock with ours; signatures are refused beyond ten minutes."""
    if ahead is None:
        return Check("clock", Status.SKIPPED, "ZEGO sent no time to compare with")
    seconds = abs(ahead.total_seconds())
    if seconds <= _CLOCK_WARNING_S:
        return Check("clock", Status.OK, f"within {max(seconds, 1):.0f} s of ZEGO's")
    status = Status.PROBLEM if seconds > _CLOCK_PROBLEM_S else Status.WARNING
    direction = "behind" if ahead > timedelta(0) else "ahead of"
    text = f"{seconds:.0f} s {direction} ZEGO's; beyond {_CLOCK_PROBLEM_S} s every call is refused"
    return Check("clock", status, text, "set the clock, and keep it set with NTP (chrony or systemd-timesyncd)")
