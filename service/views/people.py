"""People who may sign in to the console."""

from __future__ import annotations

from service.people import store
from service.people.store import Person
from service.views.form import Listed, show_as

show_as(Person, password_hash=None)

PEOPLE = Listed[None, Person, Person](
    "person",
    "users list",
    Person,
    lambda tx, _, cursor, size: store.list_people(tx, size, after=cursor),
    lambda tx, _: len(store.list_people(tx)),
    "id, name, role, added: added_at, signed in: signed_in_at, locked until: locked_until, removed: removed_at",
    "locked until, added",
    lambda tx, number: store.find_person(tx, id=number),
)
"""People by number, those who were removed included."""
