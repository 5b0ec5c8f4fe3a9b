"""Reads an export of the record as anybody would, and says what is in it, as JSON.

    exported_record.py json|csv FILE
"""

import csv
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


if __name__ == "__main__":
    how, path = sys.argv[1:]
    json.dump({"json": of_json, "csv": of_csv}[how](path), sys.stdout)
