"""The API's own description: OpenAPI, and a page that shows it. Both hold no data, and need no token."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from flask import Response, current_app, send_file
from flask_openapi.openapi import OpenAPI

from service.web.api.routes import Plain, Route, Routes, answer_json

routes = Routes("description", "The API's own description.")

STATIC: Final = Path(__file__).parents[1] / "static"
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FILES: Final = {
    "/docs": ("api-docs.html", "text/html"),
    "/docs/start.js": ("api-docs.js", "text/javascript"),
    "/docs/swagger-ui.css": ("vendor/swagger-ui/swagger-ui.css", "text/css"),
    "/docs/swagger-ui-bundle.js": ("vendor/swagger-ui/swagger-ui-bundle.js", "text/javascript"),
}


def _show_openapi(_call: Plain) -> Response:
    """Describe this API in OpenAPI."""
    if not isinstance(current_app, OpenAPI):  # a proxy that passes for what it stands for
        raise TypeError("the API runs in an application that cannot describe it")
    return answer_json(current_app.api_doc)


def _show_file(name: str, kind: str, _call: Plain) -> Response:
    response = send_file(STATIC / name, mimetype=kind, max_age=0)
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _declare(path: str, view: Callable[[Plain], Response], *, hidden: bool) -> None:
    name = f"show{path.translate(str.maketrans('/.-', '___'))}"
    routes.routes.append(Route("GET", path, None, name, view, None, hidden=hidden))


_declare("/openapi.json", _show_openapi, hidden=False)
for _path, (_name, _kind) in _FILES.items():
    _declare(_path, partial(_show_file, _name, _kind), hidden=True)
