"""What a store holds, as hashes; or one row of it damaged, as a disk or a hand may do.

    store_state.py hashes FILE                       {table: hash of its rows}; times of last use do not count
    store_state.py damage FILE TABLE COLUMN KEY BODY the body of the row whose COLUMN is KEY becomes BODY
"""

import hashlib
import json
import sqlite3
import sys

USE = {"seen_at", "used_at"}


def hashes(store):
    tables = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    tables = [table for table in tables if not table.startswith("sqlite_")]
    found = {}
    for table in tables:
        columns = [row[1] for row in store.execute(f'PRAGMA table_info("{table}")') if row[1] not in USE]
        names = ", ".join(f'"{column}"' for column in columns)
        rows = sorted(repr(row) for row in store.execute(f'SELECT {names} FROM "{table}"'))
        found[table] = hashlib.sha256("\n".join(rows).encode()).hexdigest()
    return found


def main():
    command, path, *rest = sys.argv[1:]
    store = sqlite3.connect(path, timeout=30)
    if command == "hashes":
        print(json.dumps(hashes(store)))
        return
    table, column, key, body = rest
    with store:
        changed = store.execute(f'UPDATE "{table}" SET body = ? WHERE "{column}" = ?', (body, key)).rowcount
    if changed != 1:
        sys.exit(f"{changed} rows of {table} were damaged")


main()
