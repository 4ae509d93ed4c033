from __future__ import annotations

import pytest

from service.model import Outcome
from service.sweep.answers import Effect, FileResult, credit_earlier_attempt, read_answer, spare_files
from service.zego.messages import DeleteAnswer, FileError, Transport

ONE = ["a"]
TWO = ["a", "b"]
DONE = DeleteAnswer(
    Transport.ANSWERED, http_status=200, code=0, message="success", request_id="req-1", deleted=frozenset({"a"})
)


def answer(code: int | None = None, **facts: object) -> DeleteAnswer:
    return DeleteAnswer(Transport.ANSWERED, **({"http_status": 200, "code": code} | facts))  # type: ignore[arg-type]


def failed(code: str) -> DeleteAnswer:
    return answer(0, errors=(FileError("a", code, "vendor's words", "vendor-req"),))


# Each row of docs/sweep.md: what was asked, the answer, and outcome, charge and effect that follow.
ROWS = [
    ("deleted", ONE, DONE, Outcome.DELETED, True, Effect.TOOK_CALL),
    *(
        (f"not found, {code}", ONE, failed(code), Outcome.GONE, True, Effect.TOOK_CALL)
        for code in ("ResourceNotFound", "ResourceNotFound.FileNotExist", "404")
    ),
    *(
        (f"of the account, {code}", ONE, failed(code), Outcome.BLOCKED, False, Effect.BLOCK_VENDOR)
        for code in (
            "ResourceNotFound.ServiceNotExist",
            "ResourceNotFound.UserNotExist",
            "FailedOperation.InvalidVodUser",
            "AuthFailure.SecretIdNotFound",
            "NoSuchBucket",
            "InArrearOrInsufficientBalance",
        )
    ),
    *(
        (f"of something else, {code}", ONE, failed(code), Outcome.RETRYABLE, True, Effect.TOOK_CALL)
        for code in ("ResourceNotFound.TemplateNotExist", "ResourceNotFound.Whatever", "NoSuchKeyPair", "4040")
    ),
    ("not found, Huawei", ONE, failed("NoSuchKey"), Outcome.GONE, True, Effect.TOOK_CALL),
    ("not found, Wangsu", ONE, failed("612"), Outcome.GONE, True, Effect.TOOK_CALL),
    ("41003 for one file", ONE, failed("41003"), Outcome.GONE, True, Effect.TOOK_CALL),
    ("access denied", ONE, failed("AccessDenied"), Outcome.REJECTED, True, Effect.TOOK_CALL),
    ("unknown file error", ONE, failed("FailedOperation.Locked"), Outcome.RETRYABLE, True, Effect.TOOK_CALL),
    ("in neither list", ONE, answer(0), Outcome.UNKNOWN, True, Effect.TOOK_CALL),
    (
        "in both lists",
        ONE,
        answer(0, deleted=frozenset({"a"}), errors=(FileError("a", "NoSuchKey", "", ""),)),
        Outcome.UNKNOWN,
        True,
        Effect.TOOK_CALL,
    ),
    ("code 2 on several", TWO, answer(2), Outcome.RETRYABLE, False, Effect.SPLIT),
    ("code 1000 on several", TWO, answer(1000), Outcome.RETRYABLE, False, Effect.SPLIT),
    ("code 41003 on several", TWO, answer(41003), Outcome.RETRYABLE, False, Effect.SPLIT),
    ("414 on several", TWO, answer(http_status=414, unreadable=True), Outcome.RETRYABLE, False, Effect.SPLIT),
    ("code 2 on one", ONE, answer(2), Outcome.REJECTED, True, Effect.FILE),
    ("code 1000 on one", ONE, answer(1000), Outcome.RETRYABLE, True, Effect.FILE),
    ("code 41003 on one", ONE, answer(41003), Outcome.GONE, True, Effect.FILE),
    ("414 on one", ONE, answer(http_status=414, unreadable=True), Outcome.REJECTED, True, Effect.FILE),
    ("500 page", TWO, answer(http_status=500, unreadable=True), Outcome.UNKNOWN, False, Effect.BACK_OFF),
    ("503 with JSON", TWO, answer(0, http_status=503), Outcome.UNKNOWN, False, Effect.BACK_OFF),
    ("429", TWO, answer(http_status=429, unreadable=True), Outcome.RETRYABLE, False, Effect.THROTTLE),
    ("code 6", TWO, answer(6), Outcome.RETRYABLE, False, Effect.THROTTLE),
    ("HTML page", TWO, answer(unreadable=True), Outcome.UNKNOWN, False, Effect.BACK_OFF),
    ("redirect", TWO, answer(http_status=302, unreadable=True), Outcome.UNKNOWN, False, Effect.BACK_OFF),
    ("cut JSON", TWO, answer(unreadable=True), Outcome.UNKNOWN, False, Effect.BACK_OFF),
    ("no code", TWO, answer(None), Outcome.UNKNOWN, False, Effect.BACK_OFF),
    ("a code never heard of", TWO, answer(9999), Outcome.UNKNOWN, False, Effect.BACK_OFF),
    ("refused", TWO, DeleteAnswer(Transport.NOT_SENT), Outcome.RETRYABLE, False, Effect.BACK_OFF),
    ("no answer", TWO, DeleteAnswer(Transport.LOST), Outcome.UNKNOWN, False, Effect.BACK_OFF),
    ("code 4", TWO, answer(4), Outcome.BLOCKED, False, Effect.BLOCK_VENDOR),
    *(
        (f"code {code}", TWO, answer(code), Outcome.BLOCKED, False, Effect.BLOCK_APP)
        for code in (3, 5, 7, 8, 100_000_000, 100_000_017)
    ),
]


