"""The units of deploy/systemd: what systemd says of them, and that they run under a systemd of their own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from service import serve
from service.settings import load_settings
from tests.deploy.booted import HOW_TO_GET_SYSTEMD, UNITS, Booted, boot
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVICE = (UNITS / "zego-retention.service").read_text(encoding="utf-8")
SOCKET = (UNITS / "zego-retention.socket").read_text(encoding="utf-8")
PROGRAM = "/opt/zego-retention/bin/zego-retention"
SECRETS = {
    "classroom-server-secret": "9193cc662a4c0ec135ec71fb57194b38\n",
    "classroom-callback-secret": "callback-secret\n",
}
MAX_EXPOSURE = 20
"""In tenths, as `systemd-analyze security` counts: 2.0 of 10 is "OK", a service without any of it has 9.6."""


def value(unit: str, name: str) -> str:
    found = re.findall(rf"^{name}=(.*)$", unit, re.MULTILINE)
    assert found, name
    return str(found[-1])


def analyze(folder: Path, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What systemd-analyze says of the units, whose program here is the one of this environment."""
    program = shutil.which("systemd-analyze")
    assert program, HOW_TO_GET_SYSTEMD
    for unit in UNITS.glob("zego-retention.s*"):
        text = unit.read_text(encoding="utf-8").replace(PROGRAM, sys.executable)
        (folder / unit.name).write_text(text, encoding="utf-8")
    return subprocess.run([program, verb, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_systemd_finds_nothing_to_say_about_them(tmp_path: Path) -> None:
    done = analyze(tmp_path, "verify", "--man=no", "./zego-retention.socket", "./zego-retention.service")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_service_may_do_little(tmp_path: Path) -> None:
    limits = ("--no-pager", "--offline=true", f"--threshold={MAX_EXPOSURE}")
    done = analyze(tmp_path, "security", *limits, "./zego-retention.service")
    assert done.returncode == 0, done.stdout + done.stderr


def test_they_fit_the_service_and_its_settings(tmp_path: Path) -> None:
    text = (UNITS / "config.toml").read_text(encoding="utf-8")
    for name, secret in SECRETS.items():
        assert f"/etc/zego-retention/{name}" in text
        (tmp_path / name).write_text(secret, encoding="utf-8")
    config = tmp_path / "config.toml"
    config.write_text(text.replace("/etc/zego-retention", str(tmp_path)), encoding="utf-8")
    settings = load_settings({"ZEGO_RETENTION_CONFIG": str(config)})
    assert settings.database_url == f"sqlite:////var/lib/{value(SERVICE, 'StateDirectory')}/zego-retention.db"
    assert (settings.sweep_every, settings.trusted_proxies) == (None, 1), "it looks first"
    assert value(SOCKET, "ListenStream") == str(settings.listen)
    assert value(SERVICE, "ExecStart") == f"{PROGRAM} serve"
    assert "Environment=ZEGO_RETENTION_CONFIG=/etc/zego-retention/config.toml\n" in SERVICE
    assert int(value(SERVICE, "TimeoutStopSec")) > serve._MAX_STOPPING_S
    assert value(SERVICE, "KillMode") == "mixed", "serve passes the signal on, once"


CALLBACKS = """
import http.client, json, os, sys, time
from datetime import UTC, datetime, timedelta
sys.path.insert(0, "/opt/checkout")
from service.model import Vendor
from service.sandbox.callbacks import callback_body
answers, errors, longest, number = {}, [], 0, 0
while not os.path.exists("/run/ENOUGH"):
    number += 1
    now, began = datetime.now(UTC), time.monotonic()
    body, kind = callback_body(
        Vendor.TENCENT, app_id="1234567890", secret="callback-secret", file_id=f"ENOUGH-{number}", stream="room",
        began=now - timedelta(hours=1), ended=now, now=now, nonce=str(100000 + number),
    )
    connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=60)
    try:
        connection.request("POST", "/zego/callback", body, {"Content-Type": kind})
        status = connection.getresponse().status
        answers[status] = answers.get(status, 0) + 1
    except Exception as error:
        errors.append(repr(error))
    connection.close()
    longest = max(longest, time.monotonic() - began)
    time.sleep(0.01)
print(json.dumps({"answers": answers, "errors": errors, "longest": longest}))
"""


@contextmanager
def callbacks(machine: Booted, name: str) -> Iterator[dict[str, Any]]:
    """One after another while the block runs, each on a connection of its own; afterwards what was answered."""
    found: dict[str, Any] = {}
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(machine.python, CALLBACKS.replace("ENOUGH", name))
        try:
            yield found
        finally:
            machine.run("touch", f"/run/{name}")
        done = sending.result()
    assert done.returncode == 0, done.stderr
    found |= json.loads(done.stdout)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_under_a_real_systemd_callbacks_wait_for_a_restart_and_none_is_refused(tmp_path: Path) -> None:
    config = (UNITS / "config.toml").read_text(encoding="utf-8")
    with boot(tmp_path, config, SECRETS) as machine:
        wait_until(lambda: machine.log.count("web_started") == 1, 60)
        with callbacks(machine, "restart") as restart:
            time.sleep(1)
            machine.systemctl("restart", "zego-retention.service")
            wait_until(lambda: machine.log.count("web_started") == 2, 60)
        assert (list(restart["answers"]), restart["errors"]) == (["200"], [])
        with callbacks(machine, "kill") as kill:
            time.sleep(1)
            machine.systemctl("kill", "--signal=SIGKILL", "zego-retention.service")
            wait_until(lambda: machine.log.count("web_started") == 3, 60)
        assert list(kill["answers"]) == ["200"]
        assert len(kill["errors"]) <= 1, "the one that was just being answered"
        assert "refused" not in "".join(kill["errors"])

        stored = machine.command("callbacks", "list", "--limit", "100000", "--json").stdout.count('"received_at"')
        assert stored >= restart["answers"]["200"] + kill["answers"]["200"]
        processes = machine.run("ps", "-eo", "user:20,args").stdout.splitlines()
        assert {line.split()[0] for line in processes if "/opt/zego-retention" in line} == {"retention"}
        owned = machine.run("find", "/", "-xdev", "-user", "retention", "-not", "-path", "/var/lib/zego-retention*")
        assert owned.stdout == ""
        machine.systemctl("stop", "zego-retention.socket", "zego-retention.service")
        assert "serve_stopped" in machine.log.splitlines()[-1]
