"""A systemd of our own with deploy/'s units: in namespaces, on a copy of this machine that is gone with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.deploy.image import LOOPBACK_UP, ROOT
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

UNITS = ROOT / "deploy" / "systemd"
HOW_TO_GET_SYSTEMD = "booting the units needs root and systemd, on Debian: apt-get install systemd"
_SYSTEMD = "/lib/systemd/systemd"
_LIBRARIES = "LD_LIBRARY_PATH=/opt/python/lib"
_TARGETS = ("basic", "multi-user", "network-online", "shutdown", "sockets", "sysinit")
"""What our units lean on, without anything of this machine behind it."""

_BOOT = """
export PATH=$PATH:/usr/sbin:/sbin
cd {folder}
mount -t tmpfs layers layers
cd layers
mkdir up work root
mount -t overlay -o lowerdir=/,upperdir=up,workdir=work overlay root
cd root
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount --rbind /dev dev
mount --bind {folder}/console dev/console
mount -t tmpfs run run
mount -t tmpfs tmp tmp
{python} -c '{loopback_up}'

# Python, what the lock files name, and this checkout, where ProtectHome does not hide them.
mkdir opt/python opt/packages opt/checkout
mount --bind {base} opt/python
mount --bind {packages} opt/packages
mount --bind {checkout} opt/checkout
chroot . /opt/python/bin/python3 -m venv --without-pip /opt/zego-retention
printf '/opt/checkout\\n/opt/packages\\n' > $(echo opt/zego-retention/lib/python*/site-packages)/code.pth
program=opt/zego-retention/bin/zego-retention
printf '#!/opt/zego-retention/bin/python\\nimport sys\\nfrom service.cli import main\\nsys.exit(main())\\n' > $program
chmod 0755 $program

# As docs/operations.md has it.
useradd --root $PWD --system --no-create-home retention
cp -a {folder}/etc etc/zego-retention
chown -R root:$(chroot . id -g retention) etc/zego-retention
chmod -R u=rwX,g=rX,o= etc/zego-retention
cp -a {folder}/units units
exec chroot . env -i PATH=$PATH SYSTEMD_UNIT_PATH=/units container=trial \\
  {systemd} --system --unit=multi-user.target --show-status=no
"""


@dataclass
class Booted:
    """A machine on which the units run."""

    pid: int
    folder: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        entered = ["nsenter", "--all", "--root", f"--target={self.pid}", *command]
        return subprocess.run(entered, capture_output=True, text=True, timeout=120, check=False)

    def systemctl(self, *arguments: str) -> str:
        return self.run("systemctl", *arguments).stdout.strip()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of the service by hand, as docs/operations.md has it."""
        config = "ZEGO_RETENTION_CONFIG=/etc/zego-retention/config.toml"
        program = "/opt/zego-retention/bin/zego-retention"
        return self.run("runuser", "-u", "retention", "--", "env", _LIBRARIES, config, program, *arguments)

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        return self.run("env", _LIBRARIES, "/opt/zego-retention/bin/python", "-c", code)

    @property
    def log(self) -> str:
        return self.run("cat", "/var/lib/zego-retention.log").stdout


@contextmanager
def boot(folder: Path, config: str, secrets: dict[str, str]) -> Iterator[Booted]:
    """Boot a machine with the units of deploy/, these settings and these files of secrets in /etc/zego-retention."""
    assert os.geteuid() == 0, HOW_TO_GET_SYSTEMD
    assert Path(_SYSTEMD).exists(), HOW_TO_GET_SYSTEMD
    _write_units(folder / "units")
    (folder / "etc").mkdir()
    for name, text in {**secrets, "config.toml": config}.items():
        (folder / "etc" / name).write_text(text, encoding="utf-8")
    (folder / "layers").mkdir()
    (folder / "console").touch()
    script = _BOOT.format(
        folder=folder,
        python=sys.executable,
        loopback_up=LOOPBACK_UP,
        base=sys.base_prefix,
        packages=sysconfig.get_path("purelib"),
        checkout=ROOT,
        systemd=_SYSTEMD,
    )
    apart = ["--mount", "--propagation=private", "--pid", "--ipc", "--uts", "--cgroup", "--net"]
    with (folder / "boot.log").open("wb") as log:
        command = ["unshare", *apart, "--fork", "--kill-child", "sh", "-eu", "-c", script]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield Booted(_wait_for_systemd(process, folder), folder)
    finally:
        process.kill()
        process.wait()


def _write_units(units: Path) -> None:
    units.mkdir()
    for path in UNITS.glob("zego-retention.s*"):
        shutil.copy(path, units)
    for target in _TARGETS:
        (units / f"{target}.target").write_text("[Unit]\nDefaultDependencies=no\n", encoding="utf-8")
    for wanting, unit in (("multi-user", "service"), ("sockets", "socket")):  # as `systemctl enable` does
        (units / f"{wanting}.target.wants").mkdir()
        (units / f"{wanting}.target.wants" / f"zego-retention.{unit}").symlink_to(f"/units/zego-retention.{unit}")
    with (units / "multi-user.target").open("a") as target_file:
        target_file.write("Requires=basic.target\nWants=sockets.target\n")
    drop_in = units / "zego-retention.service.d"
    drop_in.mkdir()  # there is no journal here
    (drop_in / "log.conf").write_text(
        "[Service]\nStandardOutput=append:/var/lib/zego-retention.log\n"
        "StandardError=append:/var/lib/zego-retention.log\n"
        f"Environment={_LIBRARIES}\n",
        encoding="utf-8",
    )


def _wait_for_systemd(process: subprocess.Popen[bytes], folder: Path) -> int:
    """The pid of systemd, which has its units read."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    found = 0

    def is_booted() -> bool:
        nonlocal found
        assert process.poll() is None, (folder / "boot.log").read_text(encoding="utf-8")
        pids = children.read_text(encoding="utf-8").split()
        if not pids or not Path(f"/proc/{pids[0]}/cmdline").read_bytes().startswith(_SYSTEMD.encode()):
            return False
        found = int(pids[0])
        return Booted(found, folder).run("systemctl", "is-active", "zego-retention.socket").returncode == 0

    wait_until(is_booted, 60)
    return found
