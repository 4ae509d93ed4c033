"""Reading the inventory for lists and explanations, at any size of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import ColumnElement, case, func, or_, select

from service.database import Transaction
from service.files.store import COLUMNS, fits_pattern, media_files, read_file
from service.filters import FileFilter
from service.model import MediaFile, Vendor
from service.rules.patterns import is_pattern

MAX_LOOKED_AT: Final = 10_000
"""How many files are looked at for one page: it costs the same at any depth, however few fit."""

_PAGE: Final = 100


def list_page(tx: Transaction, wanted: FileFilter, limit: int, *, after: int = 0) -> tuple[list[MediaFile], int | None]:
    """Files by number beyond `after`, and where to resume: None at the end.

    No more than `MAX_LOOKED_AT` files are looked at, so a page may hold fewer than fit.
    """
    edge = None if _is_one_stream(wanted) else _find_edge(tx, wanted, after)
    query = select(*COLUMNS).where(*_conditions(tx, wanted), media_files.c.id > after)
    if edge is not None:
        query = query.where(media_files.c.id <= edge)
    files = [read_file(row) for row in tx.execute(query.order_by(media_files.c.id).limit(limit + 1))]
    if len(files) > limit:
        return files[:limit], files[limit - 1].id
    return files, edge


def count_files(tx: Transaction, wanted: FileFilter) -> int:
    """How many files there are to list; looks at all of them, unless nothing but their state is asked for."""
    query = select(func.count()).select_from(media_files).where(*_conditions(tx, wanted))
    return int(tx.execute(query).scalar_one())


def iterate_stream(tx: Transaction, app_id: str, stream_id: str, rule: str) -> Iterator[MediaFile]:
    """The files of a stream that a rule decided (not those that it cannot be judged for), the newest first."""
    columns = media_files.c
    query = select(*COLUMNS).where(columns.app_id == app_id, columns.stream_id == stream_id, columns.rule == rule)
    query = query.where(columns.due_at.is_not(None)).order_by(columns.ended_at.desc(), columns.id.desc())
    skip = 0
    while rows := tx.execute(query.limit(_PAGE).offset(skip)).all():
        yield from (read_file(row) for row in rows)
        skip += _PAGE


def _is_one_stream(wanted: FileFilter) -> bool:
    """It asks for one stream of one app: an index has just those."""
    return wanted.app_id is not None and bool(wanted.stream) and not is_pattern(wanted.stream or "")


def _find_edge(tx: Transaction, wanted: FileFilter, after: int) -> int | None:
    """The number of the last file that may be looked at; None: all that are left."""
    query = select(media_files.c.id).where(media_files.c.id > after).order_by(media_files.c.id)
    if wanted.state is not None:
        query = query.where(media_files.c.state == wanted.state)
    return tx.execute(query.offset(MAX_LOOKED_AT - 1).limit(1)).scalar()


def _conditions(tx: Transaction, wanted: FileFilter) -> list[ColumnElement[bool]]:
    columns = media_files.c
    position = func.instr if tx.dialect.name == "sqlite" else func.strpos
    # An expression, not the column: a database would find all files of the app through an index, and sort them.
    app: Any = columns.app_id if _is_one_stream(wanted) else columns.app_id.concat("")
    name = case(
        (func.coalesce(columns.name, "") != "", columns.name),
        (columns.vendor != Vendor.TENCENT, columns.file_id),
        else_="",
    )
    make: dict[str, Callable[[Any], ColumnElement[bool]]] = {
        "state": lambda state: columns.state == state,
        "app_id": lambda app_id: app == app_id,
        "vendor": lambda vendor: columns.vendor == vendor,
        "stream": lambda pattern: fits_pattern(tx, columns.stream_id, pattern),
        "name": lambda pattern: fits_pattern(tx, name, pattern),
        "text": lambda part: or_(
            *(position(column, part) > 0 for column in (columns.file_id, columns.stream_id, columns.name))
        ),
        "due_before": lambda moment: columns.due_at < moment,
        "due_after": lambda moment: columns.due_at > moment,
        "adopted": lambda is_adopted: (columns.event == "") == is_adopted,
        "unknown_stream": lambda is_unknown: (columns.stream_id == "") == is_unknown,
    }
    return [make[name](value) for name, value in asdict(wanted).items() if value is not None]
