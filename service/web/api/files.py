"""Files: the inventory, one file's fate, and what a person can do about it."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from pydantic import Field

from service.core.model import FileState, Role, Vendor
from service.db.files import FileFilter
from service.usecases.explaining import explain_file, explanation_as_json
from service.usecases.inventory import NoSuchThing, confirm_files, retry_files
from service.usecases.listing import page_files
from service.usecases.listing import show_file as find_file
from service.web.api.fields import AppId, Moment, Pattern, Query, Text, encode_cursor
from service.web.api.forms import File, FilePage
from service.web.api.order_forms import Explanation
from service.web.api.routes import JsonObject, Routes

if TYPE_CHECKING:
    from service.core.model import Actor
    from service.wiring import Service

routes = Routes("files", "The inventory of media files.")


class FileQuery(Query):
    """Which files; every condition must hold."""

    state: FileState | None = None
    app: AppId | None = None
    vendor: Vendor | None = None
    stream: Pattern | None = None
    due_before: Moment | None = None
    due_after: Moment | None = None
    text: Text | None = Field(None, description="A part of the file id or of the stream, case-sensitive")


@routes.get("/files", role=Role.VIEWER, answer=FilePage, query=FileQuery)
def list_files(service: Service, query: FileQuery) -> JsonObject:
    """List files by number; a page may hold fewer than fit: go on until `next_cursor` is null."""
    wanted = FileFilter(
        state=query.state,
        app_id=query.app,
        vendor=query.vendor,
        stream=query.stream,
        due_before=query.due_before,
        due_after=query.due_after,
        text=query.text,
    )
    items, further = page_files(service.database, wanted, query.limit, after=query.cursor or 0)
    return {"items": items, "next_cursor": encode_cursor(further)}


@routes.get("/files/<number:number>", role=Role.VIEWER, answer=File)
def show_file(service: Service, number: int) -> JsonObject:
    """Show everything that is known of a file."""
    found = find_file(service.database, number)
    if found is None:
        raise NoSuchThing(f"there is no file {number}")
    return found


@routes.get("/files/<number:number>/explanation", role=Role.VIEWER, answer=Explanation)
def explain_one_file(service: Service, number: int) -> JsonObject:
    """Say why a file is kept or deleted, and what happens next; of a deleted one, the decision as it was."""
    return explanation_as_json(explain_file(service.database, number, service.now()))


@routes.post("/files/<number:number>/retry", role=Role.OPERATOR, answer=File, problems=[HTTPStatus.CONFLICT])
def retry_file(service: Service, number: int, actor: Actor) -> JsonObject:
    """Start over with a file that failed, or waits for its next attempt: the next sweep asks for it again."""
    retry_files(service.database, [number], actor, service.now())
    return show_file(service, number)


@routes.post("/files/<number:number>/confirm", role=Role.OPERATOR, answer=File, problems=[HTTPStatus.CONFLICT])
def confirm_file(service: Service, number: int, actor: Actor) -> JsonObject:
    """Vouch for an unconfirmed file: from now on the rules decide it."""
    confirm_files(service.database, [number], actor, service.now())
    return show_file(service, number)
