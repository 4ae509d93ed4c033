from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, inspect, select

from service.audit.store import find_head
from service.cli import main
from service.database import Database
from service.database.columns import metadata
from service.database.copy import copy_everything
from service.database.engine import VERSION_TABLE
from service.database.migrate import upgrade_database
from service.leader.store import COMMAND
from service.model import Actor, FileState, Role
from service.people.people import add_person
from tests.cli.test_cli_frame import start
from tests.world import environment, open_world

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run
    from tests.world import World


@pytest.fixture
def other_url(database_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """An empty database of the other kind."""
    if database_url.startswith("sqlite"):
        url: str = request.getfixturevalue("empty_postgres_url")
        return url
    return f"sqlite:///{tmp_path / 'other.db'}"


def read_rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table that the database has, by table."""
    database = Database(url)
    with database.read() as tx:
        names = set(inspect(tx).get_table_names()) - {VERSION_TABLE}
        found = {name: [tuple(row) for row in tx.execute(select(metadata.tables[name]))] for name in names}
    database.dispose()
    return {name: sorted(rows, key=repr) for name, rows in found.items()}


def test_everything_is_copied_into_a_database_of_the_other_kind_and_goes_on_there(
    run: Run, world: World, database_url: str, other_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.keep("1d")
    world.send("held", stream="room-1")
    world.send("due", age=timedelta(days=2))
    world.announce("forged", secret="another")
    run("holds", "add", "--stream", "room-1", "--reason", "旁听 'a court asks'")
    run("tokens", "add", "ops", "--role", "viewer")
    run("rules", "preview", "--keep", KEEP="12h")
    add_person(world.database, "li.wei", Role.ADMIN, "a long password", Actor("a", "test"), world.clock())
    world.sweep()
    world.add(1_100, age=timedelta(hours=1))  # more than are copied at once
    before = read_rows(database_url)
    world.service.leader.release()
    assert start("migrate", cwd=tmp_path, DATABASE_URL=other_url).returncode == 0
    (tmp_path / "url").write_text(other_url)
    copied = start(
        "migrate", "--from", database_url, cwd=tmp_path, DATABASE_URL_FILE=f"{tmp_path / 'url'}", SPOOL_DIR="off"
    )
    assert "1,102 files, 3 callbacks, and everything else" in copied.stdout, copied
    assert (copied.returncode, "move or rename the old database" in copied.stderr) == (0, True)
    assert before["people"] != [] != before["previews"]
    after = read_rows(other_url)
    assert before.pop("leader") != [], "(it has led again since)"
    del after["leader"]
    assert after == before
    again = run("migrate", "--from", database_url, DATABASE_URL=other_url)
    assert (again.code, "has rows; name an empty one" in again.err) == (1, True)
    with open_world(other_url) as there:
        there.clock.time = world.clock.time
        assert there.send("another", stream="room-1").state is FileState.HELD
        assert there.send("next").id > max(file.id for file in world.files().values())
        assert there.state("due") is FileState.DELETED
        there.service.leader.release()
        capsys.readouterr()
        assert main(["audit", "verify"], environ=environment(other_url, there.sandbox.url), now=there.clock) == 0


def test_a_copy_is_of_one_moment_whatever_is_written_meanwhile(world: World, database_url: str, other_url: str) -> None:
    world.keep("1d")
    target, is_late = Database(other_url), list[str]()
    upgrade_database(target)

    def write(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not is_late and "FROM audit_entries" in statement:
            is_late.append(statement)
            add_person(world.database, "li.wei", Role.ADMIN, "a long password", Actor("a", "test"), world.clock())

    source = Database(database_url)
    event.listen(source._reader, "after_cursor_execute", write)
    copied = copy_everything(source, target)
    with target.read() as tx:
        assert (find_head(tx).number, copied["people"]) == (copied["audit_entries"], 0)
    assert is_late
    for database in (source, target):
        database.dispose()


def test_what_is_in_use_or_not_whole_is_not_copied(
    run: Run, world: World, database_url: str, other_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.send("a")
    environ = environment(other_url, world.sandbox.url)
    copy, leader = ["migrate", "--from", database_url], world.service.leader
    for name in ("a worker", f"a sweep{COMMAND}"):
        leader.release()
        leader.name = name
        assert leader.try_to_lead()
        assert main(copy, environ=environ, now=world.clock) == 1
        assert f"{name} works on {world.database.name}: stop the service" in capsys.readouterr().err
    missing = run("migrate", "--from", f"sqlite:///{tmp_path / 'missing.db'}", DATABASE_URL=other_url)
    assert (missing.code, "missing.db: correct --from" in missing.err) == (1, True)
    assert not (tmp_path / "missing.db").exists()
    for nonsense in ("nonsense", "", "sqlite:///relative.db?mode=ro"):
        refused = run("migrate", "--from", nonsense, DATABASE_URL=other_url)
        assert (refused.code, "--from" in refused.err) == (2, True), refused
    itself = run("migrate", "--from", database_url)
    assert (itself.code, "set ZEGO_RETENTION_DATABASE_URL to the new database" in itself.err) == (1, True)
    if other_url.startswith("sqlite"):
        assert not (tmp_path / "other.db").exists(), "nothing is made where nothing is copied"
