"""The sandbox on the command line: `python -m service.sandbox`."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import UTC, datetime

import click

from service.model import Vendor
from service.sandbox.sandbox import Sandbox


def _read_apps(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    apps = dict(text.split(":", 1) for text in texts if ":" in text)
    if len(apps) != len(texts) or not all(app_id.isdecimal() and secret for app_id, secret in apps.items()):
        raise click.BadParameter("an app is written APP_ID:SECRET, e.g. 1234567890:0123456789abcdef")
    return apps


def _read_files(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> list[list[str]]:
    files = [text.split(":", 2) for text in texts]
    if not all(len(file) == 3 and all(file) and file[1] in set(Vendor) for file in files):  # noqa: PLR2004  (as below)
        raise click.BadParameter("a file is written APP_ID:VENDOR:FILE_ID, e.g. 1234567890:Huawei:a/b.mp4")
    return files


@click.command()
@click.option("--port", default=9000, show_default=True, help="Port on 127.0.0.1; 0 takes a free one.")
@click.option(
    "--app", "apps", multiple=True, required=True, callback=_read_apps, help="APP_ID:SECRET; may be repeated."
)
@click.option("--file", "files", multiple=True, callback=_read_files, help="APP_ID:VENDOR:FILE_ID; may be repeated.")
@click.option("--search/--no-search", default=True, help="Know SearchMedia, or DeleteMedia only.")
def main(port: int, apps: dict[str, str], files: list[list[str]], search: bool) -> None:  # noqa: FBT001  (from click)
    """A ZEGO on loopback, to try things on. It prints its URL and serves until it is interrupted."""
    sandbox = Sandbox(apps, lambda: datetime.now(UTC), port=port)
    sandbox.knows_search = search
    for app_id, vendor, file_id in files:
        sandbox.add_file(app_id, vendor, file_id)
    try:
        with sandbox, suppress(KeyboardInterrupt):
            click.echo(sandbox.url)
            threading.Event().wait()
    except OSError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main(prog_name="python -m service.sandbox")
