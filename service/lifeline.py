"""Children end when the process that started them is gone, however it ended: nobody is left holding the port."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_VARIABLE: Final = "_ZEGO_RETENTION_STARTED_BY"
_EVERY_S: Final = 0.5


def with_lifeline(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a child that is to end when this process does."""
    return {**environ, _VARIABLE: str(os.getpid())}


def has_lifeline(environ: Mapping[str, str]) -> bool:
    """Whether this process was started by another one of ours, which has said already what there is to say."""
    return _VARIABLE in environ


def follow_lifeline(environ: Mapping[str, str]) -> None:
    """If this process was started by one that gave it a lifeline, end as on SIGTERM once that one is gone."""
    started_by = environ.get(_VARIABLE, "")
    # A grandchild inherits the variable, too; its parent is another.
    if started_by.isdecimal() and (os.getppid() == int(started_by) or not _is_alive(int(started_by))):
        threading.Thread(target=_follow, args=(int(started_by),), name="lifeline", daemon=True).start()


def _follow(started_by: int) -> None:
    while os.getppid() == started_by:
        time.sleep(_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
