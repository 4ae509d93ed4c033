from __future__ import annotations

import json
import logging
import logging.config
import re
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from service.logs import configure_logging

if TYPE_CHECKING:
    from collections.abc import Iterator

ISO_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    for name in ("alembic.runtime.plugins", "apscheduler", "urllib3"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def printed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def fail(password: str) -> None:
    raise ValueError(f"{len(password)} is wrong")


def test_json_is_one_object_per_event(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", "INFO")
    structlog.get_logger("service.web").info("callback_stored", app_id="1", stream="a\nb")
    (record,) = printed(capsys)
    assert ISO_UTC.fullmatch(record.pop("timestamp"))
    assert record == {
        "event": "callback_stored",
        "level": "info",
        "logger": "service.web",
        "app_id": "1",
        "stream": "a\nb",
    }


@pytest.mark.parametrize("logger", ["alembic.ddl.impl", "waitress", "anything"])
def test_records_of_libraries_take_the_same_way(capsys: pytest.CaptureFixture[str], logger: str) -> None:
    configure_logging("json", "INFO")
    logging.getLogger(logger).info("Running %s", "upgrade", extra={"step": 1})
    (record,) = printed(capsys)
    assert (record["event"], record["logger"], record["level"], record["step"]) == (
        "Running upgrade",
        logger,
        "info",
        1,
    )


def test_an_exception_is_one_structured_field_without_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", "INFO")
    try:
        fail(password="hush")
    except ValueError:
        structlog.get_logger("service").exception("sweep_failed")
        logging.getLogger("library").exception("failed")
    for record in printed(capsys):
        (exception,) = record["exception"]
        assert (exception["exc_type"], exception["exc_value"]) == ("ValueError", "4 is wrong")
        assert exception["frames"][0]["name"].startswith("test_an_exception")
        assert "locals" not in exception["frames"][-1]


def test_the_console_shows_tracebacks_without_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("console", "INFO")
    try:
        fail(password="hu" + "sh")
    except ValueError:
        structlog.get_logger("service").exception("sweep_failed")
    text = capsys.readouterr().err
    assert "sweep_failed" in text
    assert "ValueError: 4 is wrong" in text
    assert "hush" not in text


def test_the_console_escapes_what_could_forge_a_line_or_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("console", "INFO")
    structlog.get_logger("service").info("callback_stored", stream="a\nb\x1b[31m", app="plain words", name="直播")
    logging.getLogger("waitress").info("GET /\x1b[2J\nforged")
    first, second = capsys.readouterr().err.splitlines()
    assert r"stream=a\nb\x1b[31m" in first
    assert "name=直播" in first
    assert "app='plain words'" in first
    assert r"GET /\x1b[2J\nforged" in second
    assert "\x1b" not in first + second


@pytest.mark.parametrize(("level", "expected"), [("DEBUG", 3), ("INFO", 2), ("WARNING", 1), ("ERROR", 0)])
def test_nothing_below_the_level_is_printed(capsys: pytest.CaptureFixture[str], level: str, expected: int) -> None:
    configure_logging("json", level)
    logger = structlog.get_logger("service")
    logger.debug("one")
    logger.info("two")
    logger.warning("three")
    assert len(printed(capsys)) == expected


def test_chatty_libraries_are_quieted_but_not_silenced(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", "DEBUG")
    logging.getLogger("apscheduler.executors.default").info("Running job")
    logging.getLogger("urllib3.connectionpool").debug("GET /?Signature=hush")
    logging.getLogger("apscheduler.executors.default").warning("missed")
    assert [record["event"] for record in printed(capsys)] == ["missed"]


def test_quieted_libraries_keep_to_a_stricter_level(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", "ERROR")
    logging.getLogger("apscheduler.scheduler").warning("missed")
    assert printed(capsys) == []


def test_without_a_format_what_is_no_terminal_gets_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(None, "INFO")
    structlog.get_logger("service").info("started")
    assert printed(capsys)[0]["event"] == "started"


def test_configuring_again_replaces_the_earlier_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("console", "INFO")
    configure_logging("json", "INFO")
    logging.getLogger("anything").info("once")
    assert [record["event"] for record in printed(capsys)] == ["once"]
