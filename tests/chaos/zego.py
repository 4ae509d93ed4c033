"""The sandbox as witness, and every fault that it knows, by name."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from service.model import Vendor
from tests import faults
from tests.faults import FaultySandbox
from tests.world import APP

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any

    from tests.faults import Fault

_FILES_HIT: Final = 12
_TIMES: Final = 2


@dataclass
class Zego:
    """A sandbox that is dealt faults, and what it saw."""

    sandbox: FaultySandbox
    chance: random.Random
    dealt: Counter[str] = field(default_factory=Counter)

    def begin(self, kind: str, arguments: Mapping[str, Any]) -> None:
        """Deal a fault until `end`."""
        standing = _find_standing(kind, arguments)
        if standing:
            self.sandbox.always(*standing)
            return
        for file_id in self._choose_files():
            if kind == "omit from the answer":
                self.sandbox.omit_file(file_id, acts=self.chance.random() < 0.5, times=_TIMES)
            elif kind == "error for a file":
                self.sandbox.fail_file(file_id, "InternalError", "try again", times=_TIMES)
            else:
                self.sandbox.poison(file_id, 1000)

    def end(self) -> None:
        """Let everything work again. What files cause ends by itself, but for whole calls that fail."""
        self.sandbox.end_faults()
        for file_id, trouble in list(self.sandbox.troubles.items()):
            if isinstance(trouble.code, int):
                self.sandbox.heal(file_id)

    def end_all(self) -> None:
        self.sandbox.end_faults()
        self.sandbox.troubles.clear()

    def list_stored(self) -> frozenset[str]:
        return frozenset(file_id for vendor in Vendor for file_id in self.sandbox.files(APP, vendor))

    def list_removals(self) -> dict[str, datetime]:
        """When the request arrived that removed a file."""
        return {file_id: call.at for call in self.sandbox.calls for file_id in call.removed}

    def count_asked(self) -> Counter[str]:
        """How many requests named a file."""
        deletes = (call for call in self.sandbox.calls if call.action == "DeleteMedia")
        return Counter(file_id for call in deletes for file_id in call.file_ids)

    def _choose_files(self) -> list[str]:
        stored = sorted(self.list_stored())
        return self.chance.sample(stored, min(_FILES_HIT, len(stored)))


def _find_standing(kind: str, arguments: Mapping[str, Any]) -> list[Fault]:
    """The fault that every call meets."""
    found = {
        "drop before": [faults.drop_before()],
        "drop after": [faults.drop_after()],
        "stall": [faults.answer_late(arguments.get("seconds", 1.0))],
        "502": [faults.answer_html(502)],
        "502 but done": [faults.answer_html(502, acts=True)],
        "503 with Retry-After": [faults.answer_html(503, retry_after="2")],
        "429": [faults.answer_html(429)],
        "cut JSON": [faults.cut_answer()],
        "code 6": [faults.answer_code(6)],
        "code 1000": [faults.answer_code(1000, action="DeleteMedia")],
        "code 4": [faults.answer_code(4, vendor=Vendor.HUAWEI)],
        "code 5": [faults.answer_code(5)],
        "listing is short": [faults.list_fewer(3)],
        "listing without ids": [faults.hide_ids()],
        "listing understates": [faults.understate_total(2)],
    }
    return found.get(kind, [])
