"""The sandbox on the command line: `python -m service.zego.sandbox`."""

from __future__ import annotations

import argparse
import json
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from service.zego.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Sequence

_NEEDED: Final = ("app_id", "vendor", "file_id")
_OPTIONAL: Final = {"size_bytes": int, "stream_id": str, "created_at": str}
_KEYS: Final = "app_id, vendor, file_id and, if wanted, size_bytes, stream_id and created_at (ISO 8601)"
_FILES_HELP: Final = f"JSON list of stored files, each an object with {_KEYS}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted; print the URL first, on a line of its own."""
    parser = _build_parser()
    chosen = parser.parse_args(arguments)
    sandbox = Sandbox(dict(chosen.app), now=lambda: datetime.now(UTC), port=chosen.port, search=chosen.search)
    try:
        if chosen.files:
            _load_files(sandbox, chosen.files)
        with sandbox, suppress(KeyboardInterrupt):
            print(sandbox.url, flush=True)  # noqa: T201 (its one output)
            threading.Event().wait()
    except (OSError, ValueError) as error:
        parser.error(str(error))


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m service.zego.sandbox", description="A ZEGO on loopback, to try things on."
    )
    parser.add_argument("--port", type=int, default=9000, help="port on 127.0.0.1; 0 takes a free one (default: 9000)")
    parser.add_argument(
        "--app", type=_app, action="append", required=True, metavar="APP_ID:SECRET", help="an app; may be given again"
    )
    parser.add_argument("--files", type=Path, metavar="FILE.json", help=_FILES_HELP)
    parser.add_argument("--no-search", dest="search", action="store_false", help="know DeleteMedia only")
    return parser


def _app(text: str) -> tuple[str, str]:
    app_id, _, secret = text.partition(":")
    if not (app_id.isascii() and app_id.isdigit() and secret):
        raise argparse.ArgumentTypeError("an app is written APP_ID:SECRET, e.g. 1234567890:0123456789abcdef")
    return app_id, secret


def _load_files(sandbox: Sandbox, path: Path) -> None:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{path}: write a {_FILES_HELP}")
    for place, entry in enumerate(entries, start=1):
        try:
            _load_file(sandbox, dict(entry))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: file {place}: {error}") from None


def _load_file(sandbox: Sandbox, facts: dict[str, Any]) -> None:
    missing = [name for name in _NEEDED if name not in facts]
    if missing:
        raise ValueError(f"{' and '.join(missing)} missing")
    app_id, vendor, file_id = (facts.pop(name) for name in _NEEDED)
    if isinstance(app_id, int) and not isinstance(app_id, bool):
        app_id = str(app_id)
    if not isinstance(app_id, str) or app_id not in sandbox.apps:
        raise ValueError(f"app_id {app_id!r} is none of --app, which are {', '.join(sandbox.apps)}")
    if not isinstance(file_id, str) or not file_id:
        raise ValueError(f"file_id {file_id!r} is not a text")
    unknown = facts.keys() - _OPTIONAL.keys()
    wrong = [name for name, kind in _OPTIONAL.items() if name in facts and type(facts[name]) is not kind]
    if unknown or wrong:
        raise ValueError(f"{' and '.join(sorted(unknown) or wrong)} cannot be understood; a file has {_KEYS}")
    if "created_at" in facts:
        created_at = datetime.fromisoformat(facts["created_at"])
        facts["created_at"] = created_at.replace(tzinfo=created_at.tzinfo or UTC)
    sandbox.add_file(app_id, vendor, file_id, **facts)
