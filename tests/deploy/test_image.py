"""deploy/Dockerfile: what it promises, and that its steps make something that runs."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
from typing import TYPE_CHECKING

import pytest

from service.settings import setting_names
from tests.deploy.image import DOCKERFILE, ROOT, read_dockerfile, run_image

if TYPE_CHECKING:
    from pathlib import Path

BUILD, IMAGE = read_dockerfile()


def test_everything_that_is_installed_has_its_hash() -> None:
    commands = [command.strip() for text in BUILD.every("RUN") + IMAGE.every("RUN") for command in text.split("&&")]
    installs = [command for command in commands if " install " in command and "pip" in command]
    assert len(installs) == 3
    for command in installs:
        assert "--require-hashes" in command or "--no-index --no-deps /wheels/" in command, command
    assert any("pip wheel" in command and "--no-deps --no-build-isolation" in command for command in commands)
    assert "hatchling==" in (ROOT / "requirements-setup.lock").read_text(encoding="utf-8")


def test_what_it_copies_exists_and_passes_the_ignore_file() -> None:
    allowed = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert allowed[1] == "*"
    passes = [line[1:] for line in allowed if line.startswith("!")]
    copied = [words.split()[:-1] for words in BUILD.every("COPY")]
    assert {name for names in copied for name in names} == set(passes)
    assert all((ROOT / name).exists() for name in passes)
    assert not [name for name in passes if fnmatch.fnmatch(name, "*secret*") or name == ".venv"]


def test_it_runs_as_a_user_without_rights_in_a_folder_that_is_its_volume() -> None:
    user, group = IMAGE.last("USER").split(":")
    assert int(user) == int(group) >= 10_000
    last = [name for name, _ in IMAGE.steps]
    assert "RUN" not in last[last.index("USER") :]
    volume = IMAGE.last("VOLUME")
    assert (IMAGE.last("WORKDIR"), IMAGE.environment["XDG_DATA_HOME"]) == (volume, volume)
    assert f"install -d -o {user} -g {group} -m 0700 {volume}" in " ".join(IMAGE.every("RUN"))
    assert len(IMAGE.every("VOLUME")) == 1


def test_its_settings_and_its_port_are_those_of_the_service() -> None:
    names = re.findall(r"ZEGO_RETENTION_(\w+)=", DOCKERFILE.read_text(encoding="utf-8"))
    assert set(names) <= set(setting_names())
    port = IMAGE.last("EXPOSE")
    assert IMAGE.environment["ZEGO_RETENTION_LISTEN"] == f"0.0.0.0:{port}"
    assert f"127.0.0.1:{port}/readyz" in IMAGE.last("HEALTHCHECK")
    assert (IMAGE.command, json.loads(IMAGE.last("CMD"))) == (["zego-retention"], ["serve"])


TRIAL = f"""
echo "user $(./in-image id -u)"
./in-image python -c 'import service; print("code", service.__file__)'
for place in / /tmp /opt/zego-retention /etc /var/tmp; do
  ! ./in-image sh -c "echo > $place/x" 2>/dev/null || echo "can write to $place"
done
./image demo
ls -A volume | sed 's/^/left /'
./image serve &
for second in $(seq 30); do
  sleep 1
  ! ./in-image {shlex.join(json.loads(IMAGE.last("HEALTHCHECK").partition(" CMD ")[2]))} || break
done 2>/dev/null
echo "well after $second seconds"
kill -TERM $!
wait $!
echo "ended with $?"
find volume -name '*.db'
"""


@pytest.mark.long
def test_its_steps_make_something_that_runs_without_rights_on_a_read_only_root(tmp_path: Path) -> None:
    done = run_image(tmp_path, TRIAL)
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout.splitlines()
    assert "user 10001" in said
    assert "code /opt/zego-retention/" in done.stdout
    assert "can write" not in done.stdout
    assert "Proof: ZEGO still stores 7 files" in done.stdout
    assert not [line for line in said if line.startswith("left ")]
    assert re.search(r"^well after [0-9] seconds$", done.stdout, re.MULTILINE), done.stderr[-3000:]
    assert said[-2:] == ["ended with 0", "volume/zego-retention/zego-retention.db"]
