"""How a revision of the rules looks in JSON."""

from __future__ import annotations

import difflib
import tomllib
from typing import TYPE_CHECKING, Any

from service.usecases.inventory import iso

if TYPE_CHECKING:
    from service.db.revisions import Revision


def revision_as_json(revision: Revision, before: Revision | None) -> dict[str, Any]:
    """A revision as the API and `--json` show it (docs/api.md, "A revision")."""
    return {
        "number": revision.number,
        "applied_at": iso(revision.applied_at),
        "applied_by": revision.applied_by,
        "through": revision.through,
        "source": revision.source,
        "cooling_until": iso(revision.cooling_until),
        "preview": revision.preview_id,
        "diff": _diff(before, revision),
        "text": revision.rules,
        "rules": [_rule_as_json(rule) for rule in tomllib.loads(revision.rules)["rules"]],
    }


def _rule_as_json(rule: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": rule["name"],
        "match": rule.get("match", {}),
        "keep": rule["keep"],
        "keep_latest": rule.get("keep_latest"),
        "mode": rule.get("mode", "enforce"),
    }


def _diff(before: Revision | None, after: Revision) -> str:
    old = before.rules.splitlines() if before else []
    names = (f"revision {before.number if before else 0}", f"revision {after.number}")
    return "\n".join(difflib.unified_diff(old, after.rules.splitlines(), *names, lineterm=""))
