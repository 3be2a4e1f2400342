"""Simulate races: how many runs they take, how often they are wrong, and whether their intervals are true.

    nice -n 19 python -m study.benchmarks.race [--races 4000] [--replays]

prints a table of made-up comparisons whose truth is known, and with --replays one of the study's own finished runs, in
which all arms have all seeds and the order of the seeds is drawn anew. Scores of a run are normal with deviation 1,
unless it says something else; a fixed design takes arms × seeds runs.
"""

import argparse
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtrit

from normbench.comparison.race import FAILS, FIRST_LOOK, HOPELESS, Rules, Sample, chance_of_a_lead, race
from normbench.comparison.search import best_rate, trials
from normbench.runs import Arm, Arms
from normbench.stats import level, scatter
from normbench.training import Recipe, labels
from study.experiments import finished

REPLAYED = ("cifar10", "small_batches", "l1_strength", "ghosts", "head_to_head")
RATES_REPLAYED = ("rates", "cifar10_rates", "small_batches_rates")


@dataclass(frozen=True)
class Truth:
    """Made-up arms.

    Attributes:
        name: what is so.
        means: of the arms.
        deviations: of the arms; the last one's may differ.
        heavy: whether scores have Student's t with three degrees of freedom, scaled to the same deviation.
        fails: how often a run of the last arm fails.
    """

    name: str
    means: np.ndarray
    deviations: np.ndarray
    heavy: bool = False
    fails: float = 0.0

    def scores(self, races: int, seeds: int, rng: np.random.Generator) -> np.ndarray:
        """Draw the scores of all runs, (races, arms, seeds), nan where one fails."""
        shape = races, len(self.means), seeds
        drawn = rng.standard_t(3, shape) / np.sqrt(3) if self.heavy else rng.standard_normal(shape)
        drawn = self.means[:, None] + self.deviations[:, None] * drawn
        drawn[:, -1][rng.random((races, seeds)) < self.fails] = np.nan
        return drawn


def truths(arms: int) -> Iterator[Truth]:
    """Make up comparisons of so many arms."""
    equal, same = np.zeros(arms), np.ones(arms)
    first = np.eye(arms)[0]
    wild = np.where(np.arange(arms) == arms - 1, 20.0, 1.0)
    yield Truth("equal", equal, same)
    for ahead in (5, 3, 2, 1):
        yield Truth(f"one {ahead} ahead", ahead * first, same)
    if arms > 2:
        yield Truth("two tied, others 4 behind", np.where(np.arange(arms) < 2, 0.0, -4.0), same)
    yield Truth("equal, one scatters 20-fold", equal, wild)
    yield Truth("one 2 ahead, one scatters 20-fold", 2 * first, wild)
    yield Truth("equal, one scatters 3-fold", equal, np.minimum(wild, 3))
    yield Truth("equal, heavy tails", equal, same, heavy=True)
    yield Truth("one 3 ahead, heavy tails", 3 * first, same, heavy=True)
    yield Truth("equal, one fails in a fifth", equal, same, fails=0.2)


@dataclass(frozen=True)
class Races:
    """How simulated races ended.

    Attributes:
        racing: which arms were left, (races, arms).
        runs: how many each arm had, (races, arms).
        leader: the best of those left, (races,).
        low, high: the ends of the interval of the leader's lead over each arm, (races, arms).
    """

    racing: np.ndarray
    runs: np.ndarray
    leader: np.ndarray
    low: np.ndarray
    high: np.ndarray


