"""Race the normalizations of small networks, and hold each race against the fixed design: all arms, rates and seeds.

    nice -n 19 python -m study.benchmarks.raced [--only NAME] [--short] [--folder runs/raced]

Both designs take their runs from one store, so that equal ones are trained once. A short trial of a learning rate is a
complete run of a part of the epochs; the best two of an arm are then known at full length. The rows replace those of
the same name in study/results/raced.jsonl.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from normbench.comparison import Result, compare
from normbench.comparison.candidates import candidates
from normbench.comparison.race import Rules
from normbench.comparison.racing import Course, hold
from normbench.comparison.rates import best_of
from normbench.comparison.tasks import chance_of, for_rates, trainer_of
from normbench.comparison.trainings import Trainings
from normbench.data import Samples
from normbench.device import device_name
from normbench.networks import Swapped
from normbench.runs import Arms, arms, local
from normbench.training import OPTIMIZERS, Recipe
from study import CHECKOUT
from study.benchmarks.rows import RESULTS, Row, read, write

SAVED = RESULTS / "raced.jsonl"
SEEDS = 10
SHARES = (1 / 2, 1 / 4)  # of the epochs, of short trials


class Transformer(nn.Module):
    """Two pre-norm blocks over the rows of an image of 8 × 8 pixels."""

    def __init__(self, num_classes: int = 10, width: int = 32):
        super().__init__()
        self.embed, self.place = nn.Linear(8, width), nn.Parameter(0.02 * torch.randn(1, 8, width))
        layers = [
            nn.TransformerEncoderLayer(width, 4, 64, dropout=0.0, batch_first=True, norm_first=True) for _ in range(2)
        ]
        self.blocks, self.norm, self.head = nn.Sequential(*layers), nn.LayerNorm(width), nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, 1, 8, 8) → logits (N, num_classes)."""
        return self.head(self.norm(self.blocks(self.embed(x.squeeze(1)) + self.place)).mean(dim=1))


def signal_network(num_classes: int = 6) -> nn.Module:
    """Make a network for signals (N, 1, time) of three convolutions with batch norm."""
    layers: list[nn.Module] = []
    for channels, width in ((1, 16), (16, 32), (32, 32)):
        layers += [nn.Conv1d(channels, width, 5, 2, 2, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, num_classes))


def signals(number: int, seed: int) -> TensorDataset:
    """Make up signals (1, 64) of six waveforms, of any height and phase, in noise."""
    rng = np.random.default_rng(seed)
    kinds, time_of = rng.integers(0, 6, number), np.arange(64) / 64
    phase = 2 * np.pi * (time_of * rng.uniform(2, 4, (number, 1)) + rng.random((number, 1)))
    square, sawtooth = np.sign(np.sin(phase)), 2 * (phase / (2 * np.pi) % 1) - 1
    waves = [np.sin(phase), square, sawtooth, abs(sawtooth), np.sin(phase) ** 3, np.sin(phase + 2 * np.sin(phase))]
    shown = np.stack(waves)[kinds, np.arange(number)] * 10 ** rng.uniform(-1, 1, (number, 1))
    shown += rng.normal(0, 0.5, shown.shape) * shown.std(axis=1, keepdims=True)
    return TensorDataset(torch.tensor(shown[:, None], dtype=torch.float32), torch.tensor(kinds))


@dataclass(frozen=True)
class Case:
    """A comparison.

    Attributes:
        what: is compared, in words.
        build: makes the network.
        data: makes the images or samples.
        arms: the normalizations.
        batch_size: one or several.
        optimizer, epochs: of a run.
    """

    what: str
    build: str | Callable[..., nn.Module]
    data: Callable[[], Samples]
    arms: tuple[str, ...] = ("BN", "GN", "LN", "IN", "none")
    batch_size: tuple[int, ...] = (64,)
    optimizer: str = "sgd"
    epochs: int = 8


def waves() -> Samples:
    return Samples(signals(1500, 0), signals(2000, 1), name="waves", version="1")


