"""A thousand bodies that nobody should send: never a 5xx, never a traceback, nothing in the inventory."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from service.db import files
from service.zego.sandbox_callbacks import encode_body, sign_fields
from tests.world import APP, CALLBACK_SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from tests.web.conftest import Web

ODD: list[Any] = [
    None,
    True,
    [],
    {},
    ["a"],
    {"a": 1},
    -1,
    1.5,
    1e308,
    10**4000,
    "",
    " ",
    "\x00",
    "\ud800",
    "٣" * 10,
    "x" * 5_000,
    "9" * 5_000,
    "²",
    "NaN",
    "\u202e",
    "房间🎥",
]
FIELDS = ("event", "appid", "stream_alias", "replay_url", "begin_time", "end_time", "timestamp", "nonce", "signature")
TYPES = ("application/json", "application/x-www-form-urlencoded", "text/odd")
EXTRAS = ("FileID", "PersistentId", "ObsObject", "Duration", "FileSize")


def made_on_purpose() -> Iterator[bytes]:
    """The list of docs/protocol.md, "Callback signature", and its relatives."""
    yield from (
        b"",
        b" ",
        b"{",
        b"[]",
        b"null",
        b"1",
        b'"x"',
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"%",
        b"%7B",
        b"=",
        b"&&&",
    )
    yield b"[" * 60_000
    yield b'{"a":' * 12_000
    yield b'{"signature":NaN,"appid":Infinity,"timestamp":-Infinity,"nonce":1}'
    yield b'{"appid":1,"appid":2,"signature":"a","signature":"b","timestamp":1,"nonce":1}'
    yield b"&".join(b"a%d=1" % number for number in range(5_000))
    yield b'{"signature":"' + b"9" * 5_000 + b'","appid":"1","timestamp":"1470820198","nonce":"1"}'


def bent(random_: random.Random, now: datetime) -> bytes:
    """A callback with some fields bent; half of them are signed rightly afterwards."""
    extra = {random_.choice(EXTRAS): random_.choice(ODD) for _ in range(random_.randint(0, 3))}
    fields: dict[str, Any] = {
        "event": "record",
        "appid": APP,
        "extra_params": random_.choice([extra, json.dumps(extra)]),
    }
    fields |= {random_.choice(FIELDS): random_.choice(ODD) for _ in range(random_.randint(0, 3))}
    signed = sign_fields(fields, secret=CALLBACK_SECRET, now=now, nonce=str(random_.randrange(10**6)))
    if random_.random() < 0.5:
        signed |= sign_fields({}, secret=CALLBACK_SECRET, now=now)
    body = json.dumps(signed, ensure_ascii=random_.random() < 0.5).encode("utf-8", "surrogatepass")
    kind = random_.randrange(4)
    if kind == 0:
        return body[: random_.randrange(len(body))]
    if kind == 1:
        place = random_.randrange(len(body))
        return body[:place] + random_.randbytes(3) + body[place:]
    if kind == 2:
        storable = {key: value for key, value in signed.items() if "\\ud800" not in json.dumps(value)}
        return encode_body(storable, random_.choice(["form", "percent"]))[0]
    return body


def test_a_thousand_malformed_bodies(web: Web, capfd: Any) -> None:
    random_ = random.Random(1470820198)
    bodies = list(made_on_purpose())
    bodies += [bent(random_, web.clock()) for _ in range(1_000 - len(bodies))]
    answers: dict[int, int] = {}
    for body in bodies:
        response = web.post(
            body, random_.choice(["application/json", "application/x-www-form-urlencoded", "text/\x01"])
        )
        answers[response.status_code] = answers.get(response.status_code, 0) + 1
        assert response.status_code in (200, 400, 401), (response.status_code, body[:500])
        assert b"Traceback" not in response.data
    assert {200, 400, 401} <= answers.keys(), answers
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err
    assert "callback_not_finished" not in out + err
    with web.database.read() as session:
        for row in files.list_files(session, files.FileFilter()):
            assert row.app_id == APP
            assert row.file_id
            assert "\x00" not in row.file_id + row.stream_id
