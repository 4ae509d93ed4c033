"""The sandbox on the command line: `python -m service.sandbox`."""

from __future__ import annotations

import argparse
import threading
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from service.model import Vendor
from service.sandbox.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted; print the URL first, on a line of its own."""
    parser = argparse.ArgumentParser("python -m service.sandbox", description="A ZEGO on loopback, to try things on.")
    parser.add_argument("--port", type=int, default=9000, help="port on 127.0.0.1; 0 takes a free one (default: 9000)")
    parser.add_argument(
        "--app", type=_app, action="append", required=True, metavar="APP_ID:SECRET", help="an app; may be given again"
    )
    parser.add_argument(
        "--file",
        dest="files",
        type=_file,
        action="append",
        default=[],
        metavar="APP_ID:VENDOR:FILE_ID",
        help="a stored file, made now; may be given again",
    )
    parser.add_argument("--latency", type=float, default=0, metavar="SECONDS", help="delay of every answer")
    parser.add_argument("--no-search", dest="search", action="store_false", help="know DeleteMedia only")
    chosen = parser.parse_args(arguments)
    sandbox = Sandbox(dict(chosen.app), lambda: datetime.now(UTC), latency_s=chosen.latency, port=chosen.port)
    sandbox.knows_search = chosen.search
    for file in chosen.files:
        sandbox.add_file(*file)
    try:
        with sandbox, suppress(KeyboardInterrupt):
            print(sandbox.url, flush=True)  # noqa: T201  (its one output)
            threading.Event().wait()
    except OSError as error:
        parser.error(str(error))


def _app(text: str) -> tuple[str, str]:
    app_id, _, secret = text.partition(":")
    if not (app_id.isascii() and app_id.isdigit() and secret):
        raise argparse.ArgumentTypeError("an app is written APP_ID:SECRET, e.g. 1234567890:0123456789abcdef")
    return app_id, secret


def _file(text: str) -> tuple[str, Vendor, str]:
    app_id, _, rest = text.partition(":")
    vendor, _, file_id = rest.partition(":")
    if not (app_id and file_id and vendor in set(Vendor)):
        raise argparse.ArgumentTypeError("a file is written APP_ID:VENDOR:FILE_ID, e.g. 1234567890:Huawei:a/b.mp4")
    return app_id, Vendor(vendor), file_id


if __name__ == "__main__":
    main()
