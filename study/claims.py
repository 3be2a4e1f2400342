"""Each published claim, and the rule that decides it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from normbench import stats
from normbench.comparison import same
from normbench.runs import Arms, conditions
from normbench.stats import Interval
from normbench.training import Recipe, labels
from normbench.words import fixed, roughly
from study import families
from study.experiments import (
    BY_GHOST,
    GHOSTS_ON_CIFAR10,
    MAIN,
    ON_CIFAR10,
    PLAIN,
    RESULTS,
    STRENGTHS,
    STUDY_C,
    WITH_L1,
    finished,
)

CONFIRMED, REFUTED, UNDECIDED = "confirmed", "refuted", "undecided"
MEASURED = "measured"  # of what is a matter of degree
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
        verdict: `CONFIRMED`, `REFUTED`, `UNDECIDED` or `MEASURED`.
        measured: what the interval is of.
        interval: the one that decides, in `unit`.
        trained: on which runs it rests.
        unit: "points" of accuracy, "nats" or "%".
        hint: what is to be said of an undecided claim.
    """

    study: str
    says: str
    verdict: str
    measured: str
    interval: Interval
    trained: str
    unit: str = "points"
    hint: str = ""


def claims(results: Path = RESULTS) -> dict[str, Claim]:
    """Return the claims by a short name, decided by the finished runs in `results`.

    Two arms have the interval that their experiment gives them: see `families`. Raises FileNotFoundError if runs are
    missing.
    """
    return {name: rule(finished(experiment, results)) for name, (experiment, rule) in RULES.items()}


def verdict(confirmed: bool, refuted: bool) -> str:
    """Decide: what speaks against a claim has more weight than what speaks for it."""
    if refuted:
        return REFUTED
    return CONFIRMED if confirmed else UNDECIDED


def best(mnist: Arms) -> Claim:
    """BN + L1 against the other two of the three models that are compared."""
    first, *others = MAIN
    return _above("head_to_head", mnist, [(first, other) for other in others], "A, E", "BN + L1 is best")


def order(mnist: Arms) -> Claim:
    """Of normalizations alone: study C's models also differ in their penalties."""
    bn, gn, ln = (PLAIN[norm] for norm in ("BN", "GN:2", "LN"))
    pairs = [(gn, bn), (bn, ln)]
    return _above("head_to_head", mnist, pairs, "C", "GN is best, then BN, then LN: the normalizations alone")


def order_as_published(study_c: Arms) -> Claim:
    """Of the models that study C compares, each with the penalties that it has there."""
    bn, gn, ln, _ = STUDY_C
    says = "GN is best, then BN, then LN: its models, GN + L1, BN + L1 + L2 and LN + L2"
    return _above("study_c", study_c, [(gn, bn), (bn, ln)], "C", says)


def instance_norm(mnist: Arms) -> Claim:
    """Instance norm against each of the others, all without a penalty."""
    pairs = [(PLAIN[norm], PLAIN["IN"]) for norm in ("BN", "GN:2", "LN")]
    return _above("head_to_head", mnist, pairs, "C", "instance norm underperforms")


def consistent(mnist: Arms) -> Claim:
    """By what seeds add to the chance of the test images: that is the same for all networks of one accuracy."""
    bn, *others = (mnist[PLAIN[norm]] for norm in ("BN", "GN:2", "LN"))
    confidence = 1 - families.ALPHA / (1 + len(others))
    excess = {arm.recipe: stats.excess_deviation(arm.correct, confidence) for arm in (bn, *others)}
    own = excess.pop(bn.recipe)
    return Claim(
        "B",
        "BN is the most consistent",
        verdict(
            all(own.high < other.low for other in excess.values()),
            any(other.high < own.low for other in excess.values()),
        ),
        "BN’s standard deviation over the seeds, beyond the chance of test images "
        f"(the others’: at most {fixed(max(other.high for other in excess.values()), 3)})",
        own,
        conditions([bn, *others]),
    )


