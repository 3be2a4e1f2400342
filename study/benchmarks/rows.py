"""The files of study/results/ in which benchmarks keep what they measured: one JSON line per row."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]

STUDY = Path(__file__).resolve().parent.parent
RESULTS = STUDY / "results"
IMAGES = STUDY.parent / "images"


def read(path: Path) -> list[Row]:
    """Read the rows of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(rows: Iterable[Row], path: Path) -> None:
    """Write the rows to a file, in place of those that it had."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def append(row: Row, path: Path) -> None:
    """Add a row to a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
