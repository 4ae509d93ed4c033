"""How numbers and moments are told in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


def count(number: int, noun: str) -> str:
    """A number and its noun, which takes an s in the plural."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def in_words(moment: datetime) -> str:
    """A moment of UTC."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
