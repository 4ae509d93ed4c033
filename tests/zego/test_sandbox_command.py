from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from service.core.listing import Query
from service.core.model import Vendor
from service.zego.client import ZegoClient
from service.zego.sandbox_command import main

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = (sys.executable, "-m", "service.zego.sandbox", "--port", "0", "--app", "1234567890:SECRET")


def test_it_serves_its_files_until_interrupted(tmp_path: Path) -> None:
    files = tmp_path / "files.json"
    entry = {"app_id": "1234567890", "vendor": "Huawei", "file_id": "a/b.mp4", "created_at": "2026-08-01T12:00:00Z"}
    files.write_text(json.dumps([entry, entry | {"app_id": 1234567890, "file_id": "number.mp4"}]))
    with subprocess.Popen(
        [*COMMAND, "--files", str(files), "--no-search"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with ZegoClient("1234567890", "SECRET", url, None, clear_cache=False, now=lambda: datetime.now(UTC)) as client:
            both = ["a/b.mp4", "number.mp4"]
            assert client.delete_media(Vendor.HUAWEI, both).deleted == set(both)
            assert client.search_media(Vendor.HUAWEI, Query(size=1)).code == 100000007
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "JSON"),
        ("{}", "JSON list"),
        ("[1]", "JSON list"),
        ('[{"app_id": "1"}]', "vendor"),
        ('[{"vendor": "X"}]', "app_id"),
        ('[{"app_id": "1", "vendor": "X", "file_id": "a"}]', "'X'"),
        ('[{"app_id": 2, "vendor": "Ws", "file_id": "a"}]', "file 1: app_id '2' is none of --app"),
        ('[{"app_id": true, "vendor": "Ws", "file_id": "a"}]', "app_id True is none of --app"),
        ('[{"app_id": [1], "vendor": "Ws", "file_id": "a"}]', "app_id [1] is none of --app"),
        ('[{"app_id": 1, "vendor": "Ws", "file_id": 5}]', "file_id 5 is not a text"),
        ('[{"app_id": 1, "vendor": "Ws", "file_id": "a", "size_bytes": "5"}]', "size_bytes cannot be understood"),
        ('[{"app_id": 1, "vendor": "Ws", "file_id": "a", "colour": 5}]', "colour cannot be understood"),
        ('[{"app_id": 1, "vendor": "Ws", "file_id": "a", "created_at": "soon"}]', "'soon'"),
        (None, "No such"),
    ],
)
def test_a_bad_file_is_said_in_one_line(
    content: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = tmp_path / "files.json"
    if content is not None:
        files.write_text(content)
    with pytest.raises(SystemExit) as stopped:
        main(["--port", "0", "--app", "1:s", "--files", str(files)])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("app", ["1234567890", "abc:SECRET", "1:"])
def test_an_app_needs_an_id_and_a_secret(app: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--app", app])
    assert "APP_ID:SECRET" in capsys.readouterr().err