def digits() -> Samples:
    """scikit-learn's digits as they are, with 8 × 8 pixels."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    x, y = torch.tensor(images[order] / 8 - 1, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(labels[order])
    return Samples(
        TensorDataset(x[:1200], y[:1200]), TensorDataset(x[1200:], y[1200:]), name="digits of 8 × 8 pixels", version="1"
    )


RESNET8 = str(CHECKOUT / "examples/resnet8.py:build")
CASES = {
    "images": Case("residual network, digits", RESNET8, digits, batch_size=(16, 64), epochs=4),
    "signals": Case("1-D network, made-up signals", signal_network, waves),
    "transformer": Case("transformer, digits", Transformer, digits, ("LN", "RMS", "DyT", "BN", "none"), (64,), "adamw"),
}


class Fixed:
    """The fixed design of a race that has been held: every arm with every rate and every seed."""

    def __init__(self, case: Case, raced: Result, folder: Path):
        network, self.data = Swapped(case.build), case.data()
        self.held_out, self.case, self.size = for_rates(self.data), case, raced.batch_size
        usual = {replace(recipe, lr=Recipe().lr) for recipe in (*raced.arms, *raced.failures)}
        self.recipes = sorted(usual, key=lambda recipe: case.arms.index(recipe.norm))
        made = candidates(network, self.recipes, (self.data, self.held_out))
        demanded = {candidate.recipe.norm: candidate.demanded for candidate in made}
        trainer, path = trainer_of(self.data, network), folder / "runs.jsonl"
        self.trainings = Trainings(trainer, path, demanded, local(1), progress=True)

    @property
    def grid(self) -> tuple[float, ...]:
        return OPTIMIZERS[self.case.optimizer].rates

    def tried(self, share: float = 1.0) -> Arms:
        """A trial of each arm at each rate, of this share of the epochs."""
        epochs = round(share * self.case.epochs)
        wanted = [replace(recipe, lr=rate, epochs=epochs) for recipe in self.recipes for rate in self.grid]
        return arms(self.trainings.run(wanted, self.held_out))

    def result(self) -> Result:
        """Every arm at the best rate of the grid, with all seeds."""
        tried = self.tried()
        rates = {recipe: best_of(recipe, tried, self.trainings.measure(tried)) for recipe in self.recipes}
        chosen = [replace(recipe, lr=rate) for recipe, rate in rates.items() if rate is not None]
        rules, chance = Rules(SEEDS, early=False), chance_of(self.data)
        held, _ = hold(self.trainings, chosen, Course(rules, self.data, chance))
        return Result(self.size, held, tried=tried, rules=rules, chance=chance)

    def shortened(self, share: float) -> Row:
        """Choose rates by short trials, with the best two of each arm at full length, and say what that costs.

        `lost` are the points on the held-out images by which each arm's rate is worse than the grid's best; `trials` is
        in full runs.
        """
        full, short = self._scores(self.tried()), self._scores(self.tried(share))
        lost, by_the_first = [], []
        for recipe, scores in full.items():
            ranked = sorted(self.grid, key=lambda rate: -short[recipe][rate])
            best = max(scores.values())
            lost.append(best - max(scores[rate] for rate in ranked[:2]))
            by_the_first.append(best - scores[ranked[0]])
        trials = len(full) * (len(self.grid) * share + 2)
        return {"share": share, "trials": trials, "lost": lost, "lost_by_the_first": by_the_first}

    def _scores(self, tried: Arms) -> Mapping[Recipe, Mapping[float, float]]:
        """The mean score of each arm at each rate; −∞ where a run failed."""
        epochs = next(iter(tried)).epochs

        def score(recipe: Recipe) -> float:
            return float(np.nan_to_num(tried[recipe].last().mean(), nan=-np.inf))

        return {
            recipe: {rate: score(replace(recipe, lr=rate, epochs=epochs)) for rate in self.grid}
            for recipe in self.recipes
        }


def left(result: Result) -> Row:
    """Say how a result ends: who is left, the best first, the means, and the sentence."""
    return {
        "left": [recipe.norm for recipe in result.verdict.best],
        "rates": {arm.recipe.norm: arm.recipe.lr for arm in result.ranked},
        "means": {arm.recipe.norm: mean.estimate for arm in result.ranked if (mean := result.mean(arm))},
        "answer": result.answer,
    }


def taken(result: Result) -> tuple[int, int]:
    """Count the trials of rates of a result, and its seeds."""
    return sum(len(arm.runs) for arm in result.tried.values()), sum(len(arm.runs) for arm in result.arms.values())


def table(saved: Sequence[Row]) -> list[str]:
    """The lines of a Markdown table: the runs of both designs, trials of rates and seeds, and which arms were left."""
    lines = ["| comparison | batch | race: runs | left | fixed design: runs | left |", "|---|--:|--:|---|--:|---|"]
    for row in saved:
        seeds = {"raced": row["raced"]["seeds"], "fixed": row["arms"] * row["seeds"]}
        ends = [
            f"{row[design]['trials'] + number} ({row[design]['trials']} + {number}) | {', '.join(row[design]['left'])}"
            for design, number in seeds.items()
        ]
        lines.append(f"| {row['what']} | {row['batch_size']} | {' | '.join(ends)} |")
    return lines


def rows(name: str, folder: Path, short: bool = False) -> list[Row]:
    """Hold both designs of one comparison, with short trials if asked, and return a row per batch size."""
    case, started = CASES[name], time.process_time()
    comparison = compare(
        case.build,
        case.data(),
        case.arms,
        SEEDS,
        case.epochs,
        case.batch_size,
        folder,
        optimizer=case.optimizer,
        device="cpu",
        price=False,
    )
    made = []
    for raced in comparison.results:
        design = Fixed(case, raced, folder)
        fixed = design.result()
        made.append(
            {
                "name": name,
                "what": case.what,
                "batch_size": raced.batch_size,
                "epochs": case.epochs,
                "optimizer": case.optimizer,
                "seeds": SEEDS,
                "arms": len(design.recipes),
                "raced": left(raced) | dict(zip(("trials", "seeds"), taken(raced))),
                "fixed": left(fixed) | dict(zip(("trials", "seeds"), taken(fixed))),
                "short": [design.shortened(share) for share in SHARES] if short else [],
                "device": device_name(torch.device("cpu")),
            }
        )
    print(f"{name}: {time.process_time() - started:.0f} s of processor time")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=CASES, nargs="+", default=list(CASES))
    parser.add_argument("--folder", type=Path, default=Path("runs/raced"))
    parser.add_argument("--short", action="store_true", help="also try rates by runs of a part of the epochs")
    given = parser.parse_args(arguments)
    for name in given.only:
        found = rows(name, given.folder / name, given.short)
        for row in found:
            print(row, flush=True)
        kept = [row for row in read(SAVED) if row["name"] != name] if SAVED.exists() else []
        write([*kept, *found], SAVED)


if __name__ == "__main__":
    main()
