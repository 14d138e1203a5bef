import gc
import os
import sqlite3

import pytest

from ndlambda.stores.disk.database import Database


def test_a_forked_child_never_touches_its_parents_connections(tmp_path, monkeypatch):
    database = Database(tmp_path / "file.sqlite", "", fsync=False)
    with database.reading() as parents:
        pass
    with monkeypatch.context() as forked:
        forked.setattr(os, "getpid", lambda: -1)
        with database.reading() as childs:
            assert childs is not parents
        database.close()
    with database.reading() as again:
        assert again is parents
    database.close()


def test_connections_are_closed_with_their_database(tmp_path):
    """Seen to fail without the finalizer: Python 3.13 warns of every connection left open."""
    database = Database(tmp_path / "file.sqlite", "", fsync=False)
    with database.reading() as connection:
        pass
    del database
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


def test_threads_at_work_have_connections_of_their_own(tmp_path):
    database = Database(tmp_path / "file.sqlite", "", fsync=False)
    with database.reading() as one, database.reading() as other:
        assert one is not other
    database.close()


def test_an_error_rolls_back_and_gives_the_connection_back(tmp_path):
    database = Database(tmp_path / "file.sqlite", "CREATE TABLE IF NOT EXISTS t (x)", fsync=False)

    def fail() -> None:
        with database.writing() as connection:
            connection.execute("INSERT INTO t VALUES (1)")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with database.writing() as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
    database.close()


@pytest.mark.parametrize(("fsync", "level"), [(True, 2), (False, 1)])
def test_commits_are_synced_unless_told_otherwise(tmp_path, fsync, level):
    database = Database(tmp_path / "file.sqlite", "", fsync=fsync)
    with database.reading() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    database.close()
