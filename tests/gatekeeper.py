"""A door before a real PostgreSQL server that a test may shut: outages on demand."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

import psycopg
from sqlalchemy import make_url


class Gatekeeper:
    """Passes connections to `url` on to a server while it is open; refuses and cuts them while it is not.

    It starts closed.
    """

    def __init__(self, postgres_url: str) -> None:
        plain = make_url(postgres_url)
        with psycopg.connect(plain.set(drivername="postgresql").render_as_string(hide_password=False)) as connection:
            self._host, self._target_port = connection.info.host, connection.info.port
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        through = plain.set(host="127.0.0.1", port=self._port, query={})
        self.url = through.render_as_string(hide_password=False)
        self._links: list[socket.socket] = []
        self._door: socket.socket | None = None

    def open(self) -> None:
        self._door = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._let_in, args=(self._door,), daemon=True).start()

    def close(self) -> None:
        if self._door is not None:
            self._door.shutdown(socket.SHUT_RDWR)
            self._door.close()
        for link in self._links:
            _shut(link)
        self._door, self._links = None, []

    def _let_in(self, door: socket.socket) -> None:
        while True:
            try:
                outside, _ = door.accept()
            except OSError:
                return
            inside = self._reach_server()
            self._links += [outside, inside]
            for source, sink in ((outside, inside), (inside, outside)):
                threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()

    def _reach_server(self) -> socket.socket:
        if not self._host.startswith("/"):
            return socket.create_connection((self._host, self._target_port))
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(f"{self._host}/.s.PGSQL.{self._target_port}")
        return connection


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    _shut(source)
    _shut(sink)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
