"""The console as people meet it: a real server, a leader at work, a browser that notes whatever should not be."""

from __future__ import annotations

import re
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from axe_playwright_python.sync_playwright import Axe
from flask import Flask

from service.model import Actor, Role
from service.people.people import add_person
from service.settings import load_settings
from service.web.app import create_app
from service.web.console.build import add_console
from service.web.front import create_front
from service.web.server import build_server
from service.worker import Worker
from tests.world import open_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response, ViewportSize

    from tests.world import World

PASSWORD: Final = "correct horse battery"
WIDE: Final[ViewportSize] = {"width": 1280, "height": 900}
PHONE: Final[ViewportSize] = {"width": 390, "height": 844}
MAX_WEIGHT: Final = 250_000
_PAUSE_S: Final = 0.05
_REPORT_POLICY: Final = """
addEventListener("securitypolicyviolation", (event) => console.error("policy", event.violatedDirective, event.sample))
"""


@dataclass
class Watch:
    """What a browser met that should not be: requests to elsewhere, errors of scripts, the policy or the server."""

    origin: str
    allowed: set[int] = field(default_factory=set)
    """Answers that a test asks for on purpose."""
    faults: list[str] = field(default_factory=list)

    def follow(self, context: BrowserContext) -> None:
        context.on("request", self._note_request)
        context.on("response", self._note_response)
        context.on("requestfailed", self._note_failure)
        context.on("console", self._note_message)
        context.on("weberror", lambda error: self.faults.append(f"script: {error.error}"))

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith((f"{self.origin}/", "data:")):
            self.faults.append(f"leaves the origin: {request.url}")

    def _note_response(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.allowed:
            self.faults.append(f"{response.status}: {response.request.method} {response.url}")

    def _note_failure(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page was left while it loaded
            self.faults.append(f"{request.failure}: {request.url}")

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.faults.append(f"console: {message.text}")


@dataclass
class Site:
    """A console that is served, and the people who look at it."""

    browser: Browser
    world: World
    origin: str
    contexts: list[tuple[BrowserContext, Watch]] = field(default_factory=list)
    states: dict[Role, Any] = field(default_factory=dict)

    def open(self, role: Role | None = Role.ADMIN, path: str = "/", **options: Any) -> Page:
        """A page that somebody with this role (None: nobody) has opened; `options` are those of a browser context."""
        options = {"viewport": WIDE, "locale": "en-GB", "reduced_motion": "reduce"} | options
        context = self.browser.new_context(base_url=self.origin, storage_state=self._sign_in(role), **options)
        context.set_default_timeout(10_000)
        context.add_init_script(_REPORT_POLICY)
        watch = Watch(self.origin)
        watch.follow(context)
        self.contexts.append((context, watch))
        page = context.new_page()
        page.goto(path)
        return page

    def watch_of(self, page: Page) -> Watch:
        return next(watch for context, watch in self.contexts if context is page.context)

    def allow(self, page: Page, *statuses: int) -> None:
        """Let the page be answered so: the test asks for it."""
        self.watch_of(page).allowed.update(statuses)

    def take_faults(self) -> list[str]:
        """What was noted since the last time."""
        found = []
        for _, watch in self.contexts:
            found += watch.faults
            watch.faults.clear()
        return found

    def close_pages(self) -> list[str]:
        """Close whatever is open; what was noted on it."""
        for context, _ in self.contexts:
            context.close()
        found = self.take_faults()
        self.contexts.clear()
        return found

    def _sign_in(self, role: Role | None) -> Any:
        if role is None:
            return None
        if role not in self.states:
            world = self.world
            add_person(world.database, role.value, role, PASSWORD, Actor("a test", "a test"), world.clock())
            context = self.browser.new_context(base_url=self.origin)
            answer = context.request.post("/sign-in", form={"name": role.value, "password": PASSWORD})
            assert answer.ok, answer.text()
            self.states[role] = context.storage_state()
            context.close()
        return self.states[role]


class House:
    """One database and one address: the console that is served there can be started again with other settings."""

    def __init__(self, browser: Browser, database_url: str) -> None:
        self._browser, self._url = browser, database_url
        self._listener = listen()
        self._stack = ExitStack()
        self._site: Site | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._listener.close()

    @property
    def site(self) -> Site:
        assert self._site is not None
        return self._site

    def start(self, *, has_app: bool = True, **settings: str) -> Site:
        """Start web side and leader (again) with these settings; pages that are open stay so."""
        self._stack.close()
        world = self._stack.enter_context(open_world(self._url, **{"SWEEP_EVERY": "off"} | settings))
        variables = {"ZEGO_RETENTION_DATABASE_URL": self._url}
        app = create_app(world.service.settings if has_app else load_settings(variables), now=world.clock)
        self._stack.callback(app.extensions["zego-retention"].close)
        origin = self._stack.enter_context(serve(app, self._listener))
        self._stack.enter_context(at_work(world))
        if self._site is None:
            self._site = Site(self._browser, world, origin)
        self._site.world = world
        return self._site


def listen() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


@contextmanager
def serve(app: Flask, listener: socket.socket) -> Iterator[str]:
    """Serve an application on a socket, which stays open for the next one; its address."""
    server = build_server(create_front(app))
    thread = threading.Thread(target=server.run, args=([listener.dup()],), name="web", daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


@contextmanager
def at_work(world: World) -> Iterator[None]:
    """Let the leader work, as a worker does: orders and callbacks beside whatever people asked for."""
    worker, ended = Worker(world.service), threading.Event()
    errors: list[BaseException] = []

    def repeat(*jobs: Callable[[], None]) -> None:
        while not ended.wait(_PAUSE_S):
            try:
                for job in jobs:
                    job()
            except BaseException as error:  # noqa: BLE001  (the test fails with it)
                errors.append(error)
                return

    threads = [
        threading.Thread(target=repeat, args=jobs) for jobs in ((worker.tick,), (worker.sweep, worker.reconcile))
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join(20)
    assert not errors, errors


def list_pages() -> list[str]:
    """The path of every page that the console declares, with the number 1 where it takes one."""
    app = Flask(__name__, static_folder=None)
    app.url_map.converters["number"] = app.url_map.converters["int"]
    add_console(app)
    paths = []
    for rule in app.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and "<path:" not in rule.rule and "." not in rule.rule:  # (those are files)
            choices = re.search(r"<any\(([^)]*)\):\w+>", rule.rule)
            words = [word.strip(" '\"") for word in choices[1].split(",")] if choices else [""]
            paths += [re.sub(r"<\w+:\w+>", "1", re.sub(r"<any\([^)]*\):\w+>", word, rule.rule)) for word in words]
    return sorted(set(paths))


def find_violations(page: Page, *rules: str) -> list[str]:
    """What axe finds serious or critical on a page; by all rules or by those given."""
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = {"type": "rule", "values": list(rules)}
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{each['id']} ({each['impact']}): {node['html'][:200]} {node['failureSummary']}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


def find_faults(page: Page) -> list[str]:
    """What is wrong with a page as it stands: for axe, by day and by night, and on a phone."""
    size, root = page.viewport_size or WIDE, "document.documentElement"
    faults = find_violations(page) + [f"cut off: {each}" for each in page.evaluate(FIND_CUT_OFF)]
    if page.locator("h1").count() != 1:
        faults.append("not one heading of the first level")
    page.set_viewport_size(PHONE)
    page.evaluate(f"{root}.setAttribute('data-bs-theme', 'dark')")
    faults += [f"dark: {each}" for each in find_violations(page, "color-contrast", "scrollable-region-focusable")]
    if wider := page.evaluate(f"{root}.scrollWidth - {root}.clientWidth"):
        faults.append(f"{wider} pixels wider than a phone")
    faults += [f"cut off on a phone: {each}" for each in page.evaluate(FIND_CUT_OFF)]
    page.evaluate(f"{root}.setAttribute('data-bs-theme', 'light')")
    page.set_viewport_size(size)
    return faults


FIND_CUT_OFF: Final = """() => [...document.querySelectorAll(".table-responsive")]
    .filter((each) => each.scrollWidth > each.clientWidth)
    .map((each) => `${each.scrollWidth} of ${each.clientWidth} pixels: ${each.innerText.slice(0, 80)}`)"""
"""Tables that are wider than their place."""


def weigh(page: Page, text: str) -> int:
    """The bytes of a page with this text, and of all that it loads, as they are sent."""
    files = dict.fromkeys(re.findall(r'(?:src|href)="(/static/[^"]+)"', text))
    return len(text.encode()) + sum(_weigh_file(page, path) for path in files)


_WEIGHTS: Final[dict[str, int]] = {}


def _weigh_file(page: Page, path: str) -> int:
    if path not in _WEIGHTS:
        _WEIGHTS[path] = int(page.request.get(path).headers["content-length"])
    return _WEIGHTS[path]
