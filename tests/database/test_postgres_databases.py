"""PostgreSQL databases as people have them: with options in the URL, in a schema, in another encoding."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url, text

from service.database import Database, UnfitDatabase
from service.database.migrate import pending_migrations, upgrade_database
from tests.postgres import create_database
from tests.processes import MAX_WAIT_S, running
from tests.world import environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import URL


@pytest.fixture
def ascii_url(postgres_server: URL) -> Iterator[str]:
    """A database that takes whatever bytes come, and knows no characters."""
    yield from create_database(postgres_server, "TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")


@pytest.fixture
def latin_url(postgres_server: URL) -> Iterator[str]:
    """A database that refuses Chinese names."""
    yield from create_database(postgres_server, "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")


def ask(url: str, question: str) -> str:
    database = Database(url)
    with database.read() as tx:
        answer = str(tx.execute(text(question)).scalar_one())
    database.dispose()
    return answer


def with_options(url: str, **options: str) -> str:
    return make_url(url).update_query_dict(options).render_as_string(hide_password=False)


def test_a_database_that_cannot_hold_every_name_is_refused(latin_url: str) -> None:
    database = Database(latin_url)
    for refuse in (pending_migrations, upgrade_database):
        with pytest.raises(UnfitDatabase, match="encoding LATIN1, which cannot hold every name"):
            refuse(database)
    database.dispose()


def test_no_process_starts_on_a_database_that_cannot_hold_every_name(ascii_url: str, tmp_path: Path) -> None:
    variables = environment(ascii_url, "http://127.0.0.1:9/", KEEP="30d")
    with ExitStack() as stack:
        commands = ("migrate", "serve", "web", "worker", "doctor")
        started = [stack.enter_context(running(command, variables, tmp_path)) for command in commands]
        for each in started:
            assert each.process.wait(2 * MAX_WAIT_S) == 1, each.log()
            said = " ".join(each.log().split())
            assert "cannot hold every name" in said
            assert "ENCODING 'UTF8'" in said
            assert "Traceback" not in said


def test_a_schema_of_its_own_may_be_beside_another_program(empty_postgres_url: str) -> None:
    public = Database(empty_postgres_url)
    with public.write() as tx:
        tx.execute(text("CREATE TABLE callbacks (a INTEGER)"))
        tx.execute(text("CREATE SCHEMA retention"))
    with pytest.raises(UnfitDatabase, match="search_path=NAME"):
        pending_migrations(public)
    own = Database(with_options(empty_postgres_url, options="-csearch_path=retention"))
    upgrade_database(own)
    assert pending_migrations(own) == []
    with public.read() as tx:
        assert list(tx.dialect.get_table_names(tx)) == ["callbacks"]
    for database in (own, public):
        database.dispose()


def test_what_the_url_says_holds_and_the_rest_is_ours(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    named = with_options(postgres_url, application_name="billing", options="-cstatement_timeout=7s")
    for url in (postgres_url, named):
        assert ask(url, "SHOW lock_timeout") == "10s"
        assert ask(url, "SHOW idle_in_transaction_session_timeout") == "1min"
        assert ask(url, "SHOW timezone") == "UTC"
        assert ask(url, "SHOW max_parallel_workers_per_gather") == "0"
        assert ask(url, "SHOW client_encoding") == "UTF8"
        assert ask(url, "SELECT '直播'") == "直播"
    assert ask(postgres_url, "SHOW application_name").startswith("zego-retention/")
    assert ask(named, "SHOW application_name") == "billing"
    assert ask(named, "SHOW statement_timeout") == "7s"
