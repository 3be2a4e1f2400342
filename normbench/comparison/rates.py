"""Learning rates: each arm gets the one that is best for it on held-out training images."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from normbench.comparison.trainings import Trainings
from normbench.data import Task
from normbench.runs import Arms, Measure
from normbench.training import Recipe, Run

WIDENINGS = 4  # how often an arm's rates are widened at most
BY_ACCURACY = Measure()


def tried_rates(trainings: Trainings, recipes: Sequence[Recipe], grid: Sequence[float], held_out: Task) -> Arms:
    """Train each recipe with each rate, and with more rates while the best is the lowest or the highest tried."""
    grids = {recipe: sorted(grid) for recipe in recipes}
    tried: Arms = {}
    for widening in range(WIDENINGS + 1):
        planned = [replace(recipe, lr=rate) for recipe, rates in grids.items() for rate in rates]
        tried = trainings.run(planned, (0,), held_out)
        beyond = {
            recipe: next_rate(rates, best_rate(recipe, tried, trainings.measure(tried)))
            for recipe, rates in grids.items()
            if not all(run.raised for run in runs_of(recipe, tried))  # another rate would not help
        }
        if widening == WIDENINGS or not any(beyond.values()):
            break
        grids = {recipe: sorted({*rates, beyond.get(recipe) or rates[0]}) for recipe, rates in grids.items()}
    return tried


def best_rate(recipe: Recipe, tried: Arms, measure: Measure = BY_ACCURACY) -> float | None:
    """Return the rate of `recipe` that scored best, of equals that of the lower loss; None if every run failed."""
    learned = [run for run in runs_of(recipe, tried) if not run.failure]
    if not learned:
        return None
    return max(learned, key=lambda run: (measure.sign * run.score, -run.last.get("test_loss", 0.0))).recipe.lr


def next_rate(grid: Sequence[float], best: float | None) -> float | None:
    """Return the rate to try beyond the best if that is at an edge of the sorted grid; None if it lies inside.

    Where every rate failed, and there is no best, the next one is lower.
    """
    if best is None or best == grid[0]:
        return float(f"{grid[0] ** 2 / grid[1]:.1g}")
    return float(f"{grid[-1] ** 2 / grid[-2]:.1g}") if best == grid[-1] else None


def why_no_rate(recipe: Recipe, tried: Arms) -> str:
    """Say which rates failed, and how."""
    runs = runs_of(recipe, tried)
    rates = sorted(run.recipe.lr for run in runs)
    failures = counted(run.failure for run in runs)
    return f"no learning rate from {rates[0]:g} to {rates[-1]:g} could be trained ({failures})"


def runs_of(recipe: Recipe, tried: Arms) -> list[Run]:
    """Return the runs of `recipe` with the rates that were tried."""
    return [arm.runs[0] for key, arm in tried.items() if replace(key, lr=recipe.lr) == recipe]


def counted(failures: Iterable[str]) -> str:
    """Say how many runs failed, by the reason: "2 diverged, 1 out of memory"."""
    return ", ".join(f"{n} {failure}" for failure, n in Counter(failures).items())
