"""A table of finished runs, made by any tool, becomes runs."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from normbench.layers import parse
from normbench.training import FROM_TABLE, Recipe, Run
from normbench.words import reason

if TYPE_CHECKING:
    import pandas as pd


READERS = {
    ".csv": "read_csv",
    ".tsv": "read_table",
    ".jsonl": "read_json",
}


def read_table(path: Path) -> "pd.DataFrame":
    """Read a table from a file; ValueError if it is none, FileNotFoundError if there is no such file."""
    import pandas as pd

    if path.suffix.lower() not in READERS:
        raise ValueError(f"{path} must be a table, {', '.join(READERS)}")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    options = {"lines": True} if path.suffix.lower() == ".jsonl" else {}
    try:
        frame: pd.DataFrame = getattr(pd, READERS[path.suffix.lower()])(path, **options)
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a table: {reason(error)}") from None
    return frame


def runs_of_table(
    frame: "pd.DataFrame", arm: str, score: str | Sequence[str], seed: str | None, data: str
) -> list[Run]:
    """Return a run for each row of a table; the arguments are those of `Comparison.from_frame`.

    Raises ValueError as that does.
    """
    scores = [score] if isinstance(score, str) else list(score)
    columns = [arm, *scores, *([seed] if seed is not None else [])]
    for column in columns:
        if column not in frame.columns:
            raise ValueError(f"the table has no column {column!r}; it has {', '.join(map(str, frame.columns))}")
    seeds = frame[seed] if seed is not None else frame.groupby(arm, sort=False).cumcount()
    numbers = {each: _numbers(frame[each], each) for each in scores}
    runs: list[Run] = []
    for i, name in enumerate(frame[arm]):
        values = {f"test_{each}": float(numbers[each].iloc[i]) for each in scores}
        runs.append(_run(Recipe(_norm(name), seed=_seed(seeds.iloc[i])), values, scores[0], data))
    twice = [run.recipe for i, run in enumerate(runs) if run.recipe in {other.recipe for other in runs[:i]}]
    if twice:
        raise ValueError(f"{twice[0].label} has seed {twice[0].seed} twice; a row is a run")
    if len({run.recipe.norm for run in runs}) < 2:
        raise ValueError(f"column {arm!r} has {len(set(frame[arm]))} different values; two or more are compared")
    return runs


def _run(recipe: Recipe, values: dict[str, float], decides: str, data: str) -> Run:
    failed = not math.isfinite(values[f"test_{decides}"])
    return Run(
        recipe=recipe,
        dataset=data,
        history=() if failed else (values,),
        correct=torch.zeros(0, dtype=torch.bool),
        parameters=0,
        seconds=0.0,
        device="",
        fingerprint={"trainer": FROM_TABLE},
        failure="have no score" if failed else "",
        measure=decides,
        unit="",
    )


def _norm(name: object) -> str:
    """A name as a norm: one of the table of normalizations, or that of something of the user's own."""
    text = "" if name is None or name != name else str(name).strip()  # nan differs from itself
    if not text:
        raise ValueError("a row names no arm")
    try:
        return text if parse(text).is_known else f"{text}()"
    except ValueError:
        return f"{text}()"


def _seed(value: object) -> int:
    try:
        number = int(str(value).removesuffix(".0"))
    except ValueError:
        raise ValueError(f"a seed is a whole number, 0 or more, got {value!r}; without seeds give seed=None") from None
    if number < 0:
        raise ValueError(f"a seed is a whole number, 0 or more, got {value!r}")
    return number


def _numbers(column: "pd.Series", name: str) -> "pd.Series":
    import pandas as pd

    try:
        return pd.to_numeric(column)
    except (ValueError, TypeError) as error:
        raise ValueError(f"column {name!r} must have numbers: {error}") from None
