"""A strict ZEGO on loopback, for the demo and the tests: it checks every call, stores files and fails on command.

`python -m service.sandbox --help` shows how to run one by hand.
"""

from __future__ import annotations

from service.sandbox.sandbox import Call, Sandbox
from service.sandbox.storage import StoredFile

__all__ = ["Call", "Sandbox", "StoredFile"]
