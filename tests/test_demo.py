from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from service.core.model import FileState
from service.core.rules_file import parse_rules
from service.demo.cast import APP_ID, RECORDINGS, RULES, write_callback, write_forgery
from service.demo.play import Expectations
from service.demo.programme import Programme
from service.zego.callback import parse_callback
from service.zego.envelope import read_envelope
from tests.world import START

if TYPE_CHECKING:
    from pathlib import Path


def start_demo(folder: Path, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "service", "demo"],
        cwd=folder,
        env=os.environ | {"TMPDIR": str(folder)} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_demo_proves_itself_and_leaves_nothing_behind(tmp_path: Path) -> None:
    process = start_demo(
        tmp_path, ZEGO_RETENTION_DATBASE_URL="a setting of somebody else", http_proxy="http://127.0.0.1:9"
    )
    out, err = process.communicate(timeout=110)
    assert (process.returncode, err) == (0, ""), out
    assert "Proof: ZEGO still holds 7 files" in out
    assert "Project → Server callback → Recording file" in out
    assert "LISTEN=" not in out
    order = [
        out.index(words) for words in ("_PUBLIC_URL=", "_KEEP=30d", " serve", "enter the callback", " doctor", " --dry")
    ]
    assert order == sorted(order)
    assert "cloud recording" not in out.lower()
    for state in ("deleted", "gone", "kept", "scheduled", "unconfirmed", "401"):
        assert state in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    process = start_demo(tmp_path)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*/web.log")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.strip() == "zego-retention: interrupted"
    assert list(tmp_path.iterdir()) == []


def test_the_cast_has_every_vendor_state_and_shape() -> None:
    assert len({recording.vendor for recording in RECORDINGS}) == 3
    assert len({recording.shape for recording in RECORDINGS}) >= 6
    met = {recording.fate for recording in RECORDINGS}
    assert met == {FileState.DELETED, FileState.GONE, FileState.KEPT, FileState.SCHEDULED, FileState.UNCONFIRMED}
    assert len(parse_rules(RULES)) == 3


def test_every_callback_says_what_its_recording_is() -> None:
    for recording in RECORDINGS:
        callback = parse_callback(read_envelope(*write_callback(recording, "secret", START)))
        assert (callback.app_id, callback.file_id, callback.stream_id) == (APP_ID, recording.file_id, recording.stream)  # type: ignore[union-attr]
    forged = parse_callback(read_envelope(*write_forgery(START)))
    assert forged.stream_id == "trial-x"  # type: ignore[union-attr]


def test_what_comes_out_otherwise_is_told() -> None:
    expectations = Expectations()
    expectations.expect("files", 2, 2)
    expectations.expect("state of x", "kept", "deleted")
    out = io.StringIO()
    Programme(Console(file=out, width=80)).close(expectations.broken, 1)
    assert out.getvalue().splitlines()[-1] == "- state of x: deleted was expected, but it is kept"
    assert "Next" not in out.getvalue()
