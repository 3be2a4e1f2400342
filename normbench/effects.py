"""The published claims on what penalties and small batches do, and what became of each."""

from dataclasses import replace

import numpy as np

from normbench.config import USUAL_L1
from normbench.experiments import MAIN, SHORT, VARIED
from normbench.stats import difference, equivalence, holm, summary
from normbench.tables import last
from normbench.verdicts import ALPHA, MARGIN, Arms, Claim, interval, over_images, pairwise, points, seeds, verdict


def training_loss(long: Arms) -> Claim:
    bn, *others = MAIN
    loss = {config: last(long[config], "train_loss") for config in MAIN}
    apart = difference(loss[bn], [value for config in others for value in loss[config]])
    penalty = float(np.mean(last(long[bn], "penalty")))
    share, low, high = (100 * value / (value + penalty) for value in (apart.estimate, apart.low, apart.high))
    return Claim(
        "A",
        "the training loss of BN + L1 is quite high",
        verdict(low > 50, high < 50),
        f"of its plotted loss beyond the others' ({apart.estimate + penalty:.4f}), {share:.0f} % is loss on the "
        "images, and the rest the penalty",
        f"{low:.0f} to {high:.0f} %",
        seeds(long, MAIN),
    )


def l1_effect(short: Arms) -> Claim:
    l1 = pairwise(short, [(replace(SHORT[nm], l1=USUAL_L1), SHORT[nm]) for nm in ("BN", "GN", "LN")])
    (a, b), largest = max(l1.items(), key=lambda item: item[1].estimate)
    same = holm([equivalence(last(short[a]), last(short[b]), MARGIN) for a, b in l1])
    helps = any(each.p < ALPHA and each.estimate > 0 for each in l1.values())
    return Claim(
        "E",
        "L1 is not effective in a CNN",
        verdict(not helps and max(same) < ALPHA, helps),
        f"{a.label} − {b.label}, its largest gain: {points(largest.estimate)}",
        interval(over_images(short, a, b)),
        seeds(short, [a, b]),
    )


def usual_l1(short: Arms) -> Claim:
    l1, bn = replace(SHORT["BN"], l1=USUAL_L1), SHORT["BN"]
    values = last(short[l1]), last(short[bn])
    return Claim(
        "B",
        "λ = 1e-4 costs BN nothing (99.26 against 99.28 %)",
        verdict(equivalence(*values, MARGIN) < ALPHA, difference(*values).high < 0),
        f"BN + L1 − BN: {points(difference(*values).estimate)}",
        interval(over_images(short, l1, bn)),
        seeds(short, [l1, bn]),
    )


def strong_l1(varied: Arms) -> Claim:
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
        seeds(varied, [strong, none]),
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
        f"the error grows by {points(growth['BN'].mean())} with BN and by {points(growth['GN'].mean())} with GN: "
        f"{points(more.mean)} more",
        interval(more),
        f"{more.n}",
    )
