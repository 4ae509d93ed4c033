"""Sentences of the service as the console shows them: a command that they name leads to the page that does the same."""

from __future__ import annotations

import re
from typing import Final

from flask import g
from markupsafe import Markup, escape

from service.model import Role
from service.web.console.words import gettext as _
from service.web.console.words import translate_sentence

_COMMAND: Final = re.compile("`([^`]+)`")


def link_sentence(text: str) -> Markup:
    """A sentence in the language of the request, with links and the names of buttons in place of commands."""
    parts = _COMMAND.split(translate_sentence(text))  # text, command, text, command, …, text
    return Markup("").join(_link(part) if place % 2 else escape(part) for place, part in enumerate(parts))


def _link(command: str) -> Markup:
    """Where one does in the console what a command does; a number that is not known (`ID`) leads to the list."""
    words = command.removeprefix("zego-retention ").split()
    what, number = " ".join(words[:2]), next((f"/{word}" for word in words if word.isdecimal()), "")
    session = g.get("session")
    editor = "/rules/edit" if session and session.may(Role.ADMIN) else "/rules"
    given = re.search("--(state|verdict) ([a-z_]+)", command)
    only = f"?{given[1]}={given[2]}" if given else ""
    pages = {
        "files list": (f"/files{only}", _("Files")),
        "files show": (f"/files{number}", _("Files")),
        "files retry": (f"/files{number or '?state=failed'}", _("Retry")),
        "files confirm": (f"/files{number or '?state=unconfirmed'}", _("Confirm")),
        "holds list": ("/holds", _("Holds")),
        "holds add": ("/holds", _("Place a hold")),
        "holds release": (f"/holds{number}", _("Release")),
        "callbacks list": (f"/callbacks{only}", _("Callbacks")),
        "callbacks replay": (f"/callbacks{only}", _("Judge again")),
        "runs list": ("/runs", _("Sweeps")),
        "runs show": (f"/runs{number}", _("sweep %(number)s", number=number[1:]) if number else _("Sweeps")),
        "sweep": ("/runs", _("Sweep now")),
        "sweep --approve": (f"/runs{number}", _("Approve")),
        "reconcile": ("/listings", _("Read the listings")),
        "listings list": ("/listings", _("Listings")),
        "rules list": ("/rules", _("Rules")),
        "rules history": ("/revisions", _("History")),
        "rules rollback": (f"/revisions{number}", _("Put in force again")),
        "rules preview": (editor, _("Change the rules")),
        "rules apply": (f"/previews{number}" if number else editor, _("Apply")),
        "previews show": (f"/previews{number}", _("Show the preview")),
        "audit list": ("/audit", _("Audit")),
        "tokens list": ("/people", _("Tokens")),
        "tokens add": ("/people", _("Make a token")),
        "users list": ("/people", _("People")),
    }
    if what not in pages:
        return Markup("<code>{}</code>").format(command)
    path, label = pages[what]
    return Markup('<a href="{}">{}</a>').format(path, label)
