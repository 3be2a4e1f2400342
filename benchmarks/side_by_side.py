"""Two trainings side by side, each with half the threads, against one after the other with all of them.

    python -m benchmarks.side_by_side [--dataset mnist] [--epochs 5] [--rounds 3]

The two ways alternate; seconds from the first start to the last finish, starting processes included. The
medians go to results/side_by_side.jsonl, from which docs/speed.md is made.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from normbench.data import Dataset, load
from normbench.device import device_name
from normbench.runs import run_all
from normbench.train import Config

SAVED = Path("results/side_by_side.jsonl")


def seconds(workers: int, epochs: int, data: Dataset) -> float:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        configs = [Config("GN", epochs=epochs, seed=seed) for seed in range(2)]
        run_all(configs, data, Path(folder) / "runs.jsonl", workers, progress=False)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="auto")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    data = load(arguments.dataset)
    pairs = [[seconds(workers, arguments.epochs, data) for workers in (1, 2)] for _ in range(arguments.rounds)]
    medians = map(statistics.median, zip(*pairs))
    row = {
        "epochs": arguments.epochs,
        "dataset": data.name,
        "nm": "GN",
        "seconds": dict(zip(("in turn", "side by side"), medians)),
        "rounds": arguments.rounds,
        "device": device_name(data.device),
    }
    with SAVED.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(row)


if __name__ == "__main__":
    main()
