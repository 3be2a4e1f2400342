"""Each published claim, and the rule that decides it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.stats import norm

from normbench.config import Config
from normbench.data import title
from normbench.experiments import MAIN, PLAIN, RESULTS, STRENGTHS, WITH_L1, finished
from normbench.gaps import ALPHA, MARGIN, gap, gaps, same, seeds_to_decide, seeds_to_tell
from normbench.runs import Arms
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
from normbench.words import roughly

CONFIRMED, REFUTED, UNDECIDED = "confirmed", "refuted", "undecided"
D_SPREAD = 77.60 - 76.45  # points between study D's GN and LN
WINNERS = {"A": "BN + L1", "E": "BN + L1", "B": "GN"}  # the best test accuracy that each study publishes


@dataclass(frozen=True)
class Claim:
    """A published claim and its verdict.

    `interval` is of what `measured` names, in `unit`, and is the one that decides; `trained` says on which trainings
    it rests; `needs` is about how many seeds an arm would decide what is undecided: infinite where no number would,
    None where that was not worked out.
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
            return f"about {roughly(self.needs)} seeds an arm would tell"
        limit = f"more than {MOST_SEEDS:,} seeds an arm would be needed"
        return "only more test images would tell" if self.unit == "points" else limit


def claims(results: Path = RESULTS) -> dict[str, Claim]:
    """The claims by a short name, decided by the finished trainings in `results`.

    Raises FileNotFoundError where trainings are missing.
    """
    mnist = finished("head_to_head", results)
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
        "strong L1": strong_l1(finished("l1_strength", results)),
        "spread": spread(finished("cifar10", results)),
        "small batches": small_batches(finished("ghosts", results)),
        "overtaken": overtaken(finished("cifar10_ghosts", results)),
    }


def verdict(confirmed: bool, refuted: bool) -> str:
    """What speaks against a claim weighs more than what speaks for it."""
    if refuted:
        return REFUTED
    return CONFIRMED if confirmed else UNDECIDED


def trained(arms: Arms) -> str:
    """What the arms were trained on, and how many seeds each has."""
    arm = next(iter(arms.values()))
    images = f"{arm.config.images:,} images of " if arm.config.images else ""
    return f"{images}{title(arm.runs[0].dataset)}, {arm.config.epochs} epochs, {len(arm.runs)} seeds an arm"


def _above(arms: Arms, pairs: Sequence[tuple[Config, Config]], study: str, says: str) -> Claim:
    """That the first arm of each pair is above the second: refuted where one is below it, or the same."""
    intervals = gaps(arms, pairs)
    against = [pair for pair in pairs if intervals[pair].high < 0 or same(intervals[pair])]
    deciding = min(against or pairs, key=lambda pair: intervals[pair].low)
    decided = verdict(all(interval.low > 0 for interval in intervals.values()), bool(against))
    needs = seeds_to_decide(arms, *deciding, len(pairs)) if decided == UNDECIDED else None
    return Claim(study, says, decided, _names(*deciding), intervals[deciding], trained(arms), needs=needs)


def _names(a: Config, b: Config) -> str:
    return f"{a.label} − {b.label}"


def best(mnist: Arms) -> Claim:
    first, *others = MAIN
    return _above(mnist, [(first, other) for other in others], "A, E", "BN + L1 is best")


def order(mnist: Arms) -> Claim:
    """Study C's models also differ in their penalties; these arms do not."""
    bn, gn, ln = (PLAIN[nm] for nm in ("BN", "GN", "LN"))
    return _above(mnist, [(gn, bn), (bn, ln)], "C", "GN is best, then BN, then LN")


def instance_norm(mnist: Arms) -> Claim:
    pairs = [(PLAIN[nm], PLAIN["IN"]) for nm in ("BN", "GN", "LN")]
    return _above(mnist, pairs, "C", "instance norm underperforms")