def training_loss(mnist: Arms) -> Claim:
    """What the study plots holds the penalty, too; what is left of its excess is that of the data term."""
    with_l1, without = WITH_L1["BN"], PLAIN["BN"]
    excess = families.gap_of("head_to_head", mnist, "train_loss", with_l1, without)
    penalty = np.mean(families.last(mnist[with_l1], "penalty"))
    return Claim(
        "A",
        "the training loss of BN + L1 is quite high",
        MEASURED,
        f"its data term − that of BN (the penalty plotted with it: {penalty:.4f})",
        excess,
        conditions([mnist[with_l1], mnist[without]]),
        unit="nats",
    )


def one_seed(mnist: Arms) -> Claim:
    """The share of the most frequent winner over all combinations of one run per arm, resampled over the seeds."""
    names = labels(mnist)
    values = {names[recipe]: families.last(mnist[recipe]) for recipe in MAIN}
    shares = stats.winners(values)
    most = max(shares, key=shares.__getitem__)
    share = stats.resampled(
        lambda *samples: 100 * stats.winners(dict(zip(values, samples)))[most], list(values.values())
    )
    return Claim(
        "A to E",
        "one run of each shows which is best",
        verdict(share.low > 95, share.high < 95),
        f"how often {most}, the most frequent winner, wins (chance: {100 / len(values):.0f} %)",
        share,
        conditions([mnist[recipe] for recipe in MAIN]),
        unit="%",
    )


def best_epoch(mnist: Arms) -> Claim:
    """How much the best epoch flatters, over the runs of the three models that are compared."""
    gains = stats.summary(
        [run.best["test_accuracy"] - run.last["test_accuracy"] for recipe in MAIN for run in mnist[recipe].succeeded]
    )
    return Claim(
        "A to E",
        "the best epoch’s test accuracy is the model’s",
        MEASURED,
        "best epoch − last epoch",
        Interval(gains.mean, gains.low, gains.high),
        conditions([mnist[recipe] for recipe in MAIN]),
    )


def normalization_matters(mnist: Arms) -> Claim:
    """At equal penalty: confirmed if any two differ, refuted if all are the same."""
    pairs = combinations([PLAIN[norm] for norm in ("BN", "GN:2", "LN", "IN")], 2)
    ordered = [(a, b) if mnist[a].accuracy.mean >= mnist[b].accuracy.mean else (b, a) for a, b in pairs]
    gaps = {pair: families.gap("head_to_head", mnist, *pair) for pair in ordered}
    decided = verdict(any(gap.low > 0 for gap in gaps.values()), all(map(same, gaps.values())))
    clearest = max(gaps, key=lambda pair: gaps[pair].low if decided == CONFIRMED else gaps[pair].high)
    says = "the normalizations differ in accuracy"
    return _of_pair("head_to_head", mnist, "A to E", says, decided, clearest)


def l1(mnist: Arms) -> Claim:
    """Confirmed if L1 moves no normalization by as much as the margin, refuted if it moves one."""
    pairs = [(with_l1, PLAIN[norm]) for norm, with_l1 in WITH_L1.items()]
    gaps = {pair: families.gap("head_to_head", mnist, *pair) for pair in pairs}
    moved = [pair for pair in pairs if gaps[pair].low > 0 or gaps[pair].high < 0]
    decided = verdict(all(map(same, gaps.values())), bool(moved))
    says = "λ = 1e-4 does nothing (E: L1 is not effective; B: it costs BN nothing, 99.26 against 99.28 %)"
    return _of_pair("head_to_head", mnist, "B, E", says, decided, (moved or pairs)[0])


