from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from service.demo.play import find_broken
from service.demo.recordings import RECORDINGS, RULES, SHAPES
from service.model import FileState, Outcome
from service.rules.file import parse_rules

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
    assert "Proof: ZEGO still stores 7 files" in out
    order = [
        out.index(words)
        for words in ("_PUBLIC_URL=", "_KEEP=30d", "_SWEEP_EVERY=off", " serve", "callback URL", " doctor", " --dry")
    ]
    assert order == sorted(order)
    for word in ("deleted", "gone", "kept", "scheduled", "unconfirmed", "retryable", "unknown", "401"):
        assert word in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    process = start_demo(tmp_path)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*/demo.db")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip()) == (1, "zego-retention: interrupted")
    assert list(tmp_path.iterdir()) == []


def test_the_recordings_show_every_vendor_shape_state_and_trouble() -> None:
    assert len({recording.vendor for recording in RECORDINGS}) == 3
    assert {recording.shape for recording in RECORDINGS} == set(SHAPES)
    assert {recording.state for recording in RECORDINGS} == {
        FileState.DELETED, FileState.GONE, FileState.KEPT, FileState.SCHEDULED, FileState.UNCONFIRMED,
    }  # fmt: skip
    assert {recording.outcome for recording in RECORDINGS} >= {Outcome.DELETED, Outcome.RETRYABLE, Outcome.UNKNOWN}
    assert len(parse_rules(RULES)) == 3


def test_what_comes_out_otherwise_is_noted() -> None:
    [*missing, stored] = find_broken([], {"rec-fay.mp4"})
    assert len(missing) == len(RECORDINGS)
    assert stored == "ZEGO stores ['rec-fay.mp4'], but [] are left"
