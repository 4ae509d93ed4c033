"""What a check of the doctor says of callbacks: refused ones, lost ones, a silence; and which URL to register."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from service.callbacks.store import find_authentic_at
from service.database import Transaction
from service.health import store
from service.health.check import AT_ONCE, LOG_SAYS_WHY, Findings, Status
from service.health.silence import find_usual_gap
from service.leader.store import find_leader
from service.model import QUARANTINE_VERDICTS, Verdict
from service.settings import Settings
from service.settings.values import CALLBACK_PATH
from service.units import count_of, describe_moment

# Trouble with callbacks that lie a day back is a note only: anybody can send them, and nobody can take them back.
_RECENT: Final = timedelta(days=1)
_SHOWN: Final = timedelta(days=7)
LEAST_SILENCE: Final = timedelta(hours=6)
"""No shorter time without a callback is remarkable."""
_SILENCE: Final = 3  # times the longest time without one, of late
_NOTE, _WARNING = Status.NOTE, Status.WARNING

_REPLAY: Final = "then `zego-retention callbacks replay --verdict"
_COPY_AGAIN: Final = "copy the callback secret again from ZEGO's console into ZEGO_RETENTION_CALLBACK_SECRET, restart"
_CALLBACKS: Final = {
    Verdict.FORGED: (
        "refused: the signature matches none of the app's callback secrets",
        f"if ZEGO sent them, {_COPY_AGAIN}, {_REPLAY} forged`",
    ),
    Verdict.WRONG_PATH: ("refused: they came to another path than the callback URL's", f"{{}}, {_REPLAY} wrong_path`"),
    Verdict.NOT_ALLOWED: (
        "refused: ZEGO_RETENTION_CALLBACK_ALLOW does not have the address that they came from",
        f"if ZEGO sent them, correct it or ZEGO_RETENTION_TRUSTED_PROXIES, restart, {_REPLAY} not_allowed`",
    ),
    Verdict.UNKNOWN_APP: (
        "refused: of an app that is not configured",
        f"if it is yours, add it to the settings, restart, {_REPLAY} unknown_app`",
    ),
    Verdict.NOT_UNDERSTOOD: (
        "authentic, but not understood",
        "see `zego-retention callbacks list --verdict not_understood`",
    ),
    Verdict.MISDIRECTED: (
        "of Cloud Recording, whose files are in your own storage and not deleted by this service",
        "move its URL in ZEGO's console from Cloud Recording to Project → Server callback → Recording file",
    ),
    Verdict.PENDING: ("stored, not understood yet", LOG_SAYS_WHY),
}


_EXAMPLES: Final = QUARANTINE_VERDICTS - {Verdict.FORGED}


def describe_callback_url(settings: Settings, *, with_token: bool = False) -> str:
    """What to register with ZEGO; a token at its end is not for everybody who may look."""
    path = settings.callback_paths[0]
    shown = path if with_token or path == CALLBACK_PATH else f"{CALLBACK_PATH}/<ZEGO_RETENTION_CALLBACK_TOKEN>"
    return f"{settings.public_url or '<where ZEGO reaches this service>'}{shown}"


def check_callbacks(settings: Settings, tx: Transaction, now: datetime) -> Findings:
    """Whether callbacks come, are authentic, and are understood."""
    register = (
        f"register {describe_callback_url(settings)} in ZEGO's console (Project → Server callback → Recording file)"
    )
    leader = find_leader(tx)
    there = (leader.settings or {}) if leader else {}
    if there.get("secrets") not in (None, settings.secrets_mark):
        text = "the worker was started with other apps or callback secrets than are set here"
        yield _WARNING, text, "give `web` and `worker` the right ones, and restart both: they read them when they start"
    if there.get("callback") not in (None, settings.callback_mark):
        register = "run `zego-retention doctor` with the settings of `web`, and register the URL that it shows"
        text = "the worker was started with another ZEGO_RETENTION_CALLBACK_TOKEN than is set here"
        yield _WARNING, f"{text}; if `web` was, too, the callback URL shown here is not the one to register", register
    last_good = {app.app_id: find_authentic_at(tx, app.app_id, newest=True) for app in settings.apps}
    for trouble in store.list_troubled_callbacks(tx, _CALLBACKS, now - _SHOWN, now - AT_ONCE):
        text, fix = _CALLBACKS[trouble.verdict]
        text = f"{count_of(trouble.number, 'callback')} {text}"
        if trouble.verdict in _EXAMPLES and trouble.reason:  # which path, which app, which address
            text += f" (for example: {trouble.reason.partition(': ')[0]})"
        good_at = last_good.get(trouble.app_id or "")
        is_over = good_at is not None and good_at > trouble.newest
        status = _NOTE if is_over or trouble.newest < now - _RECENT else _WARNING
        if trouble.app_id is not None:
            text = f"app {trouble.app_id}: {text}{'; good ones have come since' if is_over else ''}"
        yield _WARNING if trouble.verdict is Verdict.PENDING else status, text, fix.format(register)
    yield from (
        (_NOTE, f"app {app_id}: no callback has arrived yet", register)
        for app_id, at in last_good.items()
        if at is None
    )
    lost_today = store.count_lost_callbacks(tx, now - _RECENT)
    for app_id, count in store.count_lost_callbacks(tx, now - _SHOWN).items():
        text = f"app {app_id}: {count_of(count, 'file')} whose callback never arrived, found by a listing this week"
        fix = "check that ZEGO reaches the callback URL, and that no secret was changed at ZEGO"
        is_new = app_id in lost_today
        yield _WARNING if is_new else _NOTE, text, fix, f"lost callbacks {app_id}" if is_new else ""
    for app_id, last in last_good.items():
        usual = None if last is None or now - last <= LEAST_SILENCE else find_usual_gap(tx, app_id)
        if last is not None and usual is not None and now - last > max(LEAST_SILENCE, _SILENCE * usual):
            text = f"app {app_id}: no callback since {describe_moment(last)}, longer than usual"
            fix = "if there were recordings, check that ZEGO reaches the callback URL, and that it is still registered"
            yield _WARNING, text, fix, f"no callback {app_id}"
