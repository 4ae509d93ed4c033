"""What a person can do when ZEGO refuses an app's calls (docs/protocol.md, "DeleteMedia")."""

from __future__ import annotations

from typing import Final

ENABLE_API: Final = "ask ZEGO's support to enable the recording API (DeleteMedia, SearchMedia) for this AppID"
_CREDENTIALS: Final = (
    "copy AppID and ServerSecret again from ZEGO's console (Project → Basic information) into the settings, restart,"
    " and see whether this machine's clock is right"
)
_REMEDIES: Final = dict.fromkeys(("3", "5", "8", "100000017"), ENABLE_API) | {
    "2": "report this as a defect",
    "4": "ask ZEGO's support which CDN stores the project's recordings, and whether that was changed",
    "7": _CREDENTIALS,
    "100000004": "set this machine's clock (ZEGO takes 10 minutes of difference)",
    "100000016": "projects made up to 2021-11-16 need is_test = true or false, as ZEGO's console says",
}


def advise_on_code(code: int | str | None) -> str:
    """What helps against a top-level code of ZEGO."""
    return _REMEDIES.get(str(code), f"{_CREDENTIALS}; or correct ZEGO_RETENTION_API_URL")
