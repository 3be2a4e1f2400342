"""Each published claim, and what became of it."""

from pathlib import Path

import numpy as np

from normbench import effects
from normbench.chance import chance_of_range, orders, winners
from normbench.experiments import COLOUR_SHORT, MAIN, RESULTS, SHORT, arms, finished
from normbench.published import D_SPREAD
from normbench.stats import deviation_ratio, difference, holm, resampled, summary
from normbench.tables import best_epochs, last
from normbench.verdicts import (
    ALPHA,
    MARGIN,
    Arms,
    Claim,
    closer,
    compared,
    interval,
    mean_difference,
    over_images,
    pairwise,
    percent,
    points,
    trained,
    verdict,
)


def claims(results: Path = RESULTS) -> list[Claim]:
    """Each published claim with its verdict, from the finished runs in `results`.

    Raises FileNotFoundError where runs are missing.
    """
    long, short, cifar10, varied, by_size = (
        arms(finished(name, results))
        for name in ("accuracy", "head_to_head", "cifar10_short", "regularization", "batch_size")
    )
    return [
        _best(long),
        _order(long),
        _consistent(short),
        effects.training_loss(long),
        _one_seed(long),
        _best_epoch(long),
        _confounded(short),
        _d_spread(cifar10),
        _instance_norm(short),
        effects.l1_effect(short),
        effects.usual_l1(short),
        effects.strong_l1(varied),
        effects.small_batches(by_size),
    ]


def _best(long: Arms) -> Claim:
    bn, *others = MAIN
    rival = max(others, key=lambda config: np.mean(last(long[config])))
    return Claim(
        "A, E",
        "BN + L1 is best",
        compared(long, [(bn, other) for other in others]),
        f"BN + L1 − {rival.label}, the best of the others: {points(mean_difference(long, bn, rival))}",
        interval(over_images(long, bn, rival)),
        trained(long, MAIN),
    )


def _order(long: Arms) -> Claim:
    bn, gn, ln = MAIN
    share = orders({config.label: last(long[config]) for config in MAIN})[gn.label, bn.label, ln.label]
    return Claim(
        "C",
        "GN is best, then BN, then LN",
        compared(long, [(gn, bn), (bn, ln)]),
        f"GN − BN + L1: {points(mean_difference(long, gn, bn))}; one seed of each gives this order in {percent(share)} "
        f"of all combinations, and chance in {percent(1 / 6)}",
        interval(over_images(long, gn, bn)),
        trained(long, MAIN),
    )


def _consistent(short: Arms) -> Claim:
    """By the F-test of two variances."""
    bn, *others = (SHORT[nm] for nm in ("BN", "GN", "LN"))
    ratios = {config: deviation_ratio(last(short[bn]), last(short[config])) for config in others}
    rival = min(others, key=lambda config: np.std(last(short[config])))
    adjusted = dict(zip(ratios, holm([ratio.p for ratio in ratios.values()])))
    significant = [ratio.estimate for config, ratio in ratios.items() if adjusted[config] < ALPHA]
    return Claim(
        "B",
        "BN is the most consistent",
        verdict(len(significant) == 2 and max(significant) < 1, any(ratio > 1 for ratio in significant)),
        f"standard deviation over the seeds, BN / {rival.label}: {ratios[rival].estimate:.2f}",
        f"{ratios[rival].low:.2f} to {ratios[rival].high:.2f}",
        trained(short, (bn, *others)),
    )


def _one_seed(long: Arms) -> Claim:
    found = {config.label: last(long[config]) for config in MAIN}
    shares = winners(found)
    best = max(shares, key=shares.get)
    often = resampled(lambda *values: winners(dict(zip(found, values)))[best], list(found.values()))
    return Claim(
        "A to E",
        "one training of each shows which is best",
        verdict(often.low > 0.95, often.high < 0.95),
        f"{best}, the most frequent winner, wins in {percent(often.estimate)} of all combinations of one training "
        f"each; chance makes {percent(1 / 3)}",
        f"{100 * often.low:.0f} to {percent(often.high)}",
        trained(long, MAIN),
    )


def _best_epoch(long: Arms) -> Claim:
    runs = [run for of_arm in long.values() for run in of_arm]
    gain = summary([best - end for best, end in zip(best_epochs(runs), last(runs))])
    return Claim(
        "A to E",
        f"the best epoch's test accuracy is the model's (within {MARGIN:g} points)",
        verdict(gain.high < MARGIN, gain.low > MARGIN),
        f"best − last epoch: {points(gain.mean)}",
        interval(gain),
        trained(long, MAIN),
    )


def _confounded(short: Arms) -> Claim:
    """Confirmed if some two normalizations differ at equal penalty and L1 changes nothing; refuted if reversed."""
    plain = [SHORT[nm] for nm in ("BN", "GN", "LN", "IN")]
    by_norm = pairwise(short, [(a, b) for i, a in enumerate(plain) for b in plain[:i]])
    by_l1 = pairwise(short, effects.L1_PAIRS)
    (a, b), widest = max(by_norm.items(), key=lambda item: abs(item[1].estimate))
    a, b = (a, b) if widest.estimate > 0 else (b, a)
    differ, matters = (any(each.p < ALPHA for each in pairs.values()) for pairs in (by_norm, by_l1))
    return Claim(
        "C",
        "its arms, which differ in their penalties too, differ by their normalization",
        verdict(differ and all(closer(short, list(by_l1))), matters and all(closer(short, list(by_norm)))),
        f"without L1, {a.label} − {b.label}: {points(abs(widest.estimate))}; L1 alone changes an arm by up to "
        f"{points(max((each.estimate for each in by_l1.values()), key=abs))}",
        interval(over_images(short, a, b)),
        trained(short, plain),
    )


def _d_spread(cifar10: Arms) -> Claim:
    """Three branches that all build batch norm, held against a real GN and LN, and against three seeds of one BN."""
    bn, gn, ln, _ = COLOUR_SHORT
    apart = difference(last(cifar10[gn]), last(cifar10[ln]))
    deviation, chance = summary(last(cifar10[bn])).deviation, chance_of_range(last(cifar10[bn]), 3, D_SPREAD)
    return Claim(
        "D",
        f"on CIFAR-10, GN is {D_SPREAD:.2f} points above LN (though D's code builds BN in all three)",
        verdict(apart.low > 0 and apart.high >= D_SPREAD, apart.high < D_SPREAD),
        f"GN − LN: {points(apart.estimate)}. Three seeds of our BN (deviation {deviation:.2f}) lie so far apart with "
        f"a probability of {percent(chance, 1)}",
        interval(over_images(cifar10, gn, ln)),
        trained(cifar10, [bn, gn, ln]),
    )


def _instance_norm(short: Arms) -> Claim:
    others = [SHORT[nm] for nm in ("BN", "GN", "LN")]
    rival = min(others, key=lambda config: np.mean(last(short[config])))
    return Claim(
        "C",
        "instance norm underperforms",
        compared(short, [(other, SHORT["IN"]) for other in others]),
        f"IN − {rival.label}, the lowest of the others: {points(mean_difference(short, SHORT['IN'], rival))}",
        interval(over_images(short, SHORT["IN"], rival)),
        trained(short, [SHORT["IN"], *others]),
    )