def simulated(scores: np.ndarray, first_look: int = FIRST_LOOK, hopeless: float = HOPELESS) -> Races:
    """Hold all races of scores (races, arms, seeds) at once, by the rules of `normbench.comparison.race`.

    Test examples are not known, no margin is stated, and runs have failed where they are nan. A test asserts that the
    same comes out.
    """
    races, arms, seeds = scores.shape
    racing, runs, over = np.ones((races, arms), bool), np.zeros((races, arms), int), np.zeros(races, bool)
    leader, low, high = np.zeros(races, int), np.zeros((races, arms)), np.zeros((races, arms))
    kept, kept_for = (
        np.zeros((2, races, arms)),
        np.full((races, arms), -1),
    )  # intervals of arms that are out, and of whom
    nominal = level(arms, seeds)
    factor = -stdtrit(arms * (seeds - 1), nominal)
    for number in range(1, seeds + 1):
        going = ~over
        runs[racing & going[:, None]] = number
        seen = np.where(np.arange(seeds) < runs[:, :, None], scores, np.nan)
        learned = np.isfinite(seen)
        count = learned.sum(axis=2)
        racing[going] &= ((runs - count) <= np.maximum(1, FAILS * runs))[going]
        mean = np.where(learned, seen, 0).sum(axis=2) / np.maximum(count, 1)
        variance = np.where(learned, (seen - mean[:, :, None]) ** 2, 0).sum(axis=2) / np.maximum(count - 1, 1)
        spread = scatter(variance, np.maximum(count - 1, 0), 0.0, racing)
        steady = racing & (count == runs)
        steady = np.where(steady.any(axis=1)[:, None], steady, racing & (count > 0))
        best = np.where(steady, mean, -np.inf).argmax(axis=1)
        error, freedom = spread.error(count, best)
        lead = np.take_along_axis(mean, best[:, None], 1) - mean
        reach = -stdtrit(freedom, nominal) * np.sqrt(error)
        other = np.arange(arms) != best[:, None]
        compared = other & (np.minimum(count, np.take_along_axis(count, best[:, None], 1)) > 1)
        now = np.where(kept_for == best[:, None], kept, np.stack([lead - reach, lead + reach]))
        leader[going], low[going], high[going] = best[going], now[0][going], now[1][going]
        if number >= min(first_look, seeds):
            behind = racing & compared & (lead - reach > 0) & going[:, None]
            racing &= ~behind
            kept_for = np.where(behind, best[:, None], kept_for)
            kept = np.where(behind, np.stack([lead - reach, lead + reach]), kept)
        over |= racing.sum(axis=1) < 2
        if number >= first_look and number < seeds:
            of_a_run = spread.variance + np.take_along_axis(spread.variance, best[:, None], 1)
            chance = chance_of_a_lead(abs(lead), of_a_run, 0.0, np.maximum(count, 1), seeds, factor)
            rivals = racing & other
            over |= (~rivals | (compared & (chance < hopeless))).all(axis=1)
    return Races(racing, runs, leader, low, high)


HEAD = "runs  best out  tie won   found  intervals true, all of a race"


def judged(truth: Truth, held: Races) -> str:
    """Say of races, in columns: runs, wrong verdicts, right ones, and how often intervals are true.

    "best out": the first arm, if it is one of the best, was thrown out. "tie won": one of several best ones was said to
    be the best. "found": the only best one was.
    """
    means = truth.means
    best = (means == means.max()) & ~((np.arange(len(means)) == len(means) - 1) & (truth.fails > 0))
    lead = means[held.leader][:, None] - means
    others = np.arange(len(means)) != held.leader[:, None]
    missed = others & ~((held.low <= lead) & (lead <= held.high))
    won = (held.racing.sum(axis=1) == 1) & best[held.racing.argmax(axis=1)]
    shares = {
        "best out": (~held.racing[:, 0]).mean(),
        "tie won": won.mean() if best.sum() > 1 else np.nan,
        "found": won.mean() if best.sum() == 1 else np.nan,
        "interval": 1 - missed.sum() / others.sum(),
        "all": 1 - missed.any(axis=1).mean(),
    }
    columns = ("     –" if np.isnan(share) else f"{share:6.1%}" for share in shares.values())
    return f"{held.runs.sum(axis=1).mean():6.1f}  " + "   ".join(columns)


