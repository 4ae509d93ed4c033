"""`zego-retention users`: who may sign in to the console."""

from __future__ import annotations

import sys

import click

from service.cli.frame import Invocation
from service.cli.show import safe, show, shown_as_json
from service.model import Role
from service.people import people


def add_person(invocation: Invocation, *, name: str, role: Role) -> None:
    database, now = invocation.service.database, invocation.now()
    person = people.add_person(database, name, Role(role), _ask_password(), invocation.actor, now)
    if not shown_as_json(invocation, person):
        show(f"Person {person.id}, {safe(name)}, may sign in to the console with the role {role}.")


def password_of(invocation: Invocation, *, number: int) -> None:
    database, now = invocation.service.database, invocation.now()
    people.require_person(database, number)  # before anybody is asked for a password
    person = people.set_password(database, number, _ask_password(), invocation.actor, now)
    show(f"{safe(person.name)} has a new password, and was signed out everywhere.")


def sign_out(invocation: Invocation, *, number: int) -> None:
    person = people.end_sessions(invocation.service.database, number, invocation.actor, invocation.now())
    show(f"{safe(person.name)} was signed out everywhere.")


def remove_person(invocation: Invocation, *, number: int) -> None:
    person = people.remove_person(invocation.service.database, number, invocation.actor, invocation.now())
    show(f"{safe(person.name)} may sign in no more.")


def _ask_password() -> str:
    """The password: typed twice without being shown, or the first line of standard input."""
    if sys.stdin.isatty():
        typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return typed
    return sys.stdin.readline().rstrip("\r\n")
