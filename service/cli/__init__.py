"""The command line: `zego-retention …`."""

from __future__ import annotations

from service.cli.entry import main

__all__ = ["main"]
