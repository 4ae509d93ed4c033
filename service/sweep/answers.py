"""What an answer of DeleteMedia means for each file asked for, and for the app (docs/sweep.md, "Outcomes").

Nothing is reported that was not observed: an id in neither list, or no answer at all, is `unknown`, never `deleted`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from service.model import Outcome
from service.zego.messages import DeleteAnswer, Transport

CODE_DONE: Final = "0"
CODE_FAILED: Final = "1000"
CODE_NO_SUCH_FILE: Final = "41003"

_ON_SINGLE_FILE: Final = {
    **dict.fromkeys(("2", "http 414"), Outcome.REJECTED),
    CODE_FAILED: Outcome.RETRYABLE,
    CODE_NO_SUCH_FILE: Outcome.GONE,
}
SPLITTING_CODES: Final = frozenset(_ON_SINGLE_FILE)
"""What one bad id can bring upon a whole call; alone, it means the above for that id."""

_FILE_ERRORS: Final = {
    Outcome.GONE: re.compile(r"(nosuchkey|41003|404|612|resourcenotfound(\.filenotexist)?)$"),
    Outcome.BLOCKED: re.compile(
        r"(resourcenotfound\.(service|user)notexist|failedoperation\.(invalidvoduser|invalidaccount|userstatusinavlid)"
        r"|nosuchbucket|accountproblem|allaccessdisabled|deregisteruserid|frozenuserid|inarrearorinsufficientbalance"
        r"|invalidaccesskeyid|signaturedoesnotmatch)$|authfailure"
    ),
    Outcome.REJECTED: re.compile(
        r"(403|400)$|accessdenied|unauthorizedoperation|forbidden|invalidparameter|invalidfileid|invalidargument"
    ),
}
"""Per-file codes are the CDN vendor's own and ZEGO lists none of them (docs/protocol.md, "DeleteMedia"): these are
known or plausible. BLOCKED: they speak of the account at the vendor, not of the file. Whatever does not begin like one
of them is tried again: an end is believed only of a code that is known to speak of the file."""


class Effect(StrEnum):
    """What an answer means for the app."""

    TOOK_CALL = "took_call"
    """Code 0: the call as such was in order."""
    FILE = "file"
    """It says something of the one file asked for, nothing of the app."""
    SPLIT = "split"
    """One bad id may have failed the whole call: its parts have to be asked for by themselves."""
    THROTTLE = "throttle"
    BACK_OFF = "back_off"
    BLOCK_VENDOR = "block_vendor"
    BLOCK_APP = "block_app"


_EFFECTS: Final = {
    **dict.fromkeys(("6", "http 429"), (Outcome.RETRYABLE, Effect.THROTTLE)),
    "4": (Outcome.BLOCKED, Effect.BLOCK_VENDOR),
    **dict.fromkeys(("3", "5", "7", "8"), (Outcome.BLOCKED, Effect.BLOCK_APP)),
    **dict.fromkeys(map(str, range(100_000_000, 100_000_100)), (Outcome.BLOCKED, Effect.BLOCK_APP)),  # its gateway
    Transport.NOT_SENT.value: (Outcome.RETRYABLE, Effect.BACK_OFF),
}
"""Codes of whole calls; any other leaves unknown what became of the files."""


@dataclass(frozen=True, slots=True)
class FileResult:
    """The outcome of one file after one call. `charged` counts it against the file (backoff, giving up)."""

    outcome: Outcome
    charged: bool
    code: str
    message: str
    request_id: str

    @property
    def summary(self) -> str:
        """The code with its message."""
        return f"{self.code} {self.message}".strip()


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer, understood: what it means for the app, by which code and words, and the result of every id asked."""

    answer: DeleteAnswer
    effect: Effect
    code: str
    message: str
    results: dict[str, FileResult]

    @property
    def is_about_files(self) -> bool:
        """It concerns these files alone; nothing stands between the app and its next call."""
        return self.effect in (Effect.TOOK_CALL, Effect.FILE)


def read_answer(asked: Sequence[str], answer: DeleteAnswer) -> Reading:
    """Say what one answer means for every id in `asked` and for the app. Total: every answer has a meaning."""
    code = _find_code(answer)
    if code == CODE_DONE:
        results = {file_id: _read_file(file_id, answer) for file_id in asked}
        trouble = next((each for each in results.values() if each.outcome is Outcome.BLOCKED), None)
        if trouble is not None:
            return Reading(answer, Effect.BLOCK_VENDOR, trouble.code, trouble.message, results)
        return Reading(answer, Effect.TOOK_CALL, code, answer.message, results)
    outcome, effect = _EFFECTS.get(code, (Outcome.UNKNOWN, Effect.BACK_OFF))
    if code in SPLITTING_CODES:
        is_single = len(asked) == 1
        outcome, effect = (_ON_SINGLE_FILE[code], Effect.FILE) if is_single else (Outcome.RETRYABLE, Effect.SPLIT)
    result = FileResult(outcome, effect is Effect.FILE, code, answer.message, answer.request_id)
    return Reading(answer, effect, code, answer.message, dict.fromkeys(asked, result))


def spare_files(reading: Reading) -> Reading:
    """What a failure means once every part of a call failed alike: the app's trouble, charged to none of its files."""
    spared = {name: replace(each, outcome=Outcome.RETRYABLE, charged=False) for name, each in reading.results.items()}
    return replace(reading, effect=Effect.BACK_OFF, results=spared)


def credit_earlier_attempt(result: FileResult) -> FileResult:
    """Read `gone` after an attempt of unknown outcome: that attempt is what deleted the file."""
    if result.outcome is not Outcome.GONE:
        return result
    reason = "no longer there: an earlier attempt, whose answer was never received, deleted it"
    message = f"{reason} ({result.message})" if result.message else reason
    return replace(result, outcome=Outcome.DELETED, message=message)


def _find_code(answer: DeleteAnswer) -> str:
    """ZEGO's code, or the HTTP status where there is none that counts, or how far the call got."""
    if answer.transport is not Transport.ANSWERED:
        return answer.transport.value
    status = answer.http_status
    is_error = status is not None and (status in (414, 429) or status >= 500)  # noqa: PLR2004  (docs/sweep.md)
    return f"http {status}" if is_error or answer.unreadable or answer.code is None else str(answer.code)


def _read_file(file_id: str, answer: DeleteAnswer) -> FileResult:
    errors = [error for error in answer.errors if error.file_id == file_id]
    outcomes = {_read_error(error.code) for error in errors}
    if file_id in answer.deleted:
        outcomes.add(Outcome.DELETED)
    code, message, request_id = CODE_DONE, answer.message, answer.request_id
    if errors:
        code, message, request_id = errors[0].code, errors[0].message, errors[0].request_id or request_id
    if len(outcomes) == 1:
        outcome = outcomes.pop()
        return FileResult(outcome, outcome is not Outcome.BLOCKED, code, message, request_id)
    message = "the answer contradicts itself about this file" if outcomes else "the answer does not mention this file"
    return FileResult(Outcome.UNKNOWN, True, code, message, request_id)


def _read_error(code: str) -> Outcome:
    folded = code.strip().lower()
    return next((outcome for outcome, codes in _FILE_ERRORS.items() if codes.match(folded)), Outcome.RETRYABLE)
