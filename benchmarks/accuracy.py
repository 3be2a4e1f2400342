"""Accuracy of the recipe over seeds, of BN + L1, GN and LN: mean, deviation and single values.

    python -m benchmarks.accuracy [--dataset mnist] [--seeds 0 1 2] [--epochs 20] [--test]

trains on all but the last sixth of the training images and scores on that: choices are made on these
numbers. With --test it trains on all of them and scores on the test images: for a choice that is made.
Finished runs are kept in runs/accuracy.jsonl, and the same command goes on from there.
"""

import argparse
import statistics
from pathlib import Path

from normbench.data import Dataset, load
from normbench.notebook import choose_device
from normbench.runs import append, read
from normbench.train import Config, Run, train

KEPT = Path("runs/accuracy.jsonl")


def finished(config: Config, data: Dataset) -> Run:
    """The run of `config` on `data`: the kept one, or else a new one, which is then kept."""
    for run in read(KEPT) if KEPT.exists() else ():
        if (run.config, run.dataset) == (config, data.name):
            return run
    run = train(config, data)
    append(run, KEPT)
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="auto")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--test", action="store_true")
    arguments = parser.parse_args()
    data = load(arguments.dataset, device=choose_device(arguments.device))
    if not arguments.test:
        data = data.hold_out(len(data.y_train) // 6)
    print(f"{data.name}, {arguments.epochs} epochs, accuracy of the last epoch in %")
    for nm, l1 in (("BN", 1e-4), ("GN", 0.0), ("LN", 0.0)):
        configs = [Config(nm, l1=l1, epochs=arguments.epochs, seed=seed) for seed in arguments.seeds]
        runs = [finished(config, data) for config in configs]
        values = [run.history[-1]["test_accuracy"] for run in runs]
        spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
        print(f"{configs[0].label}: {statistics.mean(values):.3f}{spread}", *(f"{value:.2f}" for value in values))


if __name__ == "__main__":
    main()
