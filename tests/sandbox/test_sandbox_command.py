from __future__ import annotations

import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from service.model import Vendor
from service.sandbox.__main__ import main
from service.zego.client import ZegoClient
from service.zego.messages import Query

APP, SECRET = "1234567890", "SECRET"


def test_it_serves_its_files_until_interrupted() -> None:
    file = f"{APP}:Huawei:a/b:1.mp4"
    command = (sys.executable, "-m", "service.sandbox", "--port", "0", "--app", f"{APP}:{SECRET}")
    with subprocess.Popen([*command, "--file", file], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with ZegoClient(APP, SECRET, url, now=lambda: datetime.now(UTC)) as client:
            assert client.delete_media(Vendor.HUAWEI, ["a/b:1.mp4"]).deleted == {"a/b:1.mp4"}
            assert client.search_media(Vendor.HUAWEI, Query(size=1)).files == ()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--app", "abc:SECRET"], "APP_ID:SECRET"),
        (["--app", "1:"], "APP_ID:SECRET"),
        (["--app", "1:s", "--file", "1:Aliyun:a"], "APP_ID:VENDOR:FILE_ID"),
    ],
)
def test_a_bad_argument_is_shown_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_a_port_that_is_taken_is_named_with_what_to_do(free_port: int) -> None:
    with socket.create_server(("127.0.0.1", free_port)):
        ended = CliRunner().invoke(main, ["--port", str(free_port), "--app", "1234567890:secret"])
    assert ended.exit_code == 1
    assert f"cannot listen on 127.0.0.1:{free_port}" in ended.output
    assert "--port" in ended.output