def of_truths(arms: int, seeds: int, races: int, rng: np.random.Generator) -> None:
    """Print the table of made-up comparisons, and what becomes of races that go on with more seeds."""
    print(f"\n{arms} arms, up to {seeds} seeds: {arms * seeds} runs in a fixed design\n{'':34s}  {HEAD}")
    for truth in truths(arms):
        print(f"{truth.name:34s}  {judged(truth, simulated(truth.scores(races, seeds, rng)))}", flush=True)
    drawn = Truth("", np.zeros(arms), np.ones(arms)).scores(races, 2 * seeds, rng)
    first, longer = simulated(drawn[:, :, :seeds]), simulated(drawn)
    undecided = first.racing.sum(axis=1) > 1
    out = np.where(undecided, ~longer.racing[:, 0], ~first.racing[:, 0]) | ~first.racing[:, 0]
    print(f"equal, undecided ones go on to {2 * seeds:2d}    best out in either: {out.mean():.1%}", flush=True)


def of_finished(name: str, times: int, rng: np.random.Generator) -> None:
    """Print how races of an experiment's finished runs end, with the seeds in a random order, and what they save."""
    for batch_size, arms in sorted(_by_batch_size(finished(name)).items()):
        seeds = min(len(arm.runs) for arm in arms.values())
        names, ends = labels(arms), Counter[str]()
        runs = 0
        for _ in range(times):
            orders = {recipe: rng.permutation(len(arm.runs))[:seeds] for recipe, arm in arms.items()}
            samples = {recipe: _sample(arm, orders[recipe]) for recipe, arm in arms.items()}
            end = race(samples, Rules(seeds))[-1]
            runs += sum(n for _, n in end.learned.values())
            ends[", ".join(sorted(names[recipe] for recipe in end.racing))] += 1
        left = "; ".join(f"{who} {n / times:.0%}" for who, n in ends.most_common(3))
        print(
            f"{name}, batches of {batch_size}: {seeds * len(arms)} runs, raced {runs / times:.1f}; left: {left}",
            flush=True,
        )


def _by_batch_size(arms: Arms) -> dict[int, Arms]:
    sizes = {recipe.batch_size for recipe in arms}
    return {size: {recipe: arm for recipe, arm in arms.items() if recipe.batch_size == size} for size in sizes}


def _sample(arm: Arm, order: np.ndarray) -> Sample:
    examples = np.array([100.0 * arm.runs[i].correct.numpy() for i in order])
    return Sample(arm.last()[order], examples)


def of_rates(name: str) -> None:
    """Print how many of an experiment's trials of learning rates a search takes, and what it loses by that.

    Each arm starts at the best rate of the one before. Rates beyond the grid were not tried, and count as worse.
    """
    made, known, lost = 0, 0, []
    start: dict[int, float] = {}
    for recipe, scores in _by_rate(finished(name)).items():
        grid = sorted(scores)
        tried: dict[float, list[float]] = {}
        while wanted := trials(tried, grid, start.get(recipe.batch_size, grid[len(grid) // 2])):
            tried |= {rate: [scores.get(rate, -math.inf)] for rate, _ in wanted}
        best = best_rate({rate: tried[rate] for rate in tried if rate in scores}) or grid[0]
        start[recipe.batch_size] = best
        made, known = made + len(tried.keys() & scores.keys()), known + len(scores)
        lost.append(np.nanmax(list(scores.values())) - scores[best])
    print(
        f"{name}: {known} trials in the grid, {made} made; points lost: {max(lost):.2f} at most",
        flush=True,
    )


def _by_rate(arms: Arms) -> dict[Recipe, dict[float, float]]:
    """Gather the arms that differ in their rate alone: the mean score of each rate, nan where a run failed."""
    families: dict[Recipe, dict[float, float]] = {}
    for recipe, arm in arms.items():
        families.setdefault(replace(recipe, lr=Recipe().lr), {})[recipe.lr] = float(arm.last().mean())
    return families


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--races", type=int, default=4000)
    parser.add_argument("--replays", action="store_true")
    arguments, rng = parser.parse_args(), np.random.default_rng(0)
    if arguments.replays:
        for name in REPLAYED:
            of_finished(name, min(arguments.races, 100), rng)
        for name in RATES_REPLAYED:
            of_rates(name)
        return
    for arms in (2, 5, 8):
        for seeds in (5, 10, 20):
            of_truths(arms, seeds, arguments.races, rng)


if __name__ == "__main__":
    main()
