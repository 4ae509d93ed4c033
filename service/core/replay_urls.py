"""Replay URLs as names of files: one file's URL is not always spelt alike in callback and listing."""

from __future__ import annotations

import re

_SCHEME = re.compile(r"https?://", re.IGNORECASE)


def list_spellings(url: str) -> tuple[str, ...]:
    """The other spellings under which the same file may be listed: with http or https, with the query or without."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        return ()
    rest = url[scheme.end() :]
    rests = dict.fromkeys((rest, re.split("[?#]", rest, maxsplit=1)[0]))
    return tuple(each for each in (f"{kind}://{part}" for part in rests for kind in ("https", "http")) if each != url)
