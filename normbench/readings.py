"""What each experiment shows, in a few lines of Markdown; every number and every turn of phrase comes from the runs."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from normbench import published
from normbench.chance import best_of, superiority, winners
from normbench.config import USUAL_L1, Config
from normbench.experiments import GROUPS, MAIN, RATES, SHORT, STRENGTHS, STUDY_C, arms
from normbench.stats import summary
from normbench.tables import best_epochs, last
from normbench.train import Run
from normbench.verdicts import ALPHA, MARGIN, Arms, closer, interval, over_images, pairwise, percent


def bullets(*lines: str) -> str:
    """The lines as a Markdown list."""
    return "\n".join(f"- {line}" for line in lines)


def head_to_head(runs: Sequence[Run]) -> str:
    """Which of all pairs of arms differ; how sure a single training would be."""
    found = arms(runs)
    pairs = pairwise(found, list(combinations(found, 2)))
    apart = [pair for pair, each in pairs.items() if each.p < ALPHA]
    same = sum(closer(found, list(pairs)))
    ranked = sorted(found, key=lambda config: np.mean(last(found[config])), reverse=True)
    first, second, lowest = ranked[0], ranked[1], ranked[-1]
    named = "; ".join(
        f"{(a if pairs[a, b].estimate > 0 else b).label} above {(b if pairs[a, b].estimate > 0 else a).label}"
        for a, b in apart
    )
    return bullets(
        f"{first.label} has the highest mean; {second.label}, the next, is {_apart(found, first, second)} points "
        f"below, {lowest.label}, the lowest, {_apart(found, first, lowest)} (95 % intervals over seeds and images).",
        f"Pairs that differ significantly, after correction for their number: {len(apart)} of {len(pairs)}"
        + (f" ({named})" if apart else "")
        + f". Pairs shown to be closer than {MARGIN:g} points: {same}.",
        f"Of all combinations of one training each, {first.label} beats {second.label} in "
        f"{percent(superiority(last(found[first]), last(found[second])))}, and {lowest.label} in "
        f"{percent(superiority(last(found[first]), last(found[lowest])))}.",
    )


def _apart(found: Arms, a: Config, b: Config) -> str:
    """How far a is above b, with its interval."""
    gap = over_images(found, a, b)
    return f"{gap.estimate:.3f} ({gap.low:+.3f} to {gap.high:+.3f})"


def batch_size(runs: Sequence[Run]) -> str:
    """How error depends on the batch size, and what batch norm's loss at small batches is made of."""
    found = {(config.nm, config.batch_size): of_arm for config, of_arm in arms(runs).items()}
    sizes = sorted({size for _, size in found})
    error = {key: 100 - np.mean(last(of_arm)) for key, of_arm in found.items()}
    across = "; ".join(
        f"{nm} {error[nm, sizes[0]]:.2f} % at {sizes[0]}, {error[nm, 32]:.2f} % at 32, {error[nm, 128]:.2f} % at 128, "
        f"{error[nm, sizes[-1]]:.2f} % at {sizes[-1]}"
        for nm in ("BN", "GN", "LN")
    )
    lowest = {size: min(("BN", "GN", "LN"), key=lambda nm: error[nm, size]) for size in sizes}
    bn_best = [str(size) for size in sizes if lowest[size] == "BN"]
    return bullets(
        f"Test error by images a batch: {across}.",
        f"BN has the lowest mean error at {', '.join(bn_best) or 'no size'} (of {', '.join(map(str, sizes))}).",
        f"BN tested at {sizes[0]} images a batch: {_split(found['BN', sizes[0]])}; at 128: {_split(found['BN', 128])}.",
    )


def _split(runs: Sequence[Run]) -> str:
    losses = {
        kind: np.mean([run.statistics[kind]["test_loss"] for run in runs]) for kind in ("running", "precise", "batch")
    }
    return (
        f"loss {losses['running']:.4f} with running averages, {losses['precise']:.4f} with precise statistics, "
        f"{losses['batch']:.4f} with those of the test batches"
    )


def rates(runs: Sequence[Run]) -> str:
    """Which rule for the learning rate was chosen where, from the runs with the chosen rates."""
    chosen = [config for config in arms(runs) if config.batch_size != 128]
    named = {}
    for config in chosen:
        power = np.log(config.lr / 0.1) / np.log(config.batch_size / 128)
        rule = min(RATES, key=lambda name: abs(RATES[name] - power))
        named.setdefault(rule, []).append(f"{config.nm} {config.batch_size}")
    parts = "; ".join(f"{rule} for {', '.join(named[rule])}" for rule in RATES if rule in named)
    return f"Learning rate by its batch size (0.1 at 128), chosen on training images held out: {parts}."


