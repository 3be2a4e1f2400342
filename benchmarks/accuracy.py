"""Accuracy of the recipe over seeds, of BN + L1, GN and LN: mean, deviation and single values.

    python -m benchmarks.accuracy [--dataset mnist] [--seeds 0 1 2] [--epochs 20] [--workers 2] [--test]

trains on all but the last sixth of the training images and scores on that: choices are made on these
numbers, kept in runs/validation.jsonl. With --test it trains on all of them and scores on the test images:
for a choice that is made, kept in results/accuracy.jsonl. Finished runs are not repeated: the same command
goes on after a stop. After a change of the network or the recipe, delete the file first.
"""

import argparse

from normbench.data import load
from normbench.device import choose_device
from normbench.readme import seeds_table
from normbench.runs import run_all
from normbench.train import Config

ARMS = (("BN", 1e-4), ("GN", 0.0), ("LN", 0.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="auto")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1, help="trainings side by side")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--test", action="store_true")
    arguments = parser.parse_args()
    data = load(arguments.dataset, device=choose_device(arguments.device))
    if not arguments.test:
        data = data.hold_out(len(data.y_train) // 6)
    # Seed by seed, so that a stop leaves the arms equally far.
    configs = [Config(nm, l1=l1, epochs=arguments.epochs, seed=seed) for seed in arguments.seeds for nm, l1 in ARMS]
    path = "results/accuracy.jsonl" if arguments.test else "runs/validation.jsonl"
    print(seeds_table(run_all(configs, data, path, arguments.workers)))


if __name__ == "__main__":
    main()
