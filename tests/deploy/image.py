"""The image of deploy/Dockerfile without Docker: each step runs in a copy of this machine, which stands for the base.

The copy is an overlay in a mount namespace, so that nothing of this machine is changed and nothing of it is left.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
HOW_TO_GET_A_NAMESPACE = "the image's steps need root, for a mount namespace: sudo make test-long"
LOOPBACK_UP = (
    "import fcntl, socket, struct; "
    'fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sH14s", b"lo", 1 | 64, b""))'  # SIOCSIFFLAGS: up and running
)
_ARGUMENTS = '"$@"'
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Stage:
    """What a stage of a Dockerfile says, in order, and how it leaves user, folder and environment."""

    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def last(self, instruction: str) -> str:
        return next(text for name, text in reversed(self.steps) if name == instruction)

    def every(self, instruction: str) -> list[str]:
        return [text for name, text in self.steps if name == instruction]

    @property
    def environment(self) -> dict[str, str]:
        found = {"PATH": _SYSTEM_PATH}
        for text in self.every("ENV"):
            name, _, value = text.partition("=")
            found[name] = re.sub(r"\$\{(\w+)\}", lambda match: found[match[1]], value)
        return found

    @property
    def command(self) -> list[str]:
        command: list[str] = json.loads(self.last("ENTRYPOINT"))
        return command


def read_dockerfile() -> list[Stage]:
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    stages: list[Stage] = []
    for line in text.replace("\\\n", " ").splitlines():
        instruction, _, rest = line.strip().partition(" ")
        if instruction == "FROM":
            stages.append(Stage(rest.rpartition(" AS ")[2] if " AS " in rest else str(len(stages))))
        elif instruction and stages:
            stages[-1].steps.append((instruction, rest.strip()))
    return stages


def run_image(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Build the image and run a script of `sh` beside it, in a network of its own.

    There, `./image ARGUMENT…` is what `docker run --read-only IMAGE ARGUMENT…` is; `./in-image` runs other programs.
    """
    assert os.geteuid() == 0, HOW_TO_GET_A_NAMESPACE
    image = read_dockerfile()[-1]
    in_image = _in_image(image)
    _write(folder / "in-image", in_image)
    _write(folder / "image", f"{in_image.removesuffix(_ARGUMENTS)}{' '.join(image.command)} {_ARGUMENTS}")
    _write(folder / "trial.sh", f"{sys.executable} -c {shlex.quote(LOOPBACK_UP)}\n{script}")
    _write(folder / "steps.sh", "\n".join([*_build(folder), *_mount(image), "exec unshare --net sh -eu trial.sh"]))
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-eu", str(folder / "steps.sh")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)


def _write(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\nexport PATH=$PATH:/usr/sbin:/sbin\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def _build(folder: Path) -> list[str]:
    # The overlay's upper folder may not lie in its lower one: hence another file system.
    lines = [f"cd {folder}", "mkdir layers", "mount -t tmpfs layers layers"]
    base = Path(sys.base_prefix)
    for stage in read_dockerfile():
        root = f"layers/{stage.name}"
        lines += [
            f"mkdir -p {root}.up {root}.work {root}",
            f"mount -t overlay -o lowerdir=/,upperdir={root}.up,workdir={root}.work overlay {root}",
            f"mount --rbind /dev {root}/dev",
            f"mount -t proc proc {root}/proc",
            # In the base image everybody may run Python, and it is called so.
            *(f"chmod a+rx {root}{parent}" for parent in [base, *base.parents]),
            f"ln -sf {base}/bin/python3 {root}/usr/local/bin/python",
        ]
        where = "/"
        for instruction, text in stage.steps:
            if instruction == "WORKDIR":
                where = text
                lines.append(f"mkdir -p {root}{where}")
            elif instruction == "COPY":
                lines.append(_copy(root, where, text.split()))
            elif instruction == "RUN":
                lines.append(f"chroot {root} sh -euc {shlex.quote(f'cd {where}; {text}')} >&2")
    return lines


def _copy(root: str, where: str, words: list[str]) -> str:
    origin = f"layers/{words.pop(0).removeprefix('--from=')}" if words[0].startswith("--from=") else str(ROOT)
    *sources, target = words
    target = f"{root}{target}" if target.startswith("/") else f"{root}{where}/{target.removeprefix('./')}"
    return f"cp -a {' '.join(f'{origin}/{source}' for source in sources)} {target}"


def _mount(stage: Stage) -> list[str]:
    """As Docker has it: the volume begins with what the image has there, whoever owns it; the rest is read-only."""
    root, volume = f"layers/{stage.name}", stage.last("VOLUME")
    return [f"cp -a {root}{volume} volume", f"mount -o remount,ro {root}", f"mount --bind volume {root}{volume}"]


def _in_image(stage: Stage) -> str:
    owner, _, group = stage.last("USER").partition(":")
    variables = " ".join(f"{name}={value}" for name, value in stage.environment.items())
    rights = "--no-new-privs --inh-caps=-all --bounding-set=-all --clear-groups"
    enter = f"""cd {stage.last("WORKDIR")}; exec "$@\""""
    return (
        f"exec chroot layers/{stage.name} setpriv --reuid={owner} --regid={group} {rights}"
        f" env -i {variables} sh -euc {shlex.quote(enter)} sh {_ARGUMENTS}"
    )
