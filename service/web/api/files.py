"""Files: the inventory, one file's fate, and what a person can do about it."""

from __future__ import annotations

from pydantic import Field

from service.files.actions import confirm_files, retry_files
from service.filters import FileFilter
from service.model import FileState, Role, Vendor
from service.views.audit import Order
from service.views.files import FILES, Explanation, File, FileDetail, explain_file
from service.views.listed import Page
from service.web.api.fields import AppId, Moment, NoBody, Paging, Pattern, Text
from service.web.api.routes import Call, Plain, Routes, page

routes = Routes("files", "The inventory of media files.")


class FileQuery(Paging):
    """Which files; every condition must hold."""

    state: FileState | None = None
    app: AppId | None = None
    vendor: Vendor | None = None
    stream: Pattern | None = None
    name: Pattern | None = None
    due_before: Moment | None = None
    due_after: Moment | None = None
    adopted: bool | None = Field(None, description="Only files that only a listing shows, or none of them")
    text: Text | None = Field(None, description="A part of the file id, the stream or the name, case-sensitive")


class OrderedFile(FileDetail):
    """A file, and what came of the order for it."""

    order: Order


@routes.get("/files")
def list_files(call: Call[FileQuery, NoBody]) -> Page[File]:
    """List files by number; a page may hold fewer than fit: ask on until `next_cursor` is null."""
    query = call.query
    wanted = FileFilter(
        state=query.state,
        app_id=query.app,
        vendor=query.vendor,
        stream=query.stream,
        name=query.name,
        due_before=query.due_before,
        due_after=query.due_after,
        adopted=query.adopted,
        text=query.text,
    )
    return page(call, FILES, wanted)


@routes.get("/files/<number:number>")
def show_file(call: Plain) -> FileDetail:
    """Show everything that is known of a file, with every attempt to delete it."""
    return FILES.show(call.database, call.number)


@routes.get("/files/<number:number>/explanation")
def explain_one_file(call: Plain) -> Explanation:
    """Say why a file is kept or deleted, and what happens next; of a deleted one, the decision as it was."""
    sweeps = call.service.settings.sweep_slots is not None
    return explain_file(call.database, call.service.reader, call.number, call.now(), sweeps=sweeps)


@routes.post("/files/<number:number>/retry", role=Role.OPERATOR)
def retry_file(call: Plain) -> OrderedFile:
    """Start over with a file that failed, or waits for its next attempt."""
    return _report(call, retry_files(call.database, call.actor, [call.number], call.now()))


@routes.post("/files/<number:number>/confirm", role=Role.OPERATOR)
def confirm_file(call: Plain) -> OrderedFile:
    """Confirm an unconfirmed file: from now on the rules decide it."""
    return _report(call, confirm_files(call.database, call.actor, [call.number], call.now()))


def _report(call: Plain, number: int) -> OrderedFile:
    order = call.report(number)
    return OrderedFile(**dict(FILES.show(call.database, call.number)), order=order)
