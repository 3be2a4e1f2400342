"""Which normalization should I use for a small CNN, and how sure is that? The runs' answer, in one screen."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from normbench.config import Config
from normbench.experiments import RESULTS, arms, finished
from normbench.stats import equivalence, holm, summary
from normbench.tables import last
from normbench.train import Run
from normbench.verdicts import ALPHA, MARGIN, over_images, pairwise

# A column each: the experiment and its batch size.
COLUMNS = (("accuracy", 128), ("head_to_head", 128), ("cifar10", 128), ("cifar10_short", 128), ("batch_size", 2))
NAMES = {"mnist": "MNIST", "cifar10": "CIFAR-10"}
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
        "normalization (none) the learning rate is lower."
    )
    return "\n".join([head, *rows, runs]) + f"\n\n{note}\n\n" + "\n".join(map(_finding, columns, columns.values()))


def _title(found: dict[str, tuple[Config, Sequence[Run]]]) -> str:
    config, (run, *_) = found["BN"]
    images = f"{config.images:,} images of " * (config.images > 0)
    batch = f", {config.batch_size} a batch" * (config.batch_size != Config().batch_size)
    return f"{images}{NAMES[run.dataset]}, {config.epochs} epochs{batch}"


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


def _finding(title: str, found: dict[str, tuple[Config, Sequence[Run]]]) -> str:
    """Which normalizations the column tells apart; "none" is left out, since its learning rate is another."""
    normed = dict(found[nm] for nm in ROWS if nm in found and nm != "none")
    pairs = pairwise(normed, list(combinations(normed, 2)))
    ranked = sorted(normed, key=lambda config: np.mean(last(normed[config])), reverse=True)
    first, lowest = ranked[0], ranked[-1]
    gap = over_images(normed, first, lowest)
    apart = sum(each.p < ALPHA for each in pairs.values())
    beaten = [b.label for b in ranked[1:] if pairs.get((first, b), pairs.get((b, first))).p < ALPHA]
    same = max(holm([equivalence(last(normed[a]), last(normed[b]), MARGIN) for a, b in pairs])) < ALPHA
    if same:
        says = f"all are the same within {MARGIN:g} points"
    elif beaten:
        says = f"{first.label} is above {', '.join(beaten)}"
    elif apart:
        says = f"{apart} of {len(pairs)} pairs differ"
    else:
        says = "no difference is shown"
    return (
        f"- **{title}**: {says}; the widest gap, {first.label} − {lowest.label}, is {gap.estimate:.2f} points "
        f"({gap.low:+.2f} to {gap.high:+.2f})."
    )
