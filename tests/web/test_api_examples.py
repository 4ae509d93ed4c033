"""The examples of docs/http.md: every one is sent, in the order of the page, and answered as the page says."""

from __future__ import annotations

import json
import re
import shlex
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from service.web.api.build import declared_routes
from service.web.api.routes import PREFIX
from service.worker import Worker
from tests.web.api_scene import open_api

if TYPE_CHECKING:
    from tests.web.api_scene import Api

PAGE = Path(__file__).parents[2] / "docs" / "http.md"
_EXAMPLE = re.compile(r"```sh\n(curl .*?)\n```\n\nAnswer (\d{3}):\n\n```json\n(.*?)\n```", re.DOTALL)


class Example(NamedTuple):
    """A command of the page, and what the page says that it is answered."""

    method: str
    path: str
    headers: dict[str, str]
    body: str | None
    status: int
    answer: Any


def read_examples() -> list[Example]:
    return [read_example(*found) for found in _EXAMPLE.findall(PAGE.read_text(encoding="utf-8"))]


def read_example(command: str, status: str, answer: str) -> Example:
    words = shlex.split(command.replace("\\\n", ""))[1:]
    options = dict(pairwise(words))
    headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
    [path] = [word.removeprefix("$API") for word in words if word.startswith("$API")]
    body = options.get("-d")
    method = options.get("-X", "GET" if body is None else "POST")
    return Example(method, path, headers, body, int(status), json.loads(answer))


def fill(api: Api) -> None:
    """What the examples are about: a failed file, a run that the breaker stopped, streams, an unconfirmed file."""
    world = api.world
    world.keep("30d")
    world.sandbox.fail_file("refused-00000", "AccessDenied", times=1)
    world.add(1, prefix="refused", age=timedelta(days=40))
    world.sweep()
    world.add(6, prefix="old", age=timedelta(days=40))
    world.sweep()
    world.add(3, prefix="trial", stream_id="trial-7", age=timedelta(days=5))
    world.add(2, prefix="lesson", stream_id="lesson-4711", age=timedelta(days=5))
    world.send("late", stream="lesson-12", now=world.clock() - timedelta(hours=2))


def holds_at_least(shown: Any, found: Any) -> bool:
    """Whether an answer has what the page shows of it; a text that ends in "…" begins so."""
    if isinstance(shown, dict):
        return isinstance(found, dict) and all(
            key in found and holds_at_least(value, found[key]) for key, value in shown.items()
        )
    if isinstance(shown, list):
        return isinstance(found, list) and len(shown) == len(found) and all(map(holds_at_least, shown, found))
    if isinstance(shown, str) and shown.endswith("…"):
        return isinstance(found, str) and found.startswith(shown[:-1])
    return bool(shown == found)


def test_every_example_is_answered_as_the_page_says(sqlite_url: str) -> None:
    with open_api(sqlite_url, BREAKER_FILES="5") as api:
        fill(api)
        for example in read_examples():
            client = api.app.test_client()
            headers = {name: value.replace("$TOKEN", api.tokens["admin"]) for name, value in example.headers.items()}
            url = f"{PREFIX}{example.path}"
            response = client.open(url, method=example.method, headers=headers, data=example.body)
            real = json.dumps(response.json, indent=2)
            assert response.status_code == example.status, f"{example.method} {example.path}: {real}"
            assert holds_at_least(example.answer, response.json), f"{example.method} {example.path}: {real}"
            if response.status_code == 202:
                assert response.headers["Location"] == f"{PREFIX}/orders/{example.answer['number']}"
                Worker(api.world.service).sweep()
                Worker(api.world.service).reconcile()


def test_every_kind_of_order_has_an_example() -> None:
    posted = [urlsplit(example.path).path for example in read_examples() if example.method == "POST"]
    shown = {re.sub(r"/\d+", "/<number:number>", path) for path in posted}
    assert shown == {route.path for route in declared_routes().values() if route.method == "POST"}