@pytest.mark.parametrize(
    ("asked", "said", "outcome", "charged", "effect"),
    [row[1:] for row in ROWS],
    ids=[row[0] for row in ROWS],
)
def test_every_row_of_the_table(
    asked: list[str], said: DeleteAnswer, outcome: Outcome, charged: bool, effect: Effect
) -> None:
    reading = read_answer(asked, said)
    assert list(reading.results) == asked
    assert {(result.outcome, result.charged) for result in reading.results.values()} == {(outcome, charged)}
    assert reading.effect is effect


def test_files_of_one_answer_are_judged_one_by_one() -> None:
    said = answer(0, deleted=frozenset({"a", "stranger"}), errors=(FileError("b", "AccessDenied", "no", "v"),))
    results = read_answer(["a", "b", "c"], said).results
    assert {name: result.outcome for name, result in results.items()} == {
        "a": Outcome.DELETED,
        "b": Outcome.REJECTED,
        "c": Outcome.UNKNOWN,
    }


def test_the_vendors_own_words_are_kept() -> None:
    result = read_answer(ONE, failed("AccessDenied")).results["a"]
    assert (result.code, result.message, result.request_id) == ("AccessDenied", "vendor's words", "vendor-req")


def test_only_an_answer_of_code_0_took_the_call() -> None:
    effects = [read_answer(ONE, DONE).effect, read_answer(ONE, answer(2)).effect, read_answer(TWO, answer(1000)).effect]
    assert effects == [Effect.TOOK_CALL, Effect.FILE, Effect.SPLIT]


def test_gone_after_an_unseen_answer_is_deleted_and_says_so() -> None:
    gone = FileResult(Outcome.GONE, True, "NoSuchKey", "no such key", "r")
    credited = credit_earlier_attempt(gone)
    assert credited.outcome is Outcome.DELETED
    assert "earlier attempt" in credited.message
    assert "no such key" in credited.message


def test_nothing_else_is_credited_to_an_earlier_attempt() -> None:
    unknown = FileResult(Outcome.UNKNOWN, True, "", "", "")
    assert credit_earlier_attempt(unknown) is unknown


def test_sparing_charges_no_file_and_backs_the_app_off() -> None:
    spared = spare_files(read_answer(ONE, answer(2)))
    assert spared.effect is Effect.BACK_OFF
    assert (spared.results["a"].outcome, spared.results["a"].charged) == (Outcome.RETRYABLE, False)
