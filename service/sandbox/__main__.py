"""The sandbox on the command line: `python -m service.sandbox`."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import UTC, datetime

import click

from service.model import Vendor
from service.sandbox.sandbox import Sandbox


@click.command()
@click.option("--port", default=9000, show_default=True, help="Port on 127.0.0.1; 0 takes a free one.")
@click.option("--app", "apps", multiple=True, required=True, help="APP_ID:SECRET; may be repeated.")
@click.option("--file", "files", multiple=True, help="APP_ID:VENDOR:FILE_ID; may be repeated.")
def main(port: int, apps: tuple[str, ...], files: tuple[str, ...]) -> None:
    """A ZEGO on loopback, to try things on. It prints its URL and serves until it is interrupted."""
    secrets = dict(text.partition(":")[::2] for text in apps)
    if not all(app_id.isdecimal() and secret for app_id, secret in secrets.items()):
        raise click.BadParameter("an app is written APP_ID:SECRET, e.g. 1234567890:0123456789abcdef")
    sandbox = Sandbox(secrets, lambda: datetime.now(UTC), port=port)
    for text in files:
        app_id, _, rest = text.partition(":")
        vendor, _, file_id = rest.partition(":")
        if not app_id or vendor not in set(Vendor) or not file_id:
            raise click.BadParameter("a file is written APP_ID:VENDOR:FILE_ID, e.g. 1234567890:Huawei:a/b.mp4")
        sandbox.add_file(app_id, vendor, file_id)
    try:
        with sandbox, suppress(KeyboardInterrupt):
            click.echo(sandbox.url)
            threading.Event().wait()
    except OSError as error:
        reason = f"cannot listen on 127.0.0.1:{port}: {error.strerror}; give another one with --port (0: any free one)"
        raise click.ClickException(reason) from None


if __name__ == "__main__":
    main(prog_name="python -m service.sandbox")
