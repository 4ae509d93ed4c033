"""The demo: the main job on embedded parts, from signed callbacks to the outcome of each file."""

from __future__ import annotations

from service.demo.play import run_demo

__all__ = ["run_demo"]