def groups(runs: Sequence[Run]) -> str:
    """Whether the number of groups matters."""
    found = arms(runs, GROUPS)
    names = dict(zip(found, ("1 (LN)", "2", "4", "8", "a channel each (IN)")))
    pairs = pairwise(found, list(combinations(found, 2)))
    means = ", ".join(f"{names[config]}: {np.mean(last(of_arm)):.3f} %" for config, of_arm in found.items())
    best = max(found, key=lambda config: np.mean(last(found[config])))
    worst = min(found, key=lambda config: np.mean(last(found[config])))
    gap = over_images(found, best, worst)
    return bullets(
        f"Mean test accuracy by groups: {means}.",
        f"Best and worst ({names[best]}; {names[worst]}) are {gap.estimate:.3f} points apart ({interval(gap)}).",
        "Pairs that differ significantly, after correction for their number: "
        f"{sum(each.p < ALPHA for each in pairs.values())} of {len(pairs)}.",
    )


def strengths(runs: Sequence[Run]) -> str:
    """What L1 does to accuracy, to the sum of the weights, and to zeros."""
    found = arms(runs, STRENGTHS)
    none, usual = (next(c for c in found if c.l1 == l1 and not c.proximal) for l1 in (0.0, USUAL_L1))
    by_gradient = max(max(last(of_arm, "zeros")) for c, of_arm in found.items() if c.l1 and not c.proximal)
    proximal = [config for config in found if config.proximal and config.penalized == "all"]
    sparse = [
        f"{config.l1:g}: {np.mean(last(found[config], 'zeros')):.1f} % and {np.mean(last(found[config])):.2f} %"
        for config in proximal
    ]
    return bullets(
        f"λ = {USUAL_L1:g} on all parameters takes Σ\\|p\\| from {np.mean(last(found[none], 'l1_norm')):.0f} to "
        f"{np.mean(last(found[usual], 'l1_norm')):.0f}, and accuracy from {np.mean(last(found[none])):.3f} to "
        f"{np.mean(last(found[usual])):.3f} %.",
        f"By subgradient at most {by_gradient:.1f} % of the penalized parameters are exactly 0 in any training, at any "
        "λ tried.",
        f"By proximal step on all parameters, exact zeros and accuracy at λ of {', '.join(sparse)}.",
    )


def luck(runs: Sequence[Run]) -> str:
    """What one recipe gives over many seeds, and what reporting the best adds."""
    found, best = summary(last(runs)), best_epochs(runs)
    return bullets(
        f"{found.n} seeds of one recipe: mean {found.mean:.2f} %, standard deviation {found.deviation:.3f}, from "
        f"{min(last(runs)):.2f} to {max(last(runs)):.2f} %.",
        f"The best epoch, picked on the test set, adds {np.mean(best) - found.mean:.3f} points; the best of ten seeds "
        f"adds {best_of(last(runs), 10) - found.mean:.3f}; both together {best_of(best, 10) - found.mean:.3f}.",
        f"Two trainings of the same recipe differ by {np.mean(_differences(last(runs))):.3f} points on average.",
    )


def _differences(values: Sequence[float]) -> np.ndarray:
    upper = np.triu_indices(len(values), 1)
    return np.abs(np.subtract.outer(values, values))[upper]


def winners_table(long: Sequence[Run], short: Sequence[Run], varied: Sequence[Run]) -> str:
    """A Markdown table: how often one seed of each arm names which winner, for the studies' own choices of arms."""
    contests = {
        "A": arms(long, MAIN),
        "E": arms(long, MAIN),
        "B": arms(short, [SHORT[nm] for nm in ("BN", "GN", "LN")]),
        "C": arms(varied, STUDY_C),
    }
    head = "| study | its winner | how often one seed of each would name… | runs an arm |\n|---|---|---|--:|"
    return "\n".join([head, *(_winners_row(study, found) for study, found in contests.items())])


def _winners_row(study: str, found: Arms) -> str:
    shares = winners({config.label: last(of_arm) for config, of_arm in found.items()})
    text = ", ".join(
        f"**{label} {percent(share)}**" if label == published.WINNERS[study] else f"{label} {percent(share)}"
        for label, share in shares.items()
    )
    return f"| {study} | {published.WINNERS[study]} | {text} | {len(next(iter(found.values())))} |"
