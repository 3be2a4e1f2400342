"""Compare two trainings side by side, each with half of the threads, with one after the other with all of them.

    python -m study.benchmarks.side_by_side [--dataset mnist] [--epochs 5] [--rounds 3]

The two ways alternate. Seconds are those from the first start to the last finish, and include starting the processes.
The medians are added to study/results/side_by_side.jsonl, from which docs/speed.md is made.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from normbench.data import Dataset, load
from normbench.device import device_name
from normbench.runs import run_all
from study.benchmarks.rows import RESULTS, append
from study.networks import TRAINER, usual_recipe

SAVED = RESULTS / "side_by_side.jsonl"
WAYS = {"in turn": 1, "side by side": 2}  # and their numbers of workers


def seconds(workers: int, epochs: int, data: Dataset) -> float:
    """Measure how long `workers` processes take for two trainings."""
    recipes = [usual_recipe(data, "GN:2", epochs=epochs, seed=seed) for seed in range(2)]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run_all(recipes, data, Path(folder) / "runs.jsonl", TRAINER, workers=workers, progress=False)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="auto")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    data = load(arguments.dataset)
    rounds = [
        {way: seconds(workers, arguments.epochs, data) for way, workers in WAYS.items()}
        for _ in range(arguments.rounds)
    ]
    row = {
        "epochs": arguments.epochs,
        "dataset": data.name,
        "nm": "GN",
        "seconds": {way: statistics.median(times[way] for times in rounds) for way in WAYS},
        "rounds": arguments.rounds,
        "device": device_name(data.device),
    }
    append(row, SAVED)
    print(row)


if __name__ == "__main__":
    main()
