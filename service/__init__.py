"""zego-retention: deletes ZEGO CDN recordings when their retention window has passed."""

from __future__ import annotations

TYPE_CHECKING = False  # importing service must stay cheap: typing takes longer than all of Python's start
if TYPE_CHECKING:
    from flask import Flask

__version__ = "0.1.0"


def create_app() -> Flask:
    """Build the WSGI application from the settings in the environment.

    Raises:
        service.settings.SettingsError: a setting is missing or wrong.
    """
    from service.web.app import create_app as build  # noqa: PLC0415  (see above)

    return build()
