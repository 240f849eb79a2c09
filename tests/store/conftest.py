"""A real PostgreSQL for the store's tests: one server a session, one database a test."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from ari_app.deploy.postgres import PostgresServer
from ari_app.store.journal import Journal
from ari_app.store.migrate import migrate
from ari_app.store.shipper import Shipper

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    server = PostgresServer(tmp_path_factory.mktemp("pg") / "cluster", durable=False, die_with_parent=True)
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def template(postgres: PostgresServer) -> str:
    """A migrated database that the others are copies of."""
    migrate(postgres.create_database("template_migrated"))
    return "template_migrated"


@pytest.fixture
def empty_database(postgres: PostgresServer) -> str:
    return postgres.create_database(f"empty_{next(_numbers)}")


@pytest.fixture
def new_database(postgres: PostgresServer, template: str) -> Callable[[], str]:
    """Makes one more migrated database of its own each time it is called; gives its URL."""

    def make() -> str:
        name = f"test_{next(_numbers)}"
        with psycopg.connect(postgres.dsn_of("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return postgres.dsn_of(name)

    return make


@pytest.fixture
def dsn(new_database: Callable[[], str]) -> str:
    return new_database()


@pytest.fixture
def journal_path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.db"


@pytest.fixture
def journal(journal_path: Path) -> Iterator[Journal]:
    with Journal(journal_path) as opened:
        yield opened


def ship_all(journal: Journal, dsn: str) -> None:
    """Ship and fold what is in the journal now, with the real shipper inside this process."""

    async def run() -> None:
        shipper = Shipper(journal.path, dsn)
        running = asyncio.create_task(shipper.run())
        await asyncio.sleep(0.05)
        shipper.stop.set()
        await running

    asyncio.run(run())