def consistent(mnist: Arms) -> Claim:
    """By F tests of two variances, which hold together."""
    bn, *others = (mnist[PLAIN[nm]] for nm in ("BN", "GN", "LN"))
    confidence = 1 - ALPHA / len(others)
    ratios = {other: deviation_ratio(bn.last(), other.last(), confidence) for other in others}
    against = [other for other in others if ratios[other].low > 1]
    rival = max(against or others, key=lambda other: ratios[other].high)
    decided = verdict(all(ratio.high < 1 for ratio in ratios.values()), bool(against))
    needs = _seeds_for_ratio(ratios[rival].estimate) if decided == UNDECIDED else None
    measured = f"deviation over the seeds, BN / {rival.label}"
    says = "BN is the most consistent"
    return Claim("B", says, decided, measured, ratios[rival], trained(mnist), unit="ratio", needs=needs)


def _seeds_for_ratio(ratio: float) -> float:
    """Seeds an arm that tell a ratio of deviations from 1 with 80 % power: ln s has a variance of 1 / 2(n − 1)."""
    distance = abs(math.log(ratio))
    return math.ceil(1 + ((norm.ppf(1 - ALPHA / 2) + norm.ppf(0.8)) / distance) ** 2) if distance else math.inf


def training_loss(mnist: Arms) -> Claim:
    """Refuted where its data term is above the others' by less than the penalty that the study plots with it."""
    bn, *others = (mnist[config] for config in MAIN)
    excess = difference(bn.last("train_loss"), np.mean([arm.last("train_loss") for arm in others], axis=0), paired=True)
    penalty = float(bn.last("penalty").mean())
    return Claim(
        "A",
        "the training loss of BN + L1 is quite high",
        verdict(excess.low > penalty, excess.high < penalty),
        f"its data term − the others' (its penalty: {penalty:.4f})",
        excess,
        trained(mnist),
        unit="nats",
    )


def one_seed(mnist: Arms) -> Claim:
    """The share of the most frequent winner over all combinations of one run an arm, resampled over the seeds."""
    values = {config.label: mnist[config].last() for config in MAIN}
    shares = winners(values)
    label = max(shares, key=shares.__getitem__)
    share = resampled(lambda *samples: 100 * winners(dict(zip(values, samples)))[label], list(values.values()))
    return Claim(
        "A to E",
        "one training of each shows which is best",
        verdict(share.low > 95, share.high < 95),
        f"how often {label}, the most frequent winner, wins (chance: {100 / len(values):.0f} %)",
        share,
        trained(mnist),
        unit="%",
    )


def best_epoch(mnist: Arms) -> Claim:
    gains = np.concatenate([mnist[config].best() - mnist[config].last() for config in MAIN])
    return Claim(
        "A to E",
        "the best epoch's test accuracy is the model's",
        verdict(summary(gains).high < MARGIN, summary(gains).low > MARGIN),
        "best epoch − last epoch",
        _interval(summary(gains)),
        trained(mnist),
    )


def normalization_matters(mnist: Arms) -> Claim:
    """At equal penalty: confirmed where any two differ, refuted where all are the same."""
    pairs = list(combinations([PLAIN[nm] for nm in ("BN", "GN", "LN", "IN")], 2))
    ordered = [(a, b) if mnist[a].accuracy.mean >= mnist[b].accuracy.mean else (b, a) for a, b in pairs]
    intervals = gaps(mnist, ordered)
    widest = max(intervals, key=lambda pair: intervals[pair].low)
    decided = verdict(intervals[widest].low > 0, all(map(same, intervals.values())))
    if decided != CONFIRMED:
        widest = max(intervals, key=lambda pair: intervals[pair].high)
    needs = seeds_to_decide(mnist, *widest, len(pairs)) if decided == UNDECIDED else None
    says = "the normalizations differ in accuracy"
    return Claim("A to E", says, decided, _names(*widest), intervals[widest], trained(mnist), needs=needs)


