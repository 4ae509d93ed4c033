"""What an answer of DeleteMedia means for each file asked for (docs/sweep.md, "Outcomes").

Nothing is reported that was not observed: an id in neither list, or no answer at all, is `unknown`, never `deleted`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from service.model import Outcome
from service.zego.messages import DeleteAnswer, FileError, Transport

HTTP_URI_TOO_LONG: Final = 414
HTTP_TOO_MANY_REQUESTS: Final = 429
HTTP_SERVER_ERROR: Final = 500

CODE_DONE: Final = 0
CODE_BAD_PARAMETER: Final = 2
CODE_VENDOR_MISMATCH: Final = 4
CODE_TOO_FREQUENT: Final = 6
CODE_FAILED: Final = 1000
CODE_NO_SUCH_FILE: Final = 41003

_BLOCKING_CODES: Final = frozenset({3, 5, 7, 8})
_GATEWAY_CODES: Final = range(100_000_000, 100_000_100)
_ON_SINGLE_FILE: Final = {
    CODE_BAD_PARAMETER: Outcome.REJECTED,
    CODE_FAILED: Outcome.RETRYABLE,
    CODE_NO_SUCH_FILE: Outcome.GONE,
}
"""Codes that one bad id can bring upon a whole call, and what they mean if that id was asked for alone."""

SPLITTING_CODES: Final = frozenset({*map(str, _ON_SINGLE_FILE), f"http {HTTP_URI_TOO_LONG}"})
"""What a call is bisected for, as it stands in results and app states."""

# Per-file codes are the CDN vendor's own and ZEGO lists none of them (docs/protocol.md, "DeleteMedia"): these are the
# ones known or plausible. Whatever stands in neither table is tried again.
_NOT_FOUND_CODES: Final = frozenset({"nosuchkey", "41003", "404", "612"})
_NOT_FOUND_PREFIXES: Final = ("resourcenotfound",)
_FINAL_CODES: Final = frozenset({"403", "400"})
_FINAL_PREFIXES: Final = (
    *("accessdenied", "unauthorizedoperation", "forbidden", "invalidparameter", "invalidfileid", "invalidargument"),
)


class Effect(StrEnum):
    """What an answer means beyond its files."""

    NONE = "none"
    THROTTLE = "throttle"
    BACK_OFF = "back_off"
    BLOCK_VENDOR = "block_vendor"
    BLOCK_APP = "block_app"


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
    """An answer, understood: a result for every id asked for, and what follows for the app.

    `split` says that one bad id may have failed the whole call, so its parts have to be asked for by themselves.
    """

    results: Mapping[str, FileResult]
    effect: Effect = Effect.NONE
    split: bool = False
    took_call: bool = False
    """ZEGO answered code 0: the call as such was in order."""

    @property
    def is_about_files(self) -> bool:
        """It concerns these files alone; nothing stands between the app and its next call."""
        return self.effect is Effect.NONE and not self.split

    @property
    def any_result(self) -> FileResult:
        """One of the results: that of all files where the call failed whole."""
        return next(iter(self.results.values()))


def read_answer(asked: Sequence[str], answer: DeleteAnswer) -> Reading:
    """Say what one answer means for every id in `asked` and for the app. Total: every answer has a meaning."""
    if answer.transport is not Transport.ANSWERED:
        outcome = Outcome.RETRYABLE if answer.transport is Transport.NOT_SENT else Outcome.UNKNOWN
        return _same_for_all(asked, answer, outcome, Effect.BACK_OFF)
    if answer.http_status == HTTP_URI_TOO_LONG:
        return _read_failed_whole(asked, answer, Outcome.REJECTED)
    if answer.http_status == HTTP_TOO_MANY_REQUESTS:
        return _same_for_all(asked, answer, Outcome.RETRYABLE, Effect.THROTTLE)
    is_server_error = answer.http_status is not None and answer.http_status >= HTTP_SERVER_ERROR
    if answer.unreadable or answer.code is None or is_server_error:
        return _same_for_all(asked, answer, Outcome.UNKNOWN, Effect.BACK_OFF)
    return _read_code(asked, answer, answer.code)


def spare_files(reading: Reading) -> Reading:
    """What a failure means once every part of a call failed alike: the app's trouble, charged to none of its files."""
    spared = {
        file_id: replace(result, outcome=Outcome.RETRYABLE, charged=False)
        for file_id, result in reading.results.items()
    }
    return Reading(spared, Effect.BACK_OFF)


