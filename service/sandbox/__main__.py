"""The sandbox on the command line: `python -m service.sandbox`."""

from __future__ import annotations

import argparse
import json
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from service.sandbox.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Sequence

_FILES_HELP: Final = (
    "JSON list of stored files, each an object with app_id, vendor, file_id and, if wanted, size_bytes, stream_id and "
    "created_at (ISO 8601)"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted; print the URL first, on a line of its own."""
    parser = argparse.ArgumentParser("python -m service.sandbox", description="A ZEGO on loopback, to try things on.")
    parser.add_argument("--port", type=int, default=9000, help="port on 127.0.0.1; 0 takes a free one (default: 9000)")
    parser.add_argument(
        "--app", type=_app, action="append", required=True, metavar="APP_ID:SECRET", help="an app; may be given again"
    )
    parser.add_argument("--files", type=Path, metavar="FILE.json", help=_FILES_HELP)
    parser.add_argument("--latency", type=float, default=0, metavar="SECONDS", help="delay of every answer")
    parser.add_argument("--no-search", dest="search", action="store_false", help="know DeleteMedia only")
    chosen = parser.parse_args(arguments)
    sandbox = Sandbox(
        dict(chosen.app),
        lambda: datetime.now(UTC),
        port=chosen.port,
        latency_s=chosen.latency,
        knows_search=chosen.search,
    )
    try:
        if chosen.files:
            _load_files(sandbox, chosen.files)
        with sandbox, suppress(KeyboardInterrupt):
            print(sandbox.url, flush=True)  # noqa: T201  (its one output)
            threading.Event().wait()
    except (OSError, ValueError) as error:
        parser.error(str(error))


def _app(text: str) -> tuple[str, str]:
    app_id, _, secret = text.partition(":")
    if not (app_id.isascii() and app_id.isdigit() and secret):
        raise argparse.ArgumentTypeError("an app is written APP_ID:SECRET, e.g. 1234567890:0123456789abcdef")
    return app_id, secret


def _load_files(sandbox: Sandbox, path: Path) -> None:
    entries = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(entries, list):
        raise ValueError(f"{path}: write a {_FILES_HELP}")  # noqa: TRY004  (shown to a person)
    for place, entry in enumerate(entries, start=1):
        try:
            _load_file(sandbox, dict(entry))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: file {place}: {error!r}; write a {_FILES_HELP}") from None


def _load_file(sandbox: Sandbox, facts: dict[str, Any]) -> None:
    app_id = str(facts.pop("app_id"))
    if app_id not in sandbox.apps:
        raise ValueError(f"app_id {app_id} is none of --app")
    if "created_at" in facts:
        created_at = datetime.fromisoformat(facts["created_at"])
        facts["created_at"] = created_at.replace(tzinfo=created_at.tzinfo or UTC)
    sandbox.add_file(app_id, facts.pop("vendor"), facts.pop("file_id"), **facts)


if __name__ == "__main__":
    main()