def l1_gain(mnist: Arms) -> Claim:
    """Confirmed where no normalization gains as much as the margin, refuted where one gains."""
    pairs = [(with_l1, PLAIN[nm]) for nm, with_l1 in WITH_L1.items()]
    intervals = gaps(mnist, pairs)
    gaining = [pair for pair in pairs if intervals[pair].low > 0]
    largest = max(gaining or pairs, key=lambda pair: intervals[pair].high)
    decided = verdict(all(interval.high < MARGIN for interval in intervals.values()), bool(gaining))
    needs = seeds_to_decide(mnist, *largest, len(pairs)) if decided == UNDECIDED else None
    says = "L1 is not effective in a CNN"
    return Claim("E", says, decided, _names(*largest), intervals[largest], trained(mnist), needs=needs)


def l1_cost(mnist: Arms) -> Claim:
    pair = WITH_L1["BN"], PLAIN["BN"]
    cost = gap(mnist, *pair)
    decided = verdict(cost.low > -MARGIN, cost.high < 0 and cost.low <= -MARGIN)
    distance = abs(cost.estimate + MARGIN)
    needs = seeds_to_tell(mnist, *pair, distance=distance) if decided == UNDECIDED else None
    says = "λ = 1e-4 costs BN nothing (99.26 against 99.28 %)"
    return Claim("B", says, decided, _names(*pair), cost, trained(mnist), needs=needs)


def strong_l1(arms: Arms) -> Claim:
    by_subgradient = {config.l1: arms[config] for config in STRENGTHS if not config.proximal}
    without, strong = by_subgradient[0], by_subgradient[1e-3]
    loss = difference(strong.last("train_accuracy"), without.last("train_accuracy"))
    return Claim(
        "B",
        "λ = 1e-3 caps the training accuracy",
        verdict(loss.high < 0, loss.low > 0),
        "training accuracy with λ = 1e-3 − without",
        loss,
        trained(arms),
    )


def spread(cifar10: Arms) -> Claim:
    """D's code builds batch norm in all three of its models."""
    gn, ln = (next(config for config in cifar10 if config.nm == nm) for nm in ("GN", "LN"))
    apart = gap(cifar10, gn, ln)
    decided = verdict(apart.low > 0 and apart.high >= D_SPREAD, apart.high < D_SPREAD)
    distance = abs(D_SPREAD - apart.estimate)
    return Claim(
        "D",
        f"on CIFAR-10, GN is {D_SPREAD:.2f} points above LN",
        decided,
        _names(gn, ln),
        apart,
        trained(cifar10),
        needs=seeds_to_tell(cifar10, gn, ln, distance=distance) if decided == UNDECIDED else None,
    )


def small_batches(ghosts: Arms) -> Claim:
    """In batches of one size, of whose images BN's statistics take 2 or 32."""
    few, many = (_ghost(ghosts, images) for images in (2, 32))
    loss = gap(ghosts, many, few)
    return Claim(
        "Wu & He",
        "BN loses accuracy where few images share its statistics",
        verdict(loss.low > 0, loss.high < 0),
        "BN with 32 images a statistic − with 2",
        loss,
        trained(ghosts),
        needs=seeds_to_tell(ghosts, many, few) if loss.low <= 0 <= loss.high else None,
    )


def overtaken(ghosts: Arms) -> Claim:
    """Group norm's statistics always take one image."""
    gn = next(config for config in ghosts if config.nm == "GN")
    says = "GN is more accurate than BN where few images share BN's statistics"
    return _above(ghosts, [(gn, _ghost(ghosts, 2))], "Wu & He", says)


def _ghost(ghosts: Arms, images: int) -> Config:
    return next(config for config in ghosts if config.nm == "BN" and config.ghost == images)


def _interval(sample: Summary) -> Interval:
    return Interval(sample.mean, sample.low, sample.high)