def strong_l1(arms: Arms) -> Claim:
    """By its subgradient, as the study applies it."""
    by_subgradient = {recipe.l1: recipe for recipe in STRENGTHS if not recipe.proximal}
    loss = families.gap_of("l1_strength", arms, "train_accuracy", by_subgradient[1e-3], by_subgradient[0])
    return Claim(
        "B",
        "λ = 1e-3 caps the training accuracy",
        verdict(loss.high < 0, loss.low > 0),
        "training accuracy with λ = 1e-3 − without",
        loss,
        conditions([arms[by_subgradient[strength]] for strength in (0, 1e-3)]),
    )


def spread(cifar10: Arms) -> Claim:
    """D's code builds batch norm in all three of its models."""
    pair = ON_CIFAR10["WS+GN:2"], ON_CIFAR10["WS+LN"]
    apart = families.gap("cifar10", cifar10, *pair)
    decided = verdict(apart.low > 0 and apart.high >= D_SPREAD, apart.high < D_SPREAD)
    return _of_pair("cifar10", cifar10, "D", f"on CIFAR-10, GN is {D_SPREAD:.2f} points above LN", decided, pair)


def small_batches(ghosts: Arms) -> Claim:
    """In batches of one size, of whose images BN's statistics take 2 or 32."""
    says = "BN loses accuracy where few images share its statistics"
    return _above("ghosts", ghosts, [(BY_GHOST["BN:32"], BY_GHOST["BN:2"])], "Wu & He", says)


def overtaken(ghosts: Arms) -> Claim:
    """Group norm's statistics always come from one image."""
    pair = GHOSTS_ON_CIFAR10["WS+GN:2"], GHOSTS_ON_CIFAR10["WS+BN:2"]
    says = "GN is more accurate than BN where few images share BN’s statistics"
    return _above("cifar10_ghosts", ghosts, [pair], "Wu & He", says)


# By a short name: the experiment whose runs decide a claim, and its rule.
RULES: dict[str, tuple[str, Callable[[Arms], Claim]]] = {
    "best": ("head_to_head", best),
    "order as published": ("study_c", order_as_published),
    "order": ("head_to_head", order),
    "consistent": ("head_to_head", consistent),
    "training loss": ("head_to_head", training_loss),
    "one seed": ("head_to_head", one_seed),
    "best epoch": ("head_to_head", best_epoch),
    "normalization": ("head_to_head", normalization_matters),
    "instance norm": ("head_to_head", instance_norm),
    "L1": ("head_to_head", l1),
    "strong L1": ("l1_strength", strong_l1),
    "spread": ("cifar10", spread),
    "small batches": ("ghosts", small_batches),
    "overtaken": ("cifar10_ghosts", overtaken),
}


def _above(name: str, arms: Arms, pairs: Sequence[Pair], study: str, says: str) -> Claim:
    """That the first arm of each pair is above the second: refuted if one is below it."""
    gaps = {pair: families.gap(name, arms, *pair) for pair in pairs}
    against = [pair for pair in pairs if gaps[pair].high < 0]
    decided = verdict(all(gap.low > 0 for gap in gaps.values()), bool(against))
    return _of_pair(name, arms, study, says, decided, min(against or pairs, key=lambda pair: gaps[pair].low))


def _of_pair(name: str, arms: Arms, study: str, says: str, decided: str, pair: Pair) -> Claim:
    names, interval = labels(arms), families.gap(name, arms, *pair)
    measured = f"{names[pair[0]]} − {names[pair[1]]}"
    hint = _hint(name, arms, pair, interval.high) if decided == UNDECIDED else ""
    return Claim(study, says, decided, measured, interval, conditions([arms[recipe] for recipe in pair]), hint=hint)


def _hint(name: str, arms: Arms, pair: Pair, most: float) -> str:
    """Say which lead is excluded, and how many seeds would exclude one of the size that matters."""
    seeds, stated = families.seeds_to_exclude(name, arms, *pair), families.stated(name)
    needed = f"about {roughly(seeds)} seeds per variant" if seeds <= stats.MOST_SEEDS else "more test images"
    return f"no lead above {fixed(most)} points; {needed} would show one of {stated:g}, or that there is none"
