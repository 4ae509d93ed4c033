"""A strict ZEGO on loopback, for the demo and the tests; `python -m service.sandbox --help` runs one by hand."""

from __future__ import annotations

from service.sandbox.sandbox import Call, Sandbox
from service.sandbox.storage import StoredFile, Trouble

__all__ = ["Call", "Sandbox", "StoredFile", "Trouble"]
