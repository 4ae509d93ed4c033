"""A run with everything in it: no secret stands in the log, a page, a metric, an answer, or what a command says."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from sqlalchemy import make_url
from structlog.testing import capture_logs

from service.database import Database
from service.notify.changes import Finding
from service.notify.notifier import Notifier
from service.sandbox.callbacks import callback_body
from service.settings import load_settings
from service.web.api.build import declared_routes
from service.wiring import utc_now
from tests.console.test_pages import PAGES
from tests.faults import FaultySandbox
from tests.notify.receivers import webhook
from tests.processes import MAX_WAIT_S, running, wait_until
from tests.world import APP, environment

if TYPE_CHECKING:
    from pathlib import Path


SECRETS = {
    "SERVER_SECRET": "5erver-secret-that-nobody-sees",
    "CALLBACK_SECRET": "new-callback-secret-n0body-sees,old-callback-secret-n0body-sees",
    "CALLBACK_TOKEN": "path-token-that-n0body-sees",
    "ADMIN_TOKEN": "admin-token-that-n0body-sees",
}
OLD_PATH_TOKEN = "path-token-of-last-year-n0body-sees"
PASSWORD, WRONG_PASSWORD = "a passw0rd that nobody sees", "a wr0ng password that nobody sees"
WRONG_TOKEN = "zrt_a-wr0ng-token-that-nobody-sees"
OF_DATABASE, OF_PROXY = "database-passw0rd-nobody-sees", "proxy-passw0rd-nobody-sees"
OF_HOOK, HOOK_TOKEN = "hook-passw0rd-n0body-sees", "hook-t0ken-that-nobody-sees"
OF_MAIL, PING_TOKEN = "mail-passw0rd-n0body-sees", "ping-t0ken-that-nobody-sees"


@dataclass
class Visitor:
    """Somebody who asks over HTTP, and keeps all that was answered, headers too."""

    port: int
    seen: dict[str, str] = field(default_factory=dict)
    cookie: str = ""
    csrf: str = ""

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=MAX_WAIT_S)
        if isinstance(body, dict):
            body = urlencode(body | {"csrf": self.csrf})
            headers |= {"Content-Type": "application/x-www-form-urlencoded"}
        if self.cookie:
            headers |= {"Cookie": self.cookie}
        connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
        given = answer.getheader("Set-Cookie") or ""
        connection.close()
        if "zego_retention_session=" in given:
            self.cookie = given.partition(";")[0]
        if found := re.search(r'name="csrf" value="([0-9a-f]{64})"', text):
            self.csrf = found[1]
        shown = [f"{name}: {value}" for name, value in answer.getheaders() if name.lower() != "set-cookie"]
        # A page holds the token of the session that it belongs to, and nothing else does.
        is_page = (answer.getheader("Content-Type") or "").startswith("text/html")
        shown.append(text.replace(self.csrf or "-", "") if is_page else text)
        self.seen[f"{method} {path} {len(self.seen)}"] = "\n".join(shown)
        return answer.status, text


def test_no_secret_is_seen_anywhere(postgres_url: str, tmp_path: Path, free_port: int) -> None:
    url = make_url(postgres_url).set(password=OF_DATABASE).render_as_string(hide_password=False)
    secret = {APP: SECRETS["SERVER_SECRET"]}
    with FaultySandbox(secret, utc_now, calls_per_second=1_000) as sandbox, webhook() as hook:
        more = {"LISTEN": f"127.0.0.1:{free_port}", "LOG_LEVEL": "DEBUG", "LOG_FORMAT": "json", "KEEP": "1d"}
        more |= {"PUBLIC_URL": "https://retention.example.com"} | SECRETS
        variables = environment(url, sandbox.url, **more | ways_out(hook.port))
        hook.status = 500
        with running("serve", variables, tmp_path) as serve:
            serve.wait_for("serve_running")
            said = {"notifier": fail_to_notify(variables)}
            visitor, token, signed = live(free_port, sandbox)
            wait_until(lambda: "sweep_finished" in serve.log())
            serve.wait_for("not_notified")  # the ping URL
            proxied = variables | {"ZEGO_RETENTION_API_PROXY": f"http://user:{OF_PROXY}@127.0.0.1:9"}
            proxied |= {"ZEGO_RETENTION_ALLOW_PLAIN_HTTP": "true"}
            for command in (["doctor"], ["callbacks", "list", "--json"]):
                said[" ".join(command)] = run(command, proxied, tmp_path)
            said["notify test"] = run(["notify", "test"], variables, tmp_path)
            for name, wrong in (
                ("NOTIFY", f"nothing://user:{OF_HOOK}@127.0.0.1/{HOOK_TOKEN}"),
                ("NOTIFY", f"json://user:{OF_HOOK}@127.0.0.1:port/{HOOK_TOKEN}, mailto://:{OF_MAIL}@"),
                ("PING_URL", f"ftp://127.0.0.1/{PING_TOKEN}"),
                ("PING_URL", f"http://127.0.0.1:port/{PING_TOKEN}"),
            ):
                said[f"notify test, {wrong}"] = run(
                    ["notify", "test"], variables | {f"ZEGO_RETENTION_{name}": wrong}, tmp_path
                )
            assert serve.end() == 0
            said["log"] = serve.log()
        unreachable = variables | {"ZEGO_RETENTION_PING_URL": f"http://127.0.0.1:9/{PING_TOKEN}"}
        said["sweep"] = run(["sweep"], unreachable, tmp_path)
    assert "through the proxy" in said["doctor"]
    assert said["callbacks list --json"].count("\n") >= 4
    assert said["notify test"].count("it answered 500") == said["notify test"].count("cannot be reached") == 1, said
    assert "not_notified" in said["sweep"]
    assert all("ZEGO_RETENTION_" in text for place, text in said.items() if place.startswith("notify test,"))
    assert 'notify_failing{channel="json"} 1' in "".join(visitor.seen.values()), "pages and metrics have it"
    key = visitor.cookie.partition("=")[2]
    secrets = {part for text in SECRETS.values() for part in text.split(",")}
    secrets |= {OLD_PATH_TOKEN, key, visitor.csrf, token}
    secrets |= {OF_HOOK, HOOK_TOKEN, OF_MAIL, PING_TOKEN}
    secrets |= {PASSWORD, WRONG_PASSWORD, WRONG_TOKEN, OF_DATABASE, OF_PROXY}
    assert all(len(secret) > 16 for secret in secrets)
    for place, text in (visitor.seen | said).items():
        shown = [each for each in secrets if each in text]
        if place.startswith("GET /apps ") or place == "doctor":  # the URL to register, for an admin
            assert shown == [SECRETS["CALLBACK_TOKEN"]], place
        elif place.startswith("POST /api/v1/tokens "):  # a new token, this once
            assert shown == [token], place
        else:
            assert not shown, (place, shown)
    for triple in signed:
        assert triple not in said["log"], "who reads the log cannot send another body"
    for word in ("callback_at_wrong_path", "callback_refused", "token_refused", "sign_in_refused", "signed_in"):
        assert word in said["log"], "the run had all of it"


def ways_out(port: int) -> dict[str, str]:
    """Channels and a ping URL: some answer with an error, others cannot be reached."""
    mail = f"mailto://someone:{OF_MAIL}@example.com?smtp=127.0.0.1&port=9&mode=insecure&to=ops@example.com"
    return {
        "NOTIFY": f"json://user:{OF_HOOK}@127.0.0.1:{port}/{HOOK_TOKEN}, {mail}",
        "PING_URL": f"http://user:{OF_HOOK}@127.0.0.1:{port}/{PING_TOKEN}",
    }


def fail_to_notify(variables: dict[str, str]) -> str:
    """Look twice, so that a finding is reported and cannot be sent; what is logged of that. The database keeps it."""
    settings, ahead = load_settings(variables), [utc_now() + timedelta(hours=1)]
    database = Database(settings.database_url)
    notifier = Notifier(settings, database, lambda _tx, _now: [Finding("a test", "a finding")], lambda: ahead[-1])
    with capture_logs() as logs:
        notifier.look()
        ahead.append(ahead[0] + timedelta(hours=1))
        notifier.look()
    database.dispose()
    return repr(logs)


def live(port: int, sandbox: FaultySandbox) -> tuple[Visitor, str, list[str]]:
    """Do a bit of everything; also returns a token that was made, and what callbacks were signed with."""
    visitor, now = Visitor(port), utc_now()
    signatures = []
    secret = SECRETS["CALLBACK_SECRET"].partition(",")[0]
    right = f"/zego/callback/{SECRETS['CALLBACK_TOKEN']}"
    for number, (path, signed_with, status) in enumerate(
        [
            (right, secret, 200),
            (right, SECRETS["CALLBACK_SECRET"].partition(",")[2], 200),
            (right, "another", 401),
            ("/zego/callback", secret, 404),
            (f"/zego/callback/{OLD_PATH_TOKEN}", secret, 404),
            (f"/prefix{right}", secret, 404),
        ]
    ):
        facts: dict[str, Any] = {"app_id": APP, "stream": f"room-{number}", "nonce": f"{77_000_000 + number}"}
        facts |= {"now": now, "began": now - timedelta(days=3), "ended": now - timedelta(days=2)}
        body, kind = callback_body("Tencent", secret=signed_with, file_id=f"file{number}", **facts)
        sandbox.add_file(APP, "Tencent", f"file{number}")
        assert visitor.ask("POST", path, body, Content_Type=kind)[0] == status
        signatures += [json.loads(body)["signature"], json.loads(body)["nonce"]]
    assert visitor.ask("POST", right, b"nonsense")[0] == 400
    assert visitor.ask("GET", "/api/v1/files", Authorization=f"Bearer {WRONG_TOKEN}")[0] == 401
    visitor.ask("POST", "/sign-in", {"name": "li.wei", "password": WRONG_PASSWORD})
    assert visitor.ask("POST", "/sign-in", {"name": "", "password": SECRETS["ADMIN_TOKEN"]})[0] == 303
    visitor.ask("GET", "/people")
    assert visitor.ask("POST", "/people", {"name": "li.wei", "role": "admin", "password": PASSWORD})[0] == 303
    visitor.ask("POST", "/people", {"name": "li.wei", "role": "admin", "password": PASSWORD})
    assert visitor.ask("POST", "/sign-in", {"name": "li.wei", "password": PASSWORD})[0] == 303
    visitor.ask("GET", "/people")
    admin = {"Authorization": f"Bearer {SECRETS['ADMIN_TOKEN']}", "Content_Type": "application/json"}
    made = visitor.ask("POST", "/api/v1/tokens", json.dumps({"name": "desk", "role": "operator"}), **admin)[1]
    token: str = json.loads(made)["token"]
    assert visitor.ask("POST", "/api/v1/runs", "", Authorization=f"Bearer {token}")[0] in (200, 202)
    for path in PAGES:
        assert visitor.ask("GET", path)[0] < 500
    for path in ("/metrics", "/readyz", "/healthz", "/export/files.csv", "/export/callbacks.jsonl", "/nothing"):
        visitor.ask("GET", path)
    for route in declared_routes().values():
        if route.method == "GET":
            path = f"/api/v1{route.path.replace('<number:number>', '1')}"
            assert visitor.ask("GET", path, **admin)[0] in (200, 404, 409, 422, 503), path
    return visitor, token, signatures


def run(command: list[str], variables: dict[str, str], folder: Path) -> str:
    line = [sys.executable, "-m", "service", *command]
    done = subprocess.run(line, env=variables, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr
