"""Each published claim, and the rule that decides it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.stats import norm as normal

from normbench.comparison import ALPHA, MARGIN, gap, gaps, same, seeds_to_decide, seeds_to_tell
from normbench.runs import Arms, conditions
from normbench.stats import (
    MOST_SEEDS,
    Interval,
    Summary,
    deviation_ratio,
    difference,
    resampled,
    summary,
    winners,
)
from normbench.training import Recipe, labels
from normbench.words import roughly
from study.experiments import (
    BY_GHOST,
    GHOSTS_ON_CIFAR10,
    MAIN,
    ON_CIFAR10,
    PLAIN,
    RESULTS,
    STRENGTHS,
    WITH_L1,
    finished,
)

CONFIRMED, REFUTED, UNDECIDED = "confirmed", "refuted", "undecided"
D_SPREAD = 77.60 - 76.45  # points between study D's GN and LN
# The model with the best test accuracy that each study publishes.
WINNERS = {
    "A": WITH_L1["BN"],
    "E": WITH_L1["BN"],
    "B": PLAIN["GN:2"],
}

Pair = tuple[Recipe, Recipe]


@dataclass(frozen=True)
class Claim:
    """A published claim and its verdict.

    Attributes:
        study: who claims it.
        says: the claim.
        verdict: `CONFIRMED`, `REFUTED` or `UNDECIDED`.
        measured: what the interval is of.
        interval: the one that decides, in `unit`.
        trained: on which trainings it rests.
        unit: "points" of accuracy, "ratio", "nats" or "%".
        needs: about how many seeds per arm would decide what is undecided: infinite if no number would, None if that
            was not worked out.
    """

    study: str
    says: str
    verdict: str
    measured: str
    interval: Interval
    trained: str
    unit: str = "points"
    needs: float | None = None

    @property
    def hint(self) -> str:
        """What would decide an undecided claim."""
        if self.verdict != UNDECIDED or self.needs is None:
            return ""
        if self.needs <= MOST_SEEDS:
            return f"about {roughly(self.needs)} seeds per arm would decide"
        limit = f"more than {MOST_SEEDS:,} seeds per arm would be needed"
        return "only more test images would decide" if self.unit == "points" else limit


def claims(results: Path = RESULTS) -> dict[str, Claim]:
    """Return the claims by a short name, decided by the finished trainings in `results`.

    Seeds with which a training failed are left out, in every arm that a claim may be about. None is about the network
    without normalization.

    Raises FileNotFoundError if trainings are missing.
    """
    trained = finished("head_to_head", results)
    mnist = without_failures({recipe: arm for recipe, arm in trained.items() if recipe != PLAIN["none"]})
    return {
        "best": best(mnist),
        "order": order(mnist),
        "consistent": consistent(mnist),
        "training loss": training_loss(mnist),
        "one seed": one_seed(mnist),
        "best epoch": best_epoch(mnist),
        "normalization": normalization_matters(mnist),
        "instance norm": instance_norm(mnist),
        "L1 gain": l1_gain(mnist),
        "L1 cost": l1_cost(mnist),
        "strong L1": strong_l1(without_failures(finished("l1_strength", results))),
        "spread": spread(without_failures(finished("cifar10", results))),
        "small batches": small_batches(without_failures(finished("ghosts", results))),
        "overtaken": overtaken(without_failures(finished("cifar10_ghosts", results))),
    }


def without_failures(arms: Arms) -> Arms:
    """Return the arms with the seeds with which no training failed, so that differences can be taken seed by seed."""
    failed = {run.recipe.seed for arm in arms.values() for run in arm.runs if run.failure}
    return {
        recipe: replace(arm, runs=tuple(run for run in arm.runs if run.recipe.seed not in failed))
        for recipe, arm in arms.items()
    }


def verdict(confirmed: bool, refuted: bool) -> str:
    """Decide: what speaks against a claim has more weight than what speaks for it."""
    if refuted:
        return REFUTED
    return CONFIRMED if confirmed else UNDECIDED


def best(mnist: Arms) -> Claim:
    """BN + L1 against the other two of the three models that are compared."""
    first, *others = MAIN
    return _above(mnist, [(first, other) for other in others], "A, E", "BN + L1 is best")


def order(mnist: Arms) -> Claim:
    """Study C's models also differ in their penalties; these arms do not."""
    bn, gn, ln = (PLAIN[norm] for norm in ("BN", "GN:2", "LN"))
    return _above(mnist, [(gn, bn), (bn, ln)], "C", "GN is best, then BN, then LN")


def instance_norm(mnist: Arms) -> Claim:
    """Instance norm against each of the others, all without a penalty."""
    pairs = [(PLAIN[norm], PLAIN["IN"]) for norm in ("BN", "GN:2", "LN")]
    return _above(mnist, pairs, "C", "instance norm underperforms")


def consistent(mnist: Arms) -> Claim:
    """F tests of two variances, whose intervals hold simultaneously."""
    bn, *others = (mnist[PLAIN[norm]] for norm in ("BN", "GN:2", "LN"))
    confidence = 1 - ALPHA / len(others)
    ratios = {other: deviation_ratio(bn.last(), other.last(), confidence) for other in others}
    against = [other for other in others if ratios[other].low > 1]
    rival = max(against or others, key=lambda other: ratios[other].high)
    decided = verdict(all(ratio.high < 1 for ratio in ratios.values()), bool(against))
    return Claim(
        "B",
        "BN is the most consistent",
        decided,
        f"standard deviation over the seeds, BN / {labels(mnist)[rival.recipe]}",
        ratios[rival],
        conditions(mnist.values()),
        unit="ratio",
        needs=seeds_for_ratio(ratios[rival].estimate) if decided == UNDECIDED else None,
    )


def seeds_for_ratio(ratio: float) -> float:
    """Return the seeds per arm that distinguish a ratio of standard deviations from 1 with 80 % power.

    The logarithm of a standard deviation has a variance of 1 / 2(n − 1). Infinite for a ratio of 1.
    """
    distance = abs(math.log(ratio))
    quantiles = normal.ppf(1 - ALPHA / 2) + normal.ppf(0.8)
    return math.ceil(1 + (quantiles / distance) ** 2) if distance else math.inf


def training_loss(mnist: Arms) -> Claim:
    """Refuted if its data term is above the others' by less than the penalty that the study plots with it."""
    bn, *others = (mnist[recipe] for recipe in MAIN)
    excess = difference(bn.last("train_loss"), np.mean([arm.last("train_loss") for arm in others], axis=0), paired=True)
    penalty = float(bn.last("penalty").mean())
    return Claim(
        "A",
        "the training loss of BN + L1 is quite high",
        verdict(excess.low > penalty, excess.high < penalty),
        f"its data term − the others' (its penalty: {penalty:.4f})",
        excess,
        conditions(mnist.values()),
        unit="nats",
    )


def one_seed(mnist: Arms) -> Claim:
    """The share of the most frequent winner over all combinations of one run per arm, resampled over the seeds."""
    names = labels(mnist)
    values = {names[recipe]: mnist[recipe].last() for recipe in MAIN}
    shares = winners(values)
    most = max(shares, key=shares.__getitem__)
    share = resampled(lambda *samples: 100 * winners(dict(zip(values, samples)))[most], list(values.values()))
    return Claim(
        "A to E",
        "one training of each shows which is best",
        verdict(share.low > 95, share.high < 95),
        f"how often {most}, the most frequent winner, wins (chance: {100 / len(values):.0f} %)",
        share,
        conditions(mnist.values()),
        unit="%",
    )


def best_epoch(mnist: Arms) -> Claim:
    """How much the best epoch flatters, over the runs of the three models that are compared."""
    gains = summary(np.concatenate([mnist[recipe].best() - mnist[recipe].last() for recipe in MAIN]))
    return Claim(
        "A to E",
        "the best epoch's test accuracy is the model's",
        verdict(gains.high < MARGIN, gains.low > MARGIN),
        "best epoch − last epoch",
        _interval(gains),
        conditions(mnist.values()),
    )


def normalization_matters(mnist: Arms) -> Claim:
    """At equal penalty: confirmed if any two differ, refuted if all are the same."""
    pairs = list(combinations([PLAIN[norm] for norm in ("BN", "GN:2", "LN", "IN")], 2))
    ordered = [(a, b) if mnist[a].accuracy.mean >= mnist[b].accuracy.mean else (b, a) for a, b in pairs]
    intervals = gaps(mnist, ordered)
    widest = max(intervals, key=lambda pair: intervals[pair].low)
    decided = verdict(intervals[widest].low > 0, all(map(same, intervals.values())))
    if decided != CONFIRMED:
        widest = max(intervals, key=lambda pair: intervals[pair].high)
    needs = seeds_to_decide(mnist, *widest, len(pairs)) if decided == UNDECIDED else None
    return _of_pair(mnist, "A to E", "the normalizations differ in accuracy", decided, widest, intervals[widest], needs)


def l1_gain(mnist: Arms) -> Claim:
    """Confirmed if no normalization gains as much as the margin, refuted if one gains."""
    pairs = [(with_l1, PLAIN[norm]) for norm, with_l1 in WITH_L1.items()]
    intervals = gaps(mnist, pairs)
    gaining = [pair for pair in pairs if intervals[pair].low > 0]
    largest = max(gaining or pairs, key=lambda pair: intervals[pair].high)
    decided = verdict(all(interval.high < MARGIN for interval in intervals.values()), bool(gaining))
    needs = seeds_to_decide(mnist, *largest, len(pairs)) if decided == UNDECIDED else None
    return _of_pair(mnist, "E", "L1 is not effective in a CNN", decided, largest, intervals[largest], needs)


def l1_cost(mnist: Arms) -> Claim:
    """Confirmed if BN with L1 is surely less than the margin behind BN without it."""
    pair = WITH_L1["BN"], PLAIN["BN"]
    cost = gap(mnist, *pair)
    decided = verdict(cost.low > -MARGIN, cost.high < 0 and cost.low <= -MARGIN)
    distance = abs(cost.estimate + MARGIN)
    needs = seeds_to_tell(mnist, *pair, distance=distance) if decided == UNDECIDED else None
    return _of_pair(mnist, "B", "λ = 1e-4 costs BN nothing (99.26 against 99.28 %)", decided, pair, cost, needs)


def strong_l1(arms: Arms) -> Claim:
    """By its subgradient, as the study applies it."""
    by_subgradient = {recipe.l1: arms[recipe] for recipe in STRENGTHS if not recipe.proximal}
    without, strong = by_subgradient[0], by_subgradient[1e-3]
    loss = difference(strong.last("train_accuracy"), without.last("train_accuracy"))
    return Claim(
        "B",
        "λ = 1e-3 caps the training accuracy",
        verdict(loss.high < 0, loss.low > 0),
        "training accuracy with λ = 1e-3 − without",
        loss,
        conditions(arms.values()),
    )


def spread(cifar10: Arms) -> Claim:
    """D's code builds batch norm in all three of its models."""
    pair = ON_CIFAR10["WS+GN:2"], ON_CIFAR10["WS+LN"]
    apart = gap(cifar10, *pair)
    decided = verdict(apart.low > 0 and apart.high >= D_SPREAD, apart.high < D_SPREAD)
    distance = abs(D_SPREAD - apart.estimate)
    needs = seeds_to_tell(cifar10, *pair, distance=distance) if decided == UNDECIDED else None
    return _of_pair(cifar10, "D", f"on CIFAR-10, GN is {D_SPREAD:.2f} points above LN", decided, pair, apart, needs)


def small_batches(ghosts: Arms) -> Claim:
    """In batches of one size, of whose images BN's statistics take 2 or 32."""
    pair = BY_GHOST["BN:32"], BY_GHOST["BN:2"]
    loss = gap(ghosts, *pair)
    return Claim(
        "Wu & He",
        "BN loses accuracy where few images share its statistics",
        verdict(loss.low > 0, loss.high < 0),
        "BN with 32 images per statistic − with 2",
        loss,
        conditions(ghosts.values()),
        needs=seeds_to_tell(ghosts, *pair) if loss.low <= 0 <= loss.high else None,
    )


def overtaken(ghosts: Arms) -> Claim:
    """Group norm's statistics always come from one image."""
    pair = GHOSTS_ON_CIFAR10["WS+GN:2"], GHOSTS_ON_CIFAR10["WS+BN:2"]
    return _above(ghosts, [pair], "Wu & He", "GN is more accurate than BN where few images share BN's statistics")


def _above(arms: Arms, pairs: Sequence[Pair], study: str, says: str) -> Claim:
    """That the first arm of each pair is above the second: refuted if one is below it, or the same."""
    intervals = gaps(arms, pairs)
    against = [pair for pair in pairs if intervals[pair].high < 0 or same(intervals[pair])]
    deciding = min(against or pairs, key=lambda pair: intervals[pair].low)
    decided = verdict(all(interval.low > 0 for interval in intervals.values()), bool(against))
    needs = seeds_to_decide(arms, *deciding, len(pairs)) if decided == UNDECIDED else None
    return _of_pair(arms, study, says, decided, deciding, intervals[deciding], needs)


def _of_pair(
    arms: Arms, study: str, says: str, decided: str, pair: Pair, interval: Interval, needs: float | None
) -> Claim:
    names = labels(arms)
    measured = f"{names[pair[0]]} − {names[pair[1]]}"
    return Claim(study, says, decided, measured, interval, conditions(arms.values()), needs=needs)


def _interval(sample: Summary) -> Interval:
    return Interval(sample.mean, sample.low, sample.high)
