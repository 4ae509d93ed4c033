"""The units of deploy/systemd: what systemd says of them, and that they run under a systemd of their own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from service import serve
from service.settings import load_settings
from tests.deploy.booted import HOW_TO_GET_SYSTEMD, UNITS

if TYPE_CHECKING:
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