def credit_earlier_attempt(result: FileResult) -> FileResult:
    """Read `gone` after an attempt of unknown outcome: that attempt is what deleted the file."""
    if result.outcome is not Outcome.GONE:
        return result
    reason = "not there any more: an earlier attempt, whose answer was never seen, deleted it"
    message = f"{reason} ({result.message})" if result.message else reason
    return replace(result, outcome=Outcome.DELETED, message=message)


def _read_code(asked: Sequence[str], answer: DeleteAnswer, code: int) -> Reading:
    if code == CODE_DONE:
        return Reading({file_id: _read_file(file_id, answer) for file_id in asked}, took_call=True)
    if code in _ON_SINGLE_FILE:
        return _read_failed_whole(asked, answer, _ON_SINGLE_FILE[code])
    if code == CODE_TOO_FREQUENT:
        return _same_for_all(asked, answer, Outcome.RETRYABLE, Effect.THROTTLE)
    if code == CODE_VENDOR_MISMATCH:
        return _same_for_all(asked, answer, Outcome.BLOCKED, Effect.BLOCK_VENDOR)
    if code in _BLOCKING_CODES or code in _GATEWAY_CODES:
        return _same_for_all(asked, answer, Outcome.BLOCKED, Effect.BLOCK_APP)
    return _same_for_all(asked, answer, Outcome.UNKNOWN, Effect.BACK_OFF)


def _read_failed_whole(asked: Sequence[str], answer: DeleteAnswer, on_single_file: Outcome) -> Reading:
    if len(asked) > 1:
        return replace(_same_for_all(asked, answer, Outcome.RETRYABLE), split=True)
    return _same_for_all(asked, answer, on_single_file, charged=True)


def _read_file(file_id: str, answer: DeleteAnswer) -> FileResult:
    errors = [error for error in answer.errors if error.file_id == file_id]
    if errors and file_id in answer.deleted:
        return _charged(Outcome.UNKNOWN, answer, errors[0], "listed as deleted and as an error at once")
    if len({_find_outcome(error.code) for error in errors}) > 1:
        return _charged(Outcome.UNKNOWN, answer, errors[0], "listed with errors that contradict each other")
    if errors:
        return _charged(_find_outcome(errors[0].code), answer, errors[0])
    if file_id in answer.deleted:
        return _charged(Outcome.DELETED, answer)
    return _charged(Outcome.UNKNOWN, answer, message="the answer does not mention this file")


def _find_outcome(code: str) -> Outcome:
    folded = code.strip().lower()
    if folded in _NOT_FOUND_CODES or folded.startswith(_NOT_FOUND_PREFIXES):
        return Outcome.GONE
    if folded in _FINAL_CODES or folded.startswith(_FINAL_PREFIXES):
        return Outcome.REJECTED
    return Outcome.RETRYABLE


def _charged(outcome: Outcome, answer: DeleteAnswer, error: FileError | None = None, message: str = "") -> FileResult:
    if error is None:
        return FileResult(outcome, True, str(answer.code), message or answer.message, answer.request_id)
    return FileResult(outcome, True, error.code, message or error.message, error.request_id or answer.request_id)


def _same_for_all(
    asked: Sequence[str],
    answer: DeleteAnswer,
    outcome: Outcome,
    effect: Effect = Effect.NONE,
    *,
    charged: bool = False,
) -> Reading:
    if answer.code is not None:
        code = str(answer.code)
    else:
        code = f"http {answer.http_status}" if answer.http_status else answer.transport.value
    result = FileResult(outcome, charged, code, answer.message, answer.request_id)
    return Reading(dict.fromkeys(asked, result), effect)
