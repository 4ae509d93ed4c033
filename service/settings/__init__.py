"""The settings: read from environment variables and a TOML file, typed and checked."""

from __future__ import annotations

from service.settings.load import AppSettings, Settings, load_settings, setting_names
from service.settings.names import SettingsError
from service.settings.values import Listen

__all__ = ["AppSettings", "Listen", "Settings", "SettingsError", "load_settings", "setting_names"]
