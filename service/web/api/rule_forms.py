"""What the API answers about rules; for OpenAPI, as in `forms`."""

from __future__ import annotations

from typing import Any, Final

from service.web.api.forms import Form, Page, eg

_AT = "2026-03-01T12:00:00Z"
RULES: Final = '[[rules]]\nname = "trial rooms"\nmatch = { stream = "trial-*" }\nkeep = "1d"\n'


class Rule(Form):
    """A retention rule, as in a rules file."""

    name: str = eg("trial rooms")
    match: dict[str, Any] = eg({"stream": "trial-*"})
    keep: str = eg("1d")
    keep_latest: int | None = eg(None)
    mode: str = eg("enforce")


class RevisionInShort(Form):
    """A rule set that was in force, with its difference to the one before."""

    number: int = eg(2)
    applied_at: str | None = eg(_AT)
    applied_by: str = eg("support desk")
    through: str | None = eg("API")
    source: str = eg("the API")
    cooling_until: str | None = eg("2026-03-02T12:00:00Z")
    preview: int | None = eg(7)
    diff: str = eg('--- revision 1\n+++ revision 2\n@@ -1 +1 @@\n-keep = "30d"\n+keep = "1d"')


class RevisionPage(Page):
    """Revisions, the newest first."""

    items: list[RevisionInShort]


class Revision(RevisionInShort):
    """A rule set."""

    text: str = eg(RULES)
    rules: list[Rule]


class Preview(Form):
    """What rules would do; `sooner` is the number of files that they would make due sooner (docs/api.md)."""

    id: int = eg(7)
    as_of: str | None = eg(_AT)
    made_by: str = eg("support desk")
    through: str = eg("API")
    base_revision: int = eg(1)
    source: str = eg("the API")
    rules: str = eg(RULES)
    sooner: int = eg(12)
    cooling_off: str = eg("1d")
    files: int = eg(100)
    changes: dict[str, Any] = eg({"newly_due_now": {"count": 12, "hours": 9.5, "bytes": 104857600}})
    effects: list[dict[str, Any]] = eg([{"rule": "trial rooms"}])
    samples: dict[str, list[dict[str, Any]]] = eg({"newly_due_now": [{"id": 17}]})
    forecast: dict[str, Any] = eg({"in_force": [0, 12, 3], "candidate": [12, 0, 3]})


class AppliedRules(Form):
    """What putting rules in force did; none of the files made due sooner is called before `cooling_until`."""

    revision: int = eg(2)
    is_new: bool = eg(True)
    decided: int = eg(100)
    sooner: int = eg(12)
    cooling_until: str | None = eg("2026-03-02T12:00:00Z")


class Forecast(Form):
    """How much there is, and what goes on each of the next 90 days."""

    as_of: str | None = eg(_AT)
    revision: int = eg(2)
    by_state: list[dict[str, Any]] = eg([{"name": "scheduled", "count": 100, "hours": 80.5, "bytes": 104857600}])
    by_rule: list[dict[str, Any]] = eg([{"name": "trial rooms", "count": 100, "hours": 80.5, "bytes": 104857600}])
    by_app: list[dict[str, Any]] = eg([{"name": "1234567890", "count": 100, "hours": 80.5, "bytes": 104857600}])
    by_vendor: list[dict[str, Any]] = eg([{"name": "Tencent", "count": 100, "hours": 80.5, "bytes": 104857600}])
    observed: dict[str, Any] = eg({"count": 0, "hours": 0.0, "bytes": 0, "by_rule": [], "by_app": [], "by_vendor": []})
    forecast: list[int] = eg([0, 12, 3])
