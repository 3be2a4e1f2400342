"""The published claims on what penalties and small batches do, and what became of each."""

from dataclasses import replace

import numpy as np

from normbench.config import USUAL_L1
from normbench.experiments import MAIN, SHORT, VARIED
from normbench.stats import difference, holm, not_above, summary
from normbench.tables import last
from normbench.verdicts import (
    ALPHA,
    MARGIN,
    Arms,
    Claim,
    interval,
    mean_difference,
    over_images,
    pairwise,
    points,
    trained,
    verdict,
)

# Each normalization with L1, and without.
L1_PAIRS = [(replace(SHORT[nm], l1=USUAL_L1), SHORT[nm]) for nm in ("BN", "GN", "LN")]


def training_loss(long: Arms) -> Claim:
    """Refuted if its data term is above the others' by less than the penalty that is plotted with it."""
    bn, *others = MAIN
    loss = {config: last(long[config], "train_loss") for config in MAIN}
    apart = difference(loss[bn], [value for config in others for value in loss[config]])
    penalty = float(np.mean(last(long[bn], "penalty")))
    return Claim(
        "A",
        "the training loss of BN + L1 is quite high",
        verdict(apart.low > penalty, apart.high < penalty),
        f"loss on the images − the others': {apart.estimate:+.4f}; the penalty plotted with it: {penalty:.4f}",
        f"{apart.low:+.4f} to {apart.high:+.4f}",
        trained(long, MAIN),
    )


def l1_effect(short: Arms) -> Claim:
    """Confirmed if no normalization gains `MARGIN` by L1, refuted if one gains significantly."""
    pairs = pairwise(short, L1_PAIRS)
    (a, b), largest = max(pairs.items(), key=lambda item: item[1].estimate)
    no_gain = holm([not_above(last(short[a]), last(short[b]), MARGIN) for a, b in pairs])
    return Claim(
        "E",
        "L1 is not effective in a CNN",
        verdict(max(no_gain) < ALPHA, any(each.p < ALPHA and each.estimate > 0 for each in pairs.values())),
        f"{a.label} − {b.label}, its largest gain: {points(largest.estimate)}",
        interval(over_images(short, a, b)),
        trained(short, [a, b]),
    )


def usual_l1(short: Arms) -> Claim:
    """Confirmed if BN loses less than `MARGIN` by L1, refuted if it loses significantly."""
    l1, bn = L1_PAIRS[0]
    with_l1, without = last(short[l1]), last(short[bn])
    return Claim(
        "B",
        "λ = 1e-4 costs BN nothing (99.26 against 99.28 %)",
        verdict(not_above(without, with_l1, MARGIN) < ALPHA, difference(with_l1, without).high < 0),
        f"BN + L1 − BN: {points(mean_difference(short, l1, bn))}",
        interval(over_images(short, l1, bn)),
        trained(short, [l1, bn]),
    )


def strong_l1(varied: Arms) -> Claim:
    """By Student's t on the training accuracy."""
    strong, none = replace(VARIED["BN"], l1=1e-3), VARIED["BN"]
    train, test = (
        difference(last(varied[strong], metric), last(varied[none], metric))
        for metric in ("train_accuracy", "test_accuracy")
    )
    return Claim(
        "B",
        "λ = 1e-3 caps the training accuracy",
        verdict(train.high < 0, train.low > 0),
        f"training accuracy with λ = 1e-3 − without: {points(train.estimate)}; test accuracy: {points(test.estimate)}",
        interval(train),
        trained(varied, [strong, none]),
    )


def small_batches(by_size: Arms) -> Claim:
    """Of each seed, how much BN's error grows from 32 images a batch to 2, less what GN's does."""
    runs = {(config.nm, config.batch_size): of_arm for config, of_arm in by_size.items()}
    growth = {nm: np.subtract(last(runs[nm, 32]), last(runs[nm, 2])) for nm in ("BN", "GN")}
    more = summary(growth["BN"] - growth["GN"])
    return Claim(
        "Wu & He",
        "from 32 images a batch to 2, BN loses more than GN",
        verdict(more.low > 0, more.high < 0),
        f"change of the error from 32 to 2: BN {points(growth['BN'].mean())}, GN {points(growth['GN'].mean())}; "
        f"difference {points(more.mean)}",
        interval(more),
        trained(by_size, [config for config in by_size if config.batch_size == 2]),
    )
