"""What people do during a run, through the API: orders, and looking after what needs a person.

Each order that was answered is a promise for the witness. One that was not answered promises nothing, but may be in
force.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.chaos.load import ask
from tests.chaos.witness import REST, HoldPromise, RulesPromise
from tests.world import APP

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TOKEN: Final = "the-admin-token-of-chaos-0123456789"

_MAX_ANSWER_S: Final = 15.0
_PAUSE_S: Final = 0.5
_AT_ONCE: Final = 20
_STAYS: Final = "held-1"


class Answer(NamedTuple):
    status: int | None
    body: Any

    @property
    def is_done(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def write_rules(windows: Mapping[str, timedelta | None]) -> str:
    """A rules file in which the first word of a stream chooses the window."""
    rules = []
    for name, window in windows.items():
        match = "" if name == REST else f'match = {{ stream = "{name}-*" }}\n'
        keep = "forever" if window is None else f"{round(window.total_seconds())}s"
        rules.append(f'[[rules]]\nname = "{name}"\n{match}keep = "{keep}"\n')
    return "\n".join(rules)


@dataclass
class People:
    """Those who order, by the ports of the web sides. `may_confirm` chooses among unconfirmed files."""

    ports: Sequence[int]
    windows: Mapping[str, timedelta | None]
    shorter: Mapping[str, timedelta | None]
    cooling_off: timedelta
    may_confirm: Callable[[str], bool]
    holds: list[HoldPromise] = field(default_factory=list)
    rules: list[RulesPromise] = field(default_factory=list)
    confirmed: dict[str, datetime] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    _held: set[str] = field(default_factory=set)
    _orders: int = 0
    _last: Answer | None = None

    def begin(self) -> None:
        """Put the first rules in force, and the hold that stays."""
        self._until(lambda: self._apply(self.windows, None))
        self._until(lambda: self.hold(_STAYS))

    def act(self, kind: str, arguments: Mapping[str, Any]) -> bool:
        """Do something once; whether it was answered."""
        if kind == "hold":
            return self.hold(arguments["stream"])
        if kind == "release":
            return self.release(arguments["stream"])
        if kind == "shorten the rules":
            return self._shorten()
        if kind == "take the rules back":
            return self._apply(self.windows, None)
        return self.look_after()

    def finish(self, timeout_s: float) -> None:
        """Take back whatever is to be taken back; else files would be kept for a good reason."""
        deadline = time.monotonic() + timeout_s
        waiting: list[Callable[[], bool]] = [lambda: self._apply(self.windows, None)]
        waiting += [lambda stream=stream: self.release(stream) for stream in sorted(self._held - {_STAYS})]  # type: ignore[misc]
        while waiting and time.monotonic() < deadline:
            waiting = [work for work in waiting if not work()]
            time.sleep(_PAUSE_S if waiting else 0)
        assert not waiting, "the rules and holds of the run could not be taken back"

    def hold(self, stream: str) -> bool:
        self._held.add(stream)  # perhaps, if there is no answer
        answer = self._post("/holds", {"app_id": APP, "stream_pattern": stream, "reason": "chaos"})
        if answer.is_done:
            self.holds.append(HoldPromise(stream, datetime.now(UTC), None))
            self.done["holds"] += 1
        return answer.is_done

    def release(self, stream: str) -> bool:
        """Release every hold on a stream, also one whose answer was lost."""
        sent_at = datetime.now(UTC)
        self.holds = [
            each._replace(until=sent_at) if each.stream == stream and each.until is None else each
            for each in self.holds
        ]
        found = self._get("/holds?limit=500")
        if not found.is_done:
            return False
        numbers = [each["id"] for each in found.body["items"] if each["stream_pattern"] == stream]
        answers = [self._post(f"/holds/{number}/release") for number in numbers]
        self.done["releases"] += sum(each.is_done for each in answers)
        return all(each.is_done for each in answers)

    def look_after(self) -> bool:
        """What an operator does who was notified: approve, confirm, retry, and put the time on record again."""
        totals = self._get("/totals")
        if not totals.is_done:
            return False
        if totals.body["files"]["unconfirmed"]:
            self._confirm()
        self._retry()
        dry_run = self._get("/dry-run")
        for plan_run in {stop["plan_run"] for stop in dry_run.body["stops"]} - {None} if dry_run.is_done else ():
            self.done["approvals"] += self._post(f"/runs/{plan_run}/approval").is_done
        if dry_run.is_done and any("behind the newest time on record" in each for each in dry_run.body["refusals"]):
            self.done["sweeps ordered"] += self._post("/runs").is_done
        return True

    def _confirm(self) -> None:
        found = self._get("/files?state=unconfirmed&limit=500")
        files = [each for each in found.body["items"] if self.may_confirm(each["file_id"])] if found.is_done else []
        for start in range(0, len(files), _AT_ONCE):
            some = files[start : start + _AT_ONCE]
            sent_at = datetime.now(UTC)
            for each in some:
                self.confirmed.setdefault(each["file_id"], sent_at)
            answer = self._post("/files/confirm", {"files": [each["id"] for each in some]})
            self.done["files confirmed"] += len(some) if answer.is_done else 0

    def _retry(self) -> None:
        """Files that have failed, and those whose backoff a clock ahead has counted."""
        far = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        found = [self._get(f"/files?state={state}&limit=500") for state in ("failed", "scheduled")]
        files = [each for answer in found if answer.is_done for each in answer.body["items"]]
        wanted = [
            each["id"]
            for each in files
            if each["state"] == "failed" or (each["wait_reason"] == "retry" and each["wait_until"] > far)
        ]
        if wanted:
            answer = self._post("/files/retry", {"files": wanted[:100]})
            self.done["files retried"] += len(wanted[:100]) if answer.is_done else 0

    def _shorten(self) -> bool:
        preview = self._post("/rules/previews", {"rules": write_rules(self.shorter)})
        return preview.is_done and self._apply(self.shorter, preview.body)

    def _apply(self, windows: Mapping[str, timedelta | None], preview: Any) -> bool:
        """Put rules in force; without an answer they may be, from when that was sent on."""
        sent_at = datetime.now(UTC)
        body: dict[str, Any] = {"rules": write_rules(windows)}
        facts: dict[str, Any] = {}
        if preview is not None:
            body |= {"preview": preview["id"], "expect": preview["sooner_count"]}
            facts = {"cooling_off": self.cooling_off, "highest_id": preview["highest_id"]}
        answer = self._post("/rules/revisions", body)
        if not answer.is_done and answer.status is not None and answer.status < 500:
            return False  # refused
        known_at = datetime.now(UTC) if answer.is_done else None
        self.rules.append(RulesPromise(sent_at, known_at, windows, **facts))
        self.done["rules applied"] += answer.is_done
        return answer.is_done

    def _until(self, work: Callable[[], bool], timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while not work():
            assert time.monotonic() < deadline, f"an order before the run was not answered: {self._last}"
            time.sleep(_PAUSE_S)

    def _get(self, path: str) -> Answer:
        return self._ask("GET", path, None)

    def _post(self, path: str, body: Any = None) -> Answer:
        return self._ask("POST", path, None if body is None else json.dumps(body).encode())

    def _ask(self, method: str, path: str, body: bytes | None) -> Answer:
        self._orders += 1
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        port = self.ports[self._orders % len(self.ports)]
        status, text = ask(port, method, f"/api/v1{path}", body, headers, _MAX_ANSWER_S)
        try:
            self._last = Answer(status, json.loads(text or b"null"))
        except ValueError:
            self._last = Answer(status, None)
        return self._last
