"""The chat's database: its migrations, and how several processes write to it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection


@pytest.mark.django_db
def test_the_migrations_make_what_the_models_say() -> None:
    call_command("makemigrations", "chatty", "--check", "--dry-run", "--verbosity", "0")


def test_it_is_the_file_that_the_environment_names_and_readers_do_not_wait_for_writers(migrated: Path) -> None:
    with closing(sqlite3.connect(migrated)) as found:
        assert found.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert found.execute("SELECT count(*) FROM chatty_message").fetchone() is not None


@pytest.mark.django_db
def test_a_writer_waits_for_another_and_syncs_no_more_than_it_must() -> None:
    assert connection.settings_dict["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA synchronous").fetchone() == (1,)
        assert cursor.execute("PRAGMA busy_timeout").fetchone() == (20_000,)


@pytest.mark.django_db
def test_the_history_of_a_room_is_read_by_an_index() -> None:
    with connection.cursor() as cursor:
        for room in ("IS NULL", "= 'cellar'"):
            sql = f"SELECT * FROM chatty_message WHERE room_id {room} AND id > 7 ORDER BY id DESC LIMIT 51"
            plan = " ".join(row[3] for row in cursor.execute(f"EXPLAIN QUERY PLAN {sql}"))
            assert "message_room_id" in plan
            assert "TEMP B-TREE" not in plan
