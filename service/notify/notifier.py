"""The thread that looks and sends, in every process; the row in the database lets one do so (docs/notifications.md).

It looks, writes down what is to be said, sends that with no transaction open, and writes down what was sent.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final

import structlog

from service.database import Database, DatabaseUnavailable, Transaction
from service.notify import store
from service.notify.changes import Finding, Kind, Message, State, compare, write_text
from service.notify.channels import Channels, send_ping
from service.settings import Settings

_LOOK_EVERY_S: Final = 20.0
_LARGEST_SHARE: Final = 0.05
"""Of the time that looking may take, however large the inventory is."""

_GRACE: Final = timedelta(seconds=60)
"""How long a web process leaves the look to a worker: its own time is for callbacks."""

_PING_AGAIN_S: Final = 60.0
_MAX_STOPPING_S: Final = 5.0

log = structlog.get_logger(__name__)

Look = Callable[[Transaction, datetime], Iterable[Finding]]
Tomorrow = Callable[[datetime], tuple[str, str]]
"""What is deleted within a day, and what to do about it."""


class Notifier:
    """Reports findings that changed (`NOTIFY`), and finished sweeps (`PING_URL`); does nothing where neither is set."""

    def __init__(self, settings: Settings, database: Database, look: Look, now: Callable[[], datetime]) -> None:
        self._settings, self._database, self._find, self._now = settings, database, look, now
        self._channels: Channels | None = None
        self._away = State()  # what is said of the database itself, while it cannot hold the row
        self._tomorrow: tuple[Callable[[datetime], datetime], Tomorrow] | None = None
        self._asked: queue.SimpleQueue[str | None] = queue.SimpleQueue()  # a path to ping; None: stop
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._failing: set[str] = set()  # what was logged as failing

    def load(self) -> Channels:
        """The channels of the setting; a SettingsError where one cannot be used."""
        if self._channels is None:
            self._channels = Channels(url.get_secret_value() for url in self._settings.notify)
        return self._channels

    def start(self, evening: Callable[[datetime], datetime] | None = None, tomorrow: Tomorrow | None = None) -> None:
        """Begin to look, unless this process does already (also after a fork).

        A worker says what is deleted within a day, once after each `evening`; it looks before web processes do.
        """
        if self._pid == os.getpid() or not (self._settings.notify or self._settings.ping_url):
            return
        self._pid = os.getpid()
        if self._settings.notify:
            self.load()
        if evening is not None and tomorrow is not None:
            self._tomorrow = evening, tomorrow
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what it is sending may take a while, and is not waited for."""
        if self._thread is not None:
            self._asked.put(None)
            self._thread.join(_MAX_STOPPING_S)
            self._thread = None

    def ping(self, path: str) -> None:
        """Let the ping URL with this path behind it be requested: by the thread, or at once where none runs."""
        if self._settings.ping_url is not None and self._thread is not None:
            self._asked.put(path)
        else:
            self._try_to_ping(path)

    def look(self) -> float:
        """Look once, and send what waits; returns after how many seconds to look again."""
        now = self._now()
        try:
            state = self._claim(now)
            pause_s = _LOOK_EVERY_S if state is None else self._look(state, now)
        except DatabaseUnavailable as error:
            self._look_at_database(str(error), now)
            return _LOOK_EVERY_S
        self._look_at_database(None, now)
        return pause_s

    def _look(self, state: State, now: datetime) -> float:
        began = time.monotonic()
        with self._database.read() as tx:
            found = list(self._find(tx, now))
        pause_s = min(max(_LOOK_EVERY_S, (time.monotonic() - began) / _LARGEST_SHARE), store.LEASE.total_seconds())
        state.known, messages = compare(state.known, found, now)
        state.queue([*messages, *self._find_tomorrow(state, now)], self.load().names)
        if self._save(state, now + store.LEASE):
            self._send(state)
            self._save(state, self._now() + timedelta(seconds=pause_s))
        return pause_s

    def _claim(self, now: datetime) -> State | None:
        with self._database.read() as tx:
            if store.is_claimed(tx, now if self._tomorrow else now - _GRACE):
                return None
        return self._database.transact(lambda tx: store.claim(tx, self._name, now))

    def _save(self, state: State, until: datetime) -> bool:
        return self._database.transact(lambda tx: store.save(tx, self._name, state, until))

    @property
    def _name(self) -> str:
        return f"{socket.gethostname()}/{os.getpid()}"[:200]

    def _find_tomorrow(self, state: State, now: datetime) -> list[Message]:
        if self._tomorrow is None:
            return []
        find_evening, describe = self._tomorrow
        evening, before = find_evening(now), state.evening
        state.evening = evening
        if before is None or before >= evening:
            return []
        still = [f"Still: {known.text}" for known in state.known.values() if known.is_reported]
        text, fix = describe(now)
        return [Message(Kind.TOMORROW, "\n".join([text, *still]), fix)]

    def _look_at_database(self, trouble: str | None, now: datetime) -> None:
        """A web process says itself that it cannot reach the database, and that it can again: callbacks need it."""
        if self._tomorrow is not None or (trouble is None and not self._away.known):
            return
        text = f"process {self._name} cannot reach the database: {trouble}"
        fix = "make the database reachable; `zego-retention doctor` says more"
        found = [Finding("database", text, fix)] if trouble else []
        self._away.known, messages = compare(self._away.known, found, now)
        self._away.queue(messages, self.load().names)
        self._send(self._away)

    def _send(self, state: State) -> None:
        """Send what waits through each channel whose time has come, as one message a channel."""
        for name, channel in state.channels.items():
            if not channel.may_send(self._now()):
                continue
            title, body = write_text(channel.waiting, socket.gethostname(), self._settings.public_url)
            is_problem = any(message.kind is Kind.PROBLEM for message in channel.waiting)
            reason = self.load().send(name, title, body, is_problem=is_problem)
            if reason is None:
                log.info("notified", channel=name, messages=len(channel.waiting))
                channel.note_sent()
            else:
                channel.note_failure(reason, self._now())
            self._report(f"channel {name}", reason)

    def _report(self, what: str, reason: str | None) -> None:
        """Log once that something does not work, and once that it does again."""
        if reason is not None and what not in self._failing:
            log.error("not_notified", what=what, detail=reason)
            self._failing.add(what)
        elif reason is None and what in self._failing:
            log.info("notifying_again", what=what)
            self._failing.discard(what)

    def _run(self) -> None:
        look_at, ping_at, path = time.monotonic(), 0.0, None
        while True:
            due = [at for at, is_wanted in ((look_at, self._settings.notify), (ping_at, path is not None)) if is_wanted]
            try:
                asked = self._asked.get(timeout=max(min(due) - time.monotonic(), 0) if due else None)
            except queue.Empty:
                pass
            else:
                if asked is None:
                    return
                path, ping_at = asked, 0.0
            if self._settings.notify and time.monotonic() >= look_at:
                look_at = time.monotonic() + self._try_to_look()
            if path is not None and time.monotonic() >= ping_at:
                path = path if self._try_to_ping(path) else None
                ping_at = time.monotonic() + _PING_AGAIN_S

    def _try_to_look(self) -> float:
        try:
            pause_s = self.look()
        except Exception as error:
            if "look" not in self._failing:
                log.error("not_notified", what="look", exc_info=error)
            self._failing.add("look")
            return _LOOK_EVERY_S
        self._failing.discard("look")
        return pause_s

    def _try_to_ping(self, path: str) -> bool:
        """Request the ping URL; whether it is to be tried again."""
        url = self._settings.ping_url
        reason = None if url is None else send_ping(f"{url.get_secret_value().rstrip('/')}{path}")
        self._report("ping", reason)
        return reason is not None


def send_test(settings: Settings) -> dict[str, str | None]:
    """Send a test message through every channel; by channel, why that did not work, or None."""
    channels = Channels(url.get_secret_value() for url in settings.notify)
    text, fix = "this is a test of the notifications: all is well", "nothing has to be done"
    title, body = write_text([Message(Kind.TEST, text, fix)], socket.gethostname(), settings.public_url)
    return {name: channels.send(name, title, body, is_problem=False) for name in channels.names}
