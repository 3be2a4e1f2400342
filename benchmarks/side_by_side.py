"""Two trainings side by side, each with half the threads, against one after the other with all of them.

    python -m benchmarks.side_by_side [--dataset mnist] [--epochs 5] [--rounds 3]

The two ways alternate; seconds from the first start to the last finish, starting processes included. The
outcome is put into benchmarks/SPEED.md.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from normbench.data import Dataset, load
from normbench.device import device_name
from normbench.readme import update
from normbench.runs import run_all
from normbench.train import Config

SHOWN = Path("benchmarks/SPEED.md")


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
    in_turn, beside = (statistics.median(times) for times in zip(*pairs))
    outcome = (
        f"Two trainings of {arguments.epochs} epochs ({data.name}, GN) take {in_turn:.1f} s in turn, with all threads "
        f"each, and {beside:.1f} s side by side, with half of them each: a ratio of {in_turn / beside:.2f} "
        f"(`python -m benchmarks.side_by_side`; {device_name(data.device)}, medians of {arguments.rounds} rounds)."
    )
    SHOWN.write_text(update(SHOWN.read_text(), "side by side", outcome))
    print(outcome)


if __name__ == "__main__":
    main()
