from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.world import environment

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a wheel built from this checkout and installed without its dependencies, which the venv has."""
    dist, target = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(dist), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = dist.glob("*.whl")
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(target)], check=True)
    return target


def start(installed: Path, folder: Path, *command: str, **settings: str) -> subprocess.Popen[str]:
    """Start the installed service in a folder, with the wheel before this checkout on the path."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("ZEGO_RETENTION_")}
    variables = environment(f"sqlite:///{folder}/data/z.db", "http://127.0.0.1:9/", **settings)
    return subprocess.Popen(
        [sys.executable, "-m", "service", *command],
        cwd=folder,
        env=plain | variables | {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_carries_everything_and_only_that(installed: Path) -> None:
    names = {path.name for path in (installed / "service" / "_migrations").iterdir()}
    assert {"env.py", "versions"} <= names
    static = {path.name for path in (installed / "service" / "web" / "static").rglob("*")}
    assert {"api-docs.html", "api-docs.js", "swagger-ui.css", "swagger-ui-bundle.js", "LICENSE", "NOTICE"} <= static
    assert not [name for name in ("tests", "migrations", "deploy", "docs") if (installed / name).exists()]


def test_migrating_and_sweeping_run_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    assert "migrated" in run(installed, tmp_path, "migrate")
    assert '"state": "done"' in run(installed, tmp_path, "sweep", "--json")
    assert (tmp_path / "data" / "z.db").exists()


def run(installed: Path, folder: Path, *command: str) -> str:
    process = start(installed, folder, *command, KEEP="1d")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


def test_it_is_the_wheel_that_runs(installed: Path, tmp_path: Path) -> None:
    ask = "import service, service.database.migrate as m; print(service.__file__); print(m.migrations_folder())"
    variables = os.environ | {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    asked = subprocess.run(
        [sys.executable, "-c", ask], cwd=tmp_path, env=variables, capture_output=True, text=True, check=True
    )
    assert all(line.startswith(str(installed)) for line in asked.stdout.split())


def test_serve_runs_from_an_empty_folder(installed: Path, tmp_path: Path, free_port: int) -> None:
    process = start(installed, tmp_path, "serve", LISTEN=f"127.0.0.1:{free_port}", KEEP="1d")
    try:
        answer = wait_for(f"http://127.0.0.1:{free_port}/readyz", process)
        assert answer == 200
        assert wait_for(f"http://127.0.0.1:{free_port}/api/v1/docs/swagger-ui-bundle.js", process) == 200
    finally:
        process.terminate()
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "Traceback" not in err


def wait_for(url: str, process: subprocess.Popen[str]) -> int:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310  (our own address)
                return int(response.status)
        except OSError:
            time.sleep(0.1)
    return 0
