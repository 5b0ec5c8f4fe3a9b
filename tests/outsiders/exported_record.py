"""Reads an export of the record as anybody would, and says what is in it, as JSON.

    exported_record.py json|csv|parquet FILE
    exported_record.py same FILE.parquet FILE.csv     whether they have the same rows
"""

import csv
import datetime
import json
import sys

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def of_json(path):
    with open(path, encoding="utf-8", newline="") as file:
        return [json.loads(line) for line in file.read().split("\n")[:-1]]


def of_csv(path):
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    for row in rows:
        assert None not in row and None not in row.values(), row
        for cell in row.values():
            assert not cell.lstrip(" \x00\t\r\n").startswith(FORMULA), cell
        event = json.loads(row["event"])
        assert str(event["seq"]) == row["seq"]
        assert event.get("time", "") == row["time"]
    return [json.loads(row["event"]) | {"cell": row["detail"]} for row in rows]


def table(path):
    # Nobody who reads the others needs it.
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(path)
    types = {"seq": "int64", "time": "timestamp[us, tz=UTC]", "status": "int32"}
    for field in file.schema_arrow:
        assert str(field.type) == types.get(field.name, "string"), field
        assert field.nullable == (field.name not in ("seq", "event")), field
    assert file.metadata.created_by.startswith("portcullis "), file.metadata
    return file.read().to_pylist()


def moment(text):
    return datetime.datetime.fromisoformat(text)


def of_parquet(path):
    rows = table(path)
    events = [json.loads(row["event"]) for row in rows]
    for row, event in zip(rows, events):
        assert row["seq"] == event["seq"] and row["status"] == event.get("status"), row
        assert row["time"] == moment(event["time"]), row
    return events


def same(parquet, other):
    with open(other, encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file, strict=True))
    rows = table(parquet)
    assert len(rows) == len(cells) > 0, (len(rows), len(cells))
    for row, line in zip(rows, cells):
        assert list(row) == list(line)
        for name, value in row.items():
            cell = line[name]
            if cell.startswith("'") and cell[1:].lstrip(" \x00\t\r\n").startswith(FORMULA):
                cell = cell[1:]
            if name == "time":
                cell = moment(cell)
            elif value is None or isinstance(value, int):
                value = "" if value is None else str(value)
            assert value == cell, (name, value, cell)
    return len(rows)


if __name__ == "__main__":
    how, *paths = sys.argv[1:]
    read = {"json": of_json, "csv": of_csv, "parquet": of_parquet, "same": same}[how]
    json.dump(read(*paths), sys.stdout)
