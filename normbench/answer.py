"""Which normalization should I use for a small CNN, and how sure is that? The runs' answer, in one screen."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np

from normbench.config import Config
from normbench.experiments import RESULTS, arms, finished
from normbench.stats import Difference, summary
from normbench.tables import last
from normbench.train import Run
from normbench.verdicts import ALPHA, DATA_SETS, MARGIN, closer, over_images, pairwise

# A column each: the experiment and its batch size.
COLUMNS = (("accuracy", 128), ("head_to_head", 128), ("cifar10", 128), ("cifar10_short", 128), ("batch_size", 2))
ROWS = ("BN", "GN", "LN", "IN", "none")


def answer(results: Path = RESULTS) -> str:
    """The table of all normalizations and conditions, and what follows, as Markdown.

    Raises FileNotFoundError where runs are missing.
    """
    columns = {}
    for name, size in COLUMNS:
        found = _by_norm(finished(name, results), size)
        columns[_title(found)] = found
    head = "| | " + " | ".join(columns) + " |\n|---|" + "--:|" * len(columns)
    rows = ["| " + " | ".join([f"**{nm}**", *(_cell(found, nm) for found in columns.values())]) + " |" for nm in ROWS]
    runs = "| runs an arm | " + " | ".join(_runs(found) for found in columns.values()) + " |"
    note = (
        "Mean test accuracy of the last epoch in %, ± half its 95 % interval over seeds. Batches of 128 and two groups "
        "in GN where nothing else is said. In the first column BN has the L1 penalty that the studies give it. Without "
        "normalization (none) the learning rate is lower. Below, 95 % intervals over seeds and test images."
    )
    rankings = {title: _Ranking(found) for title, found in columns.items()}
    findings = "\n".join(ranking.finding(title) for title, ranking in rankings.items())
    return "\n\n".join([_in_short(columns, rankings), "\n".join([head, *rows, runs]), note, findings])


def _title(found: dict[str, tuple[Config, Sequence[Run]]]) -> str:
    config, (run, *_) = found["BN"]
    images = f"{config.images:,} images of " * (config.images > 0)
    batch = f", {config.batch_size} a batch" * (config.batch_size != Config().batch_size)
    return f"{images}{DATA_SETS[run.dataset]}, {config.epochs} epochs{batch}"


def _by_norm(runs: Sequence[Run], size: int) -> dict[str, tuple[Config, Sequence[Run]]]:
    """The arms of a column by normalization: two groups, that batch size, and no penalty where there are both."""
    found = {}
    for config, of_arm in arms(runs).items():
        if config.batch_size == size and config.gp == 2 and (config.nm not in found or not config.l1):
            found[config.nm] = (config, of_arm)
    return found


def _cell(found: dict[str, tuple[Config, Sequence[Run]]], nm: str) -> str:
    if nm not in found:
        return "–"
    of_arm = summary(last(found[nm][1]))
    return f"{of_arm.mean:.2f} ± {of_arm.high - of_arm.mean:.2f}"


def _runs(found: dict[str, tuple[Config, Sequence[Run]]]) -> str:
    counts = sorted({len(of_arm) for _, of_arm in found.values()})
    return " to ".join(dict.fromkeys((str(counts[0]), str(counts[-1]))))


@dataclass(frozen=True)
class _Ranking:
    """The normalizations of a column from best to worst; "none" is left out, since its learning rate is another."""

    found: dict[str, tuple[Config, Sequence[Run]]]

    @cached_property
    def arms(self) -> dict[Config, Sequence[Run]]:
        normed = [self.found[nm] for nm in ROWS if nm in self.found and nm != "none"]
        return dict(sorted(normed, key=lambda arm: np.mean(last(arm[1])), reverse=True))

    @cached_property
    def pairs(self) -> dict[tuple[Config, Config], Difference]:
        return pairwise(self.arms, list(combinations(self.arms, 2)))

    @property
    def beaten(self) -> list[Config]:
        """Those that the best is significantly above."""
        first, *others = self.arms
        return [config for config in others if self.pairs[first, config].p < ALPHA]

    @property
    def one_is_best(self) -> bool:
        return len(self.beaten) == len(self.arms) - 1

    def finding(self, title: str) -> str:
        first, *_, lowest = self.arms
        gap, apart = over_images(self.arms, first, lowest), sum(each.p < ALPHA for each in self.pairs.values())
        if all(closer(self.arms, list(self.pairs))):
            says = f"all are shown to be within {MARGIN:g} points of each other"
        elif self.beaten:
            says = f"{first.label} is significantly above {', '.join(config.label for config in self.beaten)}"
        elif apart:
            says = f"significant differences in {apart} of {len(self.pairs)} pairs"
        else:
            says = "no difference is shown"
        return (
            f"- **{title}**: {says}; the widest gap, {first.label} − {lowest.label}, is {gap.estimate:.2f} points "
            f"({gap.low:+.2f} to {gap.high:+.2f})."
        )


def _in_short(columns: dict[str, dict[str, tuple[Config, Sequence[Run]]]], rankings: dict[str, _Ranking]) -> str:
    """What a normalization adds where there is an arm without, and where one of them is best."""
    title, found = next((title, found) for title, found in columns.items() if "none" in found)
    (best, *_), (none, _) = rankings[title].arms, found["none"]
    gain = over_images(dict(found.values()), best, none)
    clear = [f"{next(iter(each.arms)).label} ({title})" for title, each in rankings.items() if each.one_is_best]
    advice = "use one" if gain.low > 0 else "it is not shown that one is needed"
    which = (
        f"significantly above all others is {', '.join(clear)}"
        if clear
        else f"in none of {len(rankings)} comparisons is one significantly above all others"
    )
    return (
        f"**In short**: {advice} ({best.label} is {gain.estimate:.2f} points above no normalization at all, "
        f"{gain.low:+.2f} to {gain.high:+.2f}; {title}). Which one: {which}."
    )
