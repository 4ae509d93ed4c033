"""The ways out: Apprise for messages, and a plain request to the ping URL. Nothing here repeats a secret."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from service.settings import SettingsError
from service.settings.names import PREFIX

if TYPE_CHECKING:
    from apprise import Apprise

_MAX_SENDING_S: Final = 30
_MAX_PING_S: Final = 10
_STATUS: Final = re.compile(r"error=(\d{3})")


class Channels:
    """Where messages go: one name for each URL of the setting, its scheme, counted on where several are alike."""

    def __init__(self, urls: Iterable[str]) -> None:
        """Load Apprise, which takes long and much memory; a URL that it does not know is a SettingsError."""
        from apprise import Apprise, AppriseAsset  # noqa: PLC0415  (nobody needs it who has not set NOTIFY)

        logger = logging.getLogger("apprise")  # its records may hold parts of the URLs
        logger.propagate = False
        logger.addHandler(logging.NullHandler())
        asset = AppriseAsset(app_id="zego-retention", app_desc="zego-retention", async_mode=False)
        alike = Counter[str]()
        self._channels: dict[str, Apprise] = {}
        for number, url in enumerate(urls, start=1):
            scheme = url.partition("://")[0].lower()
            alike[scheme] += 1
            channel = Apprise(asset=asset)
            if not channel.add(url):
                hint = "its form is at https://appriseit.com (services); special characters are percent-encoded"
                raise SettingsError(f"{PREFIX}NOTIFY: URL {number} ({scheme}://…) is none that Apprise takes: {hint}")
            self._channels[scheme if alike[scheme] == 1 else f"{scheme} {alike[scheme]}"] = channel

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the channels, in the order of the setting."""
        return tuple(self._channels)

    def send(self, name: str, title: str, body: str, *, is_problem: bool) -> str | None:
        """Send through one channel; None, or why that did not work."""
        try:
            result = self._channels[name].notify(
                body,
                title,
                notify_type="warning" if is_problem else "info",
                body_format="text",
                timeout=_MAX_SENDING_S,
                log_level=logging.WARNING,
            )
        except Exception as error:  # noqa: BLE001  (whatever a plugin does: the others have to go on)
            return f"an unexpected {type(error).__name__}"
        if result:
            return None
        # Only this of what it logged: the rest may name parts of the URL.
        statuses = [found[1] for entry in result.logs() if (found := _STATUS.search(str(entry.message)))]
        return f"it answered {statuses[-1]}" if statuses else "it cannot be reached, or refused the message"


def send_ping(url: str) -> str | None:
    """Request a ping URL; None, or why that did not work."""
    import requests  # noqa: PLC0415  (short commands do not need it, and it takes them a tenth of their time)

    try:
        answer = requests.post(url, timeout=_MAX_PING_S, data=b"")
    except requests.RequestException as error:
        return f"it cannot be reached ({type(error).__name__})"
    return None if answer.ok else f"it answered {answer.status_code}"
