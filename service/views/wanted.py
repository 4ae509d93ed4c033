"""What a list is asked for that does not exist: an empty list would look like an answer."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from service.audit.checks import check_app
from service.database import Database, Transaction
from service.model import NoSuchThing
from service.rules.store import find_current, list_revisions
from service.views.files import FILES
from service.views.rules import REVISIONS

_MAX_NAMED: Final = 10


def check_wanted(database: Database, wanted: object, known_apps: Collection[str] = ()) -> None:
    """Raise NotPossible if a filter names what does not exist, with what does; to be asked where it finds nothing.

    `known_apps` are those that are configured (none: apps are not looked at).
    """
    app_id, rule, moved_by, file = (
        getattr(wanted, name, None) for name in ("app_id", "rule", "moved_by", "media_file_id")
    )
    if app_id is not None and known_apps:
        check_app(app_id, known_apps)
    with database.read() as tx:
        if moved_by is not None:
            REVISIONS.require(tx, moved_by)
        if file is not None:
            FILES.require(tx, file)
        if rule is not None:
            _require_rule(tx, rule)


def _require_rule(tx: Transaction, name: str) -> None:
    if any(rule.name == name for revision in list_revisions(tx) for rule in revision.rules):
        return
    current = find_current(tx)
    names = [repr(rule.name) for rule in current.rules] if current else []
    more = ", …" if len(names) > _MAX_NAMED else ""
    known = f"those in force are {', '.join(names[:_MAX_NAMED])}{more}" if names else "none is in force"
    raise NoSuchThing(f"no rule is called {name!r}: {known} (earlier ones: `zego-retention rules history`)")
