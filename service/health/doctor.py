"""The doctor: looks over the whole service; each check stands alone, whatever else is broken."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from service.database import DatabaseUnavailable
from service.database.migrate import pending_migrations
from service.health import checks
from service.health.access import SearchClient, check_access, check_clock
from service.health.check import Check, Status
from service.health.readiness import prove_durable
from service.health.remedies import NO_PERMISSION_REMEDY, describe_no_permission, find_database_remedy
from service.units import count_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from service.database import Database
    from service.settings import Settings

_MAX_APPS_AT_ONCE: Final = 8


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
        for name, look in checks.CHECKS.items():
            if is_readable:
                yield from _guarded(name, partial(look, self.settings, self.database, self.now()))
            else:
                yield Check(name, Status.SKIPPED, "cannot be looked at before the database is ready")
        yield from self._check_apps()

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
            fix = (
                "`zego-retention serve`, `web`, `worker` or `migrate` creates it; if it should be there, correct"
                " ZEGO_RETENTION_DATABASE_URL"
            )
            yield Check("database", Status.PROBLEM, f"{database.path} does not exist", fix)
            return
        pending = pending_migrations(database)
        if pending:
            yield Check("database", Status.OK, f"{database.name}: reachable")
            # An SQLite file is migrated by the next command that opens it.
            status = Status.WARNING if database.is_sqlite else Status.PROBLEM
            yield Check("migrations", status, f"{len(pending)} pending", "run `zego-retention migrate`")
            return
        prove_durable(database, self.now())
        yield Check("database", Status.OK, f"{database.name}: reachable and writable")
        yield Check("migrations", Status.OK, "up to date")

    def _check_apps(self) -> Iterator[Check]:
        apps = self.settings.apps
        if not apps:
            return
        with ThreadPoolExecutor(_MAX_APPS_AT_ONCE) as pool:
            found = list(pool.map(lambda app: check_access(app, self.clients[app.app_id], self.now), apps))
        yield from (access.check for access in found)
        yield check_clock(max((access.ahead for access in found if access.ahead is not None), key=abs, default=None))


def _guarded(name: str, look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
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
