"""Read a comparison in Python: means and intervals, how far arms are apart, a table of all runs, figures.

    python examples/reading.py

trains a small residual network on scikit-learn's digits, which takes some minutes on a CPU. A second call reads the
finished runs and trains nothing.
"""

from pathlib import Path

import tyro
from resnet8 import build

import normbench as nb


def describe(found: nb.Comparison, folder: Path) -> None:
    """Print what was found, and write its table and its figures to `folder`."""
    for result in found.results:
        print(f"Batches of {result.batch_size}:")
        for arm in result.ranked:
            name, rate = result.labels[arm.recipe], arm.recipe.lr
            print(f"  {name:<5} {arm.accuracy.mean:.2f} % ({len(arm.runs)} runs, learning rate {rate:g})")
        for (better, worse), lead in result.leads.items():
            how = "clearly ahead" if lead.low > 0 else "not clearly ahead"
            print(f"  {result.labels[better]} is {how} of {result.labels[worse]}: {lead.estimate:+.2f} points")
    runs = found.frame()
    print(runs.groupby("norm")[["test_accuracy", "test_loss"]].mean())
    runs.to_csv(folder / "runs.csv", index=False)
    for i, figure in enumerate(found.figures().values(), start=1):
        figure.savefig(folder / f"figure_{i}.png")


def main(seeds: int = 3, epochs: int = 5, folder: Path = Path("runs/reading")) -> None:
    """Compare three normalizations and read the result.

    Args:
        seeds: runs per normalization.
        epochs: how often a run sees every training image.
        folder: where finished runs, the table and the figures are kept.
    """
    data = nb.load("digits")
    found = nb.compare(build, data, arms=("BN", "GN", "none"), seeds=seeds, epochs=epochs, folder=folder)
    describe(found, folder)


if __name__ == "__main__":
    tyro.cli(main)
