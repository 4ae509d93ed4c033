"""Callbacks at the door: what is stored, what is refused and kept apart; on both databases."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from service.callbacks.receive import Inbox, QuarantineLimits, Refused
from service.callbacks.store import find_callback
from service.sandbox.callbacks import encode_body, sign_fields
from service.zego.callback import Unreadable
from tests.callbacks.callback_scene import APP, OTHER_APP, SECRET, Answer, Scene, open_scene, receive, recording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.database import Database

ODD: list[Any] = [
    *(None, True, [], {}, ["a"], {"a": 1}, -1, 1.5, 1e308, 10**4000, "", " ", "\x00", "\ud800", "٣" * 10),
    *("x" * 5_000, "9" * 5_000, "²", "NaN", "\u202e", "房间🎥"),
]
FIELDS = ("event", "appid", "stream_alias", "replay_url", "begin_time", "end_time", "timestamp", "nonce", "signature")
EXTRAS = ("FileID", "PersistentId", "ObsObject", "Duration", "FileSize")
TYPES = ("application/json", "application/x-www-form-urlencoded", "text/\x01")


@pytest.mark.parametrize(
    ("fields", "signing", "answer", "verdict"),
    [
        (recording(), {}, Answer.STORED, "pending"),
        (recording(appid=OTHER_APP), {"secret": "other-secret"}, Answer.STORED, "pending"),
        ({"event": "nothing known"}, {}, Answer.STORED, "pending"),
        (recording(), {"secret": "wrong"}, Answer.REFUSED, "forged"),
        (recording(appid=OTHER_APP), {}, Answer.REFUSED, "forged"),
        (recording(appid="42"), {}, Answer.REFUSED, "unknown_app"),
        (recording(appid="\x00"), {}, Answer.UNREADABLE, None),
        (recording(nonce=None), {}, Answer.UNREADABLE, None),
        (recording(signature=""), {}, Answer.UNREADABLE, None),
    ],
)
def test_what_is_answered_and_what_is_stored(
    scene: Scene, fields: dict[str, Any], signing: dict[str, Any], answer: Answer, verdict: str | None
) -> None:
    body, content_type = scene.body(fields, **signing)
    assert receive(scene.inbox, body, content_type) is answer
    assert scene.verdicts() == ([] if verdict is None else [verdict])
    for callback in scene.callbacks():
        assert callback.content_type == content_type
        with scene.database.read() as tx:
            found = find_callback(tx, callback.id)
        assert found is not None
        assert found.raw == body
    scene.understanding.run()
    assert bool(scene.files()) == (verdict == "pending" and fields["event"] == "record"), "never from a refused one"


def test_while_a_secret_is_rotated_both_are_good(database: Database) -> None:
    with open_scene(database, secrets={APP: ["new", "old"]}) as scene:
        answers = [scene.receive(recording(secret), secret=secret) for secret in ("old", "new", "older", "")]
        assert answers == [Answer.STORED, Answer.STORED, Answer.REFUSED, Answer.REFUSED]


def test_what_was_refused_and_is_sent_again_after_the_secret_was_corrected_gets_in(scene: Scene) -> None:
    assert scene.receive(recording(), secret="the right one", nonce="7") is Answer.REFUSED
    scene.secrets[APP].append("the right one")
    assert scene.receive(recording(), secret="the right one", nonce="7") is Answer.STORED
    scene.understanding.run()
    assert scene.verdicts() == ["accepted"]
    assert set(scene.files()) == {"f1"}


def test_a_repeat_in_the_quarantine_is_counted_once(scene: Scene) -> None:
    for _ in range(3):
        assert scene.receive(recording(), secret="wrong", nonce="7") is Answer.REFUSED
    [callback] = scene.callbacks()
    assert (callback.verdict, callback.repeats) == ("forged", 2)


def test_the_quarantine_is_capped_per_app_and_keeps_the_oldest(database: Database) -> None:
    with open_scene(database, limits=QuarantineLimits(callbacks=3)) as scene, capture_logs() as logged:
        for number in range(6):
            for app_id in (APP, OTHER_APP, "42", f"77{number}"):
                fields = recording(f"{app_id}-{number}", appid=app_id)
                assert scene.receive(fields, secret="wrong", nonce="7") is Answer.REFUSED
        kept = [(callback.app_id, callback.id) for callback in scene.callbacks()]
        assert [app_id for app_id, _ in kept].count(APP) == 3
        assert [app_id for app_id, _ in kept].count(OTHER_APP) == 3
        assert sorted(app_id for app_id, _ in kept if app_id not in (APP, OTHER_APP)) == ["42", "42", "770"]
        assert scene.receive(recording(f"{APP}-1"), secret="wrong", nonce="7") is Answer.REFUSED
        assert scene.receive(recording(), nonce="8") is Answer.STORED, "a full one is in nobody's way"
        assert [line["event"] for line in logged] == ["quarantine_full"] * 3, "once for each quota"


def test_the_quarantine_is_capped_in_bytes(database: Database) -> None:
    with open_scene(database, limits=QuarantineLimits(size_bytes=5_000)) as scene:
        for number in range(4):
            scene.receive(recording(f"f{number}", padding="x" * 2_000), secret="wrong")
        assert scene.verdicts() == ["forged", "forged"]


def test_a_quarantine_that_cannot_be_reached_still_refuses(scene: Scene) -> None:
    with scene.database.write() as tx:
        tx.execute(text("ALTER TABLE callbacks RENAME TO elsewhere"))
    with capture_logs() as logged:
        assert scene.receive(recording(), secret="wrong") is Answer.REFUSED
        assert scene.receive(recording()) is Answer.NOT_STORED
    assert [line["event"] for line in logged] == ["quarantine_failed", "callbacks_not_stored"]


def test_the_reason_says_what_to_do_and_no_secret(scene: Scene) -> None:
    with pytest.raises(Refused, match="compare them with ZEGO's console") as forged:
        scene.inbox.receive(*scene.body(recording(), secret="wrong"))
    with pytest.raises(Refused, match="no app 42 is configured: add it to the settings") as unknown:
        scene.inbox.receive(*scene.body(recording(appid="42"), secret="wrong"))
    with pytest.raises(Unreadable, match="signature is missing") as unreadable:
        scene.inbox.receive(*scene.body({"signature": None}))
    texts = [str(error.value) for error in (forged, unknown, unreadable)]
    assert SECRET not in "".join(texts) + repr(scene.inbox)


def bend(random_: random.Random, scene: Scene) -> bytes:
    """A callback with some fields bent; half of them are signed rightly afterwards."""
    extra = {random_.choice(EXTRAS): random_.choice(ODD) for _ in range(random_.randint(0, 3))}
    fields: dict[str, Any] = {"event": "record", "appid": APP}
    fields["extra_params"] = random_.choice([extra, json.dumps(extra)])
    fields |= {random_.choice(FIELDS): random_.choice(ODD) for _ in range(random_.randint(0, 3))}
    signed = sign_fields(fields, secret=SECRET, now=scene.clock(), nonce=str(random_.randrange(10**6)))
    if random_.random() < 0.5:
        signed |= sign_fields({}, secret=SECRET, now=scene.clock())
    body = json.dumps(signed, ensure_ascii=random_.random() < 0.5).encode("utf-8", "surrogatepass")
    match random_.randrange(4):
        case 0:
            return body[: random_.randrange(len(body))]
        case 1:
            place = random_.randrange(len(body))
            return body[:place] + random_.randbytes(3) + body[place:]
        case 2:
            storable = {key: value for key, value in signed.items() if "\\ud800" not in json.dumps(value)}
            return encode_body(storable, random_.choice(["form", "percent"]))[0]
    return body


def make_odd_bodies() -> Iterator[bytes]:
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
        b"&&",
    )
    yield b"[" * 60_000
    yield b'{"a":' * 12_000
    yield b'{"signature":NaN,"appid":Infinity,"timestamp":-Infinity,"nonce":1}'
    yield b'{"appid":1,"appid":2,"signature":"a","signature":"b","timestamp":1,"nonce":1}'
    yield b"&".join(b"a%d=1" % number for number in range(5_000))
    yield b'{"signature":"' + b"9" * 5_000 + b'","appid":"1","timestamp":"1470820198","nonce":"1"}'


def test_a_thousand_malformed_bodies_raise_nothing_and_leave_nothing_odd(scene: Scene) -> None:
    random_ = random.Random(1470820198)
    bodies = list(make_odd_bodies())
    bodies += [bend(random_, scene) for _ in range(1_000 - len(bodies))]
    with capture_logs() as logged:
        answers = [receive(scene.inbox, body, random_.choice(TYPES)) for body in bodies]
        scene.understanding.run()
    assert set(answers) == {Answer.STORED, Answer.REFUSED, Answer.UNREADABLE}
    assert {line["event"] for line in logged} <= {"quarantine_full", "callback_understood", "callbacks_understood"}
    assert "pending" not in scene.verdicts()
    assert {"accepted", "not_understood", "ignored"} <= set(scene.verdicts())
    for file in scene.files().values():
        assert file.app_id == APP
        assert file.file_id
        assert "\x00" not in file.file_id + file.stream_id


def test_an_inbox_without_apps_refuses_everything(scene: Scene) -> None:
    inbox = Inbox(scene.database, scene.writer, {}, scene.clock)
    assert receive(inbox, *scene.body(recording())) is Answer.REFUSED
