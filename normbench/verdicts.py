"""The rules by which claims are decided from finished runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from normbench.config import Config
from normbench.stats import Difference, Interval, Summary, bootstrap_difference, difference, equivalence, holm
from normbench.tables import last
from normbench.train import Run

ALPHA = 0.05
MARGIN = 0.05  # points of accuracy: two means that are surely closer are called the same

DATA_SETS = {"mnist": "MNIST", "cifar10": "CIFAR-10"}

Arms = Mapping[Config, Sequence[Run]]


@dataclass(frozen=True)
class Claim:
    """A published claim and what the runs say of it."""

    study: str
    says: str
    verdict: str
    number: str
    interval: str
    runs: str


def claims_table(found: Sequence[Claim]) -> str:
    """The claims as a Markdown table, a row each, and how they are decided."""
    head = "| study | claim | verdict | what decides | 95 % interval | trainings |\n|---|---|---|---|---|---|"
    rows = (f"| {c.study} | {c.says} | **{c.verdict}** | {c.number} | {c.interval} | {c.runs} |" for c in found)
    arithmetic = (
        "| A, C, E | sums, deviations and counts of parameters; normalization “normalizes weights” | **refuted** | "
        "by calculation: see *By hand* | – | – |"
    )
    rules = (
        "What is *best*, *worse* or an order is confirmed where every difference that it needs is significant "
        "(Welch's test, Holm's correction, 5 %), refuted where one is significant the other way round, or shown to be "
        f"smaller than {MARGIN:g} points (two one-sided tests), and undecided otherwise. The other claims are decided "
        "where the whole interval, or a one-sided test of the same kind, lies on one side of what they say. Verdicts "
        "hold for new seeds on these test images. Intervals of a difference in accuracy between two arms are "
        "bootstrapped over seeds and images, and so hold for new images too; of a ratio of deviations they are those "
        "of the F-test, of a share bootstrapped over seeds, and else Student's t. None is corrected for having been "
        "picked as the largest."
    )
    return "\n".join([head, *rows, arithmetic]) + f"\n\n{rules}"


def compared(found: Arms, pairs: Sequence[tuple[Config, Config]]) -> str:
    """The verdict on 'the first of each pair is above the second'."""
    significant = [each.estimate for each in pairwise(found, pairs).values() if each.p < ALPHA]
    return verdict(
        len(significant) == len(pairs) and min(significant) > 0,
        any(estimate < 0 for estimate in significant) or any(closer(found, pairs)),
    )


def pairwise(found: Arms, pairs: Sequence[tuple[Config, Config]]) -> dict[tuple[Config, Config], Difference]:
    """Welch's test of each pair of arms, with p-values corrected for their number."""
    raw = [difference(last(found[a]), last(found[b])) for a, b in pairs]
    return {pair: replace(each, p=p) for pair, each, p in zip(pairs, raw, holm([each.p for each in raw]))}


def closer(found: Arms, pairs: Sequence[tuple[Config, Config]]) -> list[bool]:
    """Which pairs of arms are shown to be closer than `MARGIN`, corrected for their number."""
    return [p < ALPHA for p in holm([equivalence(last(found[a]), last(found[b]), MARGIN) for a, b in pairs])]


def verdict(confirmed: bool, refuted: bool) -> str:
    """What speaks against a claim weighs more than what speaks for it."""
    return "refuted" if refuted else "confirmed" if confirmed else "undecided"


def mean_difference(found: Arms, a: Config, b: Config) -> float:
    """The mean accuracy of one arm less that of another, in points."""
    return float(np.mean(last(found[a])) - np.mean(last(found[b])))


def over_images(found: Arms, a: Config, b: Config) -> Interval:
    """The same with its interval for new seeds and new test images."""
    return bootstrap_difference(*(np.stack([run.correct.numpy() for run in found[config]]) for config in (a, b)))


def points(value: float) -> str:
    """A difference of accuracies as text."""
    return f"{value:+.3f}"


def percent(share: float, digits: int = 0) -> str:
    """A share of 1 as text."""
    return f"{100 * share:.{digits}f} %"


def interval(of: Interval | Summary) -> str:
    """The ends of an interval as text."""
    return f"{of.low:+.3f} to {of.high:+.3f}"


def trained(found: Arms, wanted: Sequence[Config]) -> str:
    """What the arms were trained on, and how many seeds each has."""
    config, runs = wanted[0], found[wanted[0]]
    images = f"{config.images:,} images of " * (config.images > 0)
    seeds = " or ".join(dict.fromkeys(str(len(found[config])) for config in wanted))
    return f"{images}{DATA_SETS[runs[0].dataset]}, {config.epochs} epochs, {seeds} seeds an arm"
