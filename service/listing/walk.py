"""A way through a vendor's listing."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias

from service.zego.messages import Query, SearchAnswer

Walk: TypeAlias = Generator[Query, SearchAnswer, tuple[str, ...]]
"""Asks questions and is sent the answers; returns why the listing is not complete, a line each (none: it is complete).

The files of every answer are the caller's to take; a file may come more than once.
"""
