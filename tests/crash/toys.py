"""Small programs that say "saved" too early, and their correct versions.

Each workload saves the numbers 1 to 12 one after the other and says so after each; `check` finds
the last number in the folder and demands that none is lost which was said to be saved. A laboratory
that cannot tell the careless from the careful ones proves nothing.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from edge_cl.files import write_atomically

LAST = 12
TEXT = "number {:4d} " * 400  # more than one block


def _replaced(folder, say, save):
    for i in range(1, LAST + 1):
        save(Path(folder, "value"), (TEXT.replace("{:4d}", f"{i:4d}")).encode())
        say(b"%d" % i)


def check_file(folder, marks):
    """The file holds one number, whole: the last that was said, or the one after."""
    said = int(marks[-1]) if marks else 0
    path = Path(folder, "value")
    if not path.exists():
        assert said == 0, f"{said} was saved, now there is no file"
        return
    data = path.read_bytes().decode(errors="replace")
    found = int(data[7:11]) if data[7:11].strip().isdigit() else -1
    assert data == TEXT.replace("{:4d}", f"{found:4d}"), "the file is neither old nor new"
    assert said <= found <= said + 1, f"{said} was saved, {found} is there"


def overwritten(folder, say):
    """The file is written anew, without fsync."""
    _replaced(folder, say, lambda path, data: path.write_bytes(data))


def renamed_without_fsync_of_the_file(folder, say):
    def save(path, data):
        path.with_name("new").write_bytes(data)
        path.with_name("new").replace(path)
        _sync(path.parent)

    _replaced(folder, say, save)


def renamed_without_fsync_of_the_folder(folder, say):
    def save(path, data):
        path.with_name("new").write_bytes(data)
        _sync(path.with_name("new"))
        path.with_name("new").replace(path)

    _replaced(folder, say, save)


def renamed(folder, say):
    """Correct."""
    _replaced(folder, say, write_atomically)


def _sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _inserted(folder, say, *settings):
    with closing(sqlite3.connect(Path(folder, "numbers.db"), isolation_level=None)) as db:
        db.execute("pragma locking_mode = exclusive")
        db.execute("pragma journal_mode = wal")
        for setting in settings:
            db.execute(f"pragma {setting}")
        db.execute("create table numbers (i integer primary key, text text)")
        for i in range(1, LAST + 1):
            db.execute("insert into numbers values (?, ?)", (i, TEXT))
            say(b"%d" % i)


def inserted_without_sync(folder, say):
    _inserted(folder, say, "synchronous = off")


def inserted_with_synchronous_normal(folder, say):
    _inserted(folder, say, "synchronous = normal")


def inserted(folder, say):
    """Correct. The small checkpoint interval makes the log start over several times."""
    _inserted(folder, say, "synchronous = full", "wal_autocheckpoint = 8")


def check_database(folder, marks):
    """The table holds 1 to n, n the last that was said or the one after."""
    said = int(marks[-1]) if marks else 0
    with closing(sqlite3.connect(Path(folder, "numbers.db"))) as db:
        assert db.execute("pragma quick_check").fetchall() == [("ok",)]
        tables = db.execute("select name from sqlite_master where type = 'table'").fetchall()
        rows = [r[0] for r in db.execute("select i from numbers order by i")] if tables else []
    assert rows == list(range(1, len(rows) + 1)), f"rows {rows}"
    assert said <= len(rows) <= said + 1, f"{said} was saved, {len(rows)} are there"


def _appended(folder, say, sync_first):
    with Path(folder, "lines").open("ab", buffering=0) as stream:
        _sync(folder)
        for i in range(1, LAST + 1):
            stream.write(b"%4d" % i * 200 + b"\n")
            if sync_first:
                os.fsync(stream.fileno())
            say(b"%d" % i)
            if not sync_first:
                os.fsync(stream.fileno())


def appended_and_told_before_fsync(folder, say):
    _appended(folder, say, sync_first=False)


def appended(folder, say):
    """Correct."""
    _appended(folder, say, sync_first=True)


def appended_until_fsync_is_content(folder, say):
    """Careless where fsync fails: the next one says yes, and has not written what was lost."""
    with Path(folder, "lines").open("ab", buffering=0) as stream:
        _sync(folder)
        for i in range(1, LAST + 1):
            stream.write(b"%4d" % i * 200 + b"\n")
            try:
                os.fsync(stream.fileno())
            except OSError:
                os.fsync(stream.fileno())
            say(b"%d" % i)


def check_lines(folder, marks):
    """The whole lines are 1 to n, n the last that was said or the one after."""
    said = int(marks[-1]) if marks else 0
    path = Path(folder, "lines")
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    found = 0
    while found < len(lines) and lines[found] == b"%4d" % (found + 1) * 200:
        found += 1
    assert said <= found <= said + 1, f"{said} was saved, {found} are there"


CARELESS = {
    "a write without fsync": (overwritten, check_file),
    "a rename without fsync of the file": (renamed_without_fsync_of_the_file, check_file),
    "a rename without fsync of the folder": (renamed_without_fsync_of_the_folder, check_file),
    "SQLite with synchronous=OFF": (inserted_without_sync, check_database),
    "SQLite with synchronous=NORMAL": (inserted_with_synchronous_normal, check_database),
    "told before fsync": (appended_and_told_before_fsync, check_lines),
}
CAREFUL = {
    "write_atomically": (renamed, check_file),
    "SQLite with WAL, FULL, EXCLUSIVE": (inserted, check_database),
    "told after fsync": (appended, check_lines),
}
