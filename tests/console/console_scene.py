"""The console on a world: people of every role, each with a browser of their own that keeps cookies and forms."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from service.model import Actor, Role
from service.people.people import add_person
from service.people.store import find_person

if TYPE_CHECKING:
    from datetime import datetime

    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from tests.web.api_scene import Api

PASSWORD = "correct horse battery"
_CSRF = re.compile(r'name="csrf" value="([0-9a-f]{64})"')


@dataclass
class Browser:
    """Somebody who looks at the console; forms carry the token of the page that they were on last."""

    client: FlaskClient
    csrf: str = ""

    def get(self, path: str, *, status: int = 200, headers: dict[str, str] | None = None) -> str:
        answer = self.client.get(path, headers=headers)
        assert answer.status_code == status, answer.text
        if found := _CSRF.search(answer.text):
            self.csrf = found[1]
        return answer.text

    def post(self, path: str, *, status: int | None = None, csrf: str | None = None, **fields: Any) -> TestResponse:
        answer = self.client.post(path, data={"csrf": self.csrf if csrf is None else csrf, **fields})
        assert status is None or answer.status_code == status, answer.text
        return answer

    def sign_in(self, name: str, password: str = PASSWORD, **fields: str) -> TestResponse:
        answer = self.client.post("/sign-in", data={"name": name, "password": password, **fields})
        if answer.status_code == 303:
            self.get("/people")
        return answer


@dataclass
class Console:
    """The console, and a person of each role, called like it, who signs in when they are first needed."""

    api: Api
    browsers: dict[str, Browser] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        return self.api.world.clock()

    def open(self) -> Browser:
        """A browser that nobody has signed in with."""
        return Browser(self.api.app.test_client())

    def person(self, role: Role) -> int:
        """The number of the person with this role."""
        database = self.api.world.database
        with database.read() as tx:
            person = find_person(tx, name=role.value)
        if person is None:
            person = add_person(database, role.value, role, PASSWORD, Actor("a test", "a test"), self.now)
        return person.id

    def browser(self, role: Role) -> Browser:
        """The browser of the person with this role."""
        if role not in self.browsers:
            self.person(role)
            self.browsers[role] = self.open()
            assert self.browsers[role].sign_in(role.value).status_code == 303
        return self.browsers[role]

    @property
    def viewer(self) -> Browser:
        return self.browser(Role.VIEWER)

    @property
    def operator(self) -> Browser:
        return self.browser(Role.OPERATOR)

    @property
    def admin(self) -> Browser:
        return self.browser(Role.ADMIN)
