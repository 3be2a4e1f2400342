"""A claim's verdict from finished runs: the rules, the same for every claim."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from normbench.config import Config
from normbench.stats import Difference, Interval, Summary, bootstrap_difference, difference, equivalence, holm
from normbench.tables import last
from normbench.train import Run

ALPHA = 0.05
MARGIN = 0.05  # points of accuracy: two means that are surely closer are called the same

Arms = Mapping[Config, Sequence[Run]]


@dataclass(frozen=True)
class Claim:
    """A published claim and what the runs say of it."""

    study: str
    says: str
    verdict: str
    number: str
    interval: str
    seeds: str


def claims_table(found: Sequence[Claim]) -> str:
    """The claims as a Markdown table, a row each."""
    head = "| study | claim | verdict | what decides | 95 % interval | seeds |\n|---|---|---|---|---|--:|"
    rows = (f"| {c.study} | {c.says} | **{c.verdict}** | {c.number} | {c.interval} | {c.seeds} |" for c in found)
    arithmetic = (
        "| A, C, E | sums, deviations and counts of parameters; normalization “normalizes weights” | **refuted** | "
        "[by calculation](#by-hand) | – | – |"
    )
    rules = (
        f"*Best* (or *worse*) is confirmed where every difference from the others is significant (Welch's test, Holm's "
        f"correction, 5 %), refuted where one is significant the other way round or surely below {MARGIN:g} points "
        "(two one-sided tests), and undecided otherwise. Intervals of differences in accuracy are bootstrapped over "
        "seeds and test images; the others are Student's t."
    )
    return "\n".join([head, *rows, arithmetic]) + f"\n\n{rules}"


def compared(found: Arms, one: Config, others: Sequence[Config], sign: int) -> str:
    """Whether `one` is above (sign +1) or below (-1) each of the `others`."""
    pairs = pairwise(found, [(one, other) for other in others])
    same = holm([equivalence(last(found[one]), last(found[other]), MARGIN) for other in others])
    significant = [sign * each.estimate for each in pairs.values() if each.p < ALPHA]
    return verdict(
        len(significant) == len(others) and min(significant) > 0,
        any(estimate < 0 for estimate in significant) or min(same) < ALPHA,
    )


def pairwise(found: Arms, pairs: Sequence[tuple[Config, Config]]) -> dict[tuple[Config, Config], Difference]:
    """Welch's test of each pair of arms, with p-values corrected for their number."""
    raw = [difference(last(found[a]), last(found[b])) for a, b in pairs]
    return {pair: replace(each, p=p) for pair, each, p in zip(pairs, raw, holm([each.p for each in raw]))}


def verdict(confirmed: bool, refuted: bool) -> str:
    return "confirmed" if confirmed and not refuted else "refuted" if refuted else "undecided"


def mean_difference(found: Arms, a: Config, b: Config) -> float:
    return float(np.mean(last(found[a])) - np.mean(last(found[b])))


def over_images(found: Arms, a: Config, b: Config) -> Interval:
    return bootstrap_difference(*(np.stack([run.correct.numpy() for run in found[config]]) for config in (a, b)))


def points(value: float) -> str:
    return f"{value:+.3f}"


def interval(of: Interval | Summary) -> str:
    return f"{of.low:+.3f} to {of.high:+.3f}"


def seeds(found: Arms, wanted: Sequence[Config]) -> str:
    return " / ".join(dict.fromkeys(str(len(found[config])) for config in wanted)) + " an arm"
