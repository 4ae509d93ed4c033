"""The doctor: looks over the whole service; each check stands alone, whatever else is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from service.database import Database, DatabaseUnavailable
from service.database.migrate import pending_migrations
from service.health.checks import CHECKS, Check, Status
from service.health.readiness import prove_durable
from service.health.remedies import NO_PERMISSION_REMEDY, describe_no_permission, find_database_remedy
from service.listing.reconcile import SearchClient
from service.model import Vendor
from service.settings import AppSettings, Settings
from service.units import count_of
from service.zego.messages import Query, SearchAnswer, Transport

_MAX_APPS_AT_ONCE: Final = 8
_CLOCK_WARNING: Final = timedelta(seconds=60)
_CLOCK_PROBLEM: Final = timedelta(minutes=10)

# The codes of ZEGO: docs/protocol.md, "DeleteMedia" and "SearchMedia".
_OF_VENDOR: Final = frozenset({3, 4, 5, 8})
"""What ZEGO answers for a vendor that an app does not use; only where every vendor does is something wrong."""

_BUSY: Final = (6, 429)
_UNKNOWN_ACTION: Final = 100_000_007
_REFUSED: Final = frozenset({7, *range(100_000_000, 100_000_100)})
_ENABLE_API: Final = "ask ZEGO's support to enable the recording API (DeleteMedia, SearchMedia) for this AppID"
_CORRECT: Final = (
    "copy AppID and ServerSecret again from ZEGO's console (Project → Basic information), or correct"
    " ZEGO_RETENTION_API_URL"
)
_REMEDIES: Final = {
    100_000_004: "set this machine's clock (ZEGO takes 10 minutes of difference)",
    100_000_016: "projects made up to 2021-11-16 need is_test = true or false, as ZEGO's console says",
    100_000_017: _ENABLE_API,
}


@dataclass(frozen=True, slots=True)
class Doctor:
    """What is looked over: the settings, the database, a way to ask ZEGO for each app (by AppID), and a clock."""

    settings: Settings
    database: Database
    clients: Mapping[str, SearchClient]
    now: Callable[[], datetime]

    def examine(self) -> Iterator[Check]:
        """Look at everything, one check after the other; never raises, and changes nothing."""
        yield from self._check_settings()
        database = list(_guarded("database", self._check_database))
        yield from database
        # Only a database that can be read has more to say; a pending migration means that tables may be missing.
        is_readable = all(check.status is Status.OK for check in database)
        for name in CHECKS:
            if is_readable:
                yield from _guarded(name, partial(self._look, name))
            else:
                yield Check(name, Status.SKIPPED, "cannot be looked at before the database is ready")
        if self.settings.apps:
            with ThreadPoolExecutor(_MAX_APPS_AT_ONCE) as pool:
                found = list(pool.map(self._check_access, self.settings.apps))
            yield from (check for check, _ in found)
            yield _check_clock(max((ahead for _, ahead in found if ahead is not None), key=abs, default=None))

    def _look(self, name: str) -> list[Check]:
        look, nothing = CHECKS[name]
        with self.database.read() as tx:
            found = [Check(name, *finding) for finding in look(self.settings, tx, self.now())]
        return found or [Check(name, Status.OK, nothing)]

    def _check_settings(self) -> Iterator[Check]:
        settings = self.settings
        if settings.apps:
            yield Check("settings", Status.OK, f"{count_of(len(settings.apps), 'app')} configured")
        else:
            fix = (
                "set ZEGO_RETENTION_APP_ID, ZEGO_RETENTION_SERVER_SECRET and ZEGO_RETENTION_CALLBACK_SECRET from ZEGO's"
                " console, or [[apps]] in the TOML file"
            )
            yield Check("settings", Status.PROBLEM, "no app is configured, so every callback is refused", fix)
        yield from (Check("settings", Status.WARNING, text, "remove or correct it") for text in settings.warnings)
        url = f"{settings.public_url or '<where ZEGO reaches this service>'}/zego/callback"
        hint = "" if settings.public_url else "; set ZEGO_RETENTION_PUBLIC_URL to see it whole"
        where = "to be entered in ZEGO's console: Project → Server callback → Recording file"
        yield Check("callback URL", Status.OK, f"{url}, {where}{hint}")

    def _check_database(self) -> Iterator[Check]:
        database = self.database
        if database.path is not None and not database.path.exists():
            creates = "`zego-retention serve`, `web`, `worker` or `migrate` creates it"
            fix = f"{creates}; if it should be there, correct ZEGO_RETENTION_DATABASE_URL"
            yield Check("database", Status.PROBLEM, f"{database.path} does not exist", fix)
        elif pending := pending_migrations(database):
            yield Check("database", Status.OK, f"{database.name}: reachable")
            # An SQLite file is migrated by the next command that opens it.
            status = Status.WARNING if database.is_sqlite else Status.PROBLEM
            yield Check("migrations", status, f"{len(pending)} pending", "run `zego-retention migrate`")
        else:
            prove_durable(database, self.now())
            yield Check("database", Status.OK, f"{database.name}: reachable and writable")
            yield Check("migrations", Status.OK, "up to date")

    def _check_access(self, app: AppSettings) -> tuple[Check, timedelta | None]:
        """Ask ZEGO as this app, vendor by vendor, until one answer shows whether the credentials work.

        Returned is also how far ZEGO's clock is ahead of ours (None: it sent no time).
        """
        ahead: timedelta | None = None
        refusals: list[str] = []
        for vendor in Vendor:
            answer = self.clients[app.app_id].search_media(vendor, Query(size=1))
            if answer.date is not None:
                ahead = answer.date - self.now()
            if answer.code not in _OF_VENDOR:
                return Check(f"app {app.app_id}", *_judge(app, vendor, answer)), ahead
            refusals.append(f"{vendor}: {_describe(answer)}")
        text = f"ZEGO refuses every vendor ({', '.join(refusals)})"
        return Check(f"app {app.app_id}", Status.PROBLEM, text, _ENABLE_API), ahead


def _guarded(name: str, look: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    """One broken part of the service must not hide how the others are."""
    try:
        yield from look()
    except DatabaseUnavailable as error:
        is_newer = "newer release" in str(error)  # says itself what helps
        fix = "make the database reachable, or correct ZEGO_RETENTION_DATABASE_URL"
        yield Check(name, Status.PROBLEM, str(error), "" if is_newer else find_database_remedy(str(error)) or fix)
    except PermissionError as error:
        yield Check(name, Status.PROBLEM, describe_no_permission(error), NO_PERMISSION_REMEDY)
    except Exception as error:  # noqa: BLE001  (whatever it is: the other checks have to appear)
        text = f"looking at it failed with {type(error).__name__}"
        yield Check(name, Status.PROBLEM, text, "report this as a defect")


def _judge(app: AppSettings, vendor: Vendor, answer: SearchAnswer) -> tuple[Status, str, str]:
    status, said = Status.PROBLEM, _describe(answer)
    if answer.transport is not Transport.ANSWERED:
        text = f"{app.api_url} cannot be reached: {answer.message}"
        fix = f"let this machine reach {app.api_url}, or correct ZEGO_RETENTION_API_URL"
    elif answer.code in _BUSY or answer.http_status in _BUSY:
        status, text, fix = Status.WARNING, "ZEGO is busy with this app's calls", "run doctor again in a minute"
    elif answer.code is None:
        text = f"{app.api_url} does not answer as ZEGO does (HTTP {answer.http_status})"
        fix = "correct ZEGO_RETENTION_API_URL, or wait if ZEGO has trouble"
    elif answer.code == 0:
        status, text, fix = Status.OK, f"ZEGO accepts the credentials of {app.name} ({vendor})", ""
    elif answer.code == _UNKNOWN_ACTION:
        status, text = Status.WARNING, f"SearchMedia is not offered here, so the credentials cannot be tried ({said})"
        fix = "the first sweep that has something due shows whether they work"
    elif answer.code in _REFUSED:
        text, fix = f"ZEGO refuses it: {said}", _REMEDIES.get(answer.code, _CORRECT)
    else:
        status, text, fix = Status.WARNING, f"ZEGO answered {said}", "run doctor again; if it stays, ask ZEGO"
    return status, text, fix


def _describe(answer: SearchAnswer) -> str:
    return f"code {answer.code} {answer.message}".rstrip()


def _check_clock(ahead: timedelta | None) -> Check:
    """Compare ZEGO's clock with ours; signatures are refused beyond ten minutes."""
    if ahead is None:
        return Check("clock", Status.SKIPPED, "ZEGO sent no time to compare with")
    seconds = abs(ahead.total_seconds())
    if abs(ahead) <= _CLOCK_WARNING:
        return Check("clock", Status.OK, f"within {max(seconds, 1):.0f} s of ZEGO's")
    status = Status.PROBLEM if abs(ahead) > _CLOCK_PROBLEM else Status.WARNING
    direction = "behind" if ahead > timedelta(0) else "ahead of"
    text = f"{seconds:.0f} s {direction} ZEGO's; beyond 600 s every call is refused"
    return Check("clock", status, text, "set the clock, and keep it set with NTP (chrony or systemd-timesyncd)")
