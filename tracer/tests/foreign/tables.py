"""Reads jsonl or csv with Python's own modules: tables.py FILE prints all rows as a JSON list."""

import csv
import json
import sys

if sys.argv[1].endswith(".csv"):
    with open(sys.argv[1], newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, strict=True))
else:
    with open(sys.argv[1], encoding="utf-8", newline="\n") as file:
        rows = [json.loads(line) for line in file]
json.dump(rows, sys.stdout)
