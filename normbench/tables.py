"""Runs over many seeds become tables and sentences."""

import statistics
from collections.abc import Sequence

from normbench.config import Config
from normbench.experiments import arms
from normbench.stats import summary
from normbench.train import Run


def seeds_table(runs: Sequence[Run]) -> str:
    """A Markdown table, a row a model: last-epoch test accuracy over the seeds.

    The interval holds the mean over all seeds with 95 % confidence, by Student's t.
    """
    head = (
        "| model | mean test accuracy | 95 % interval | standard deviation | lowest | highest | runs | parameters |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|"
    )
    return "\n".join([head, *map(_seeds_row, arms(runs).values())])


def last(runs: Sequence[Run], metric: str = "test_accuracy") -> list[float]:
    """What the last epoch of each run gave."""
    return [run.history[-1][metric] for run in runs]


def best_epochs(runs: Sequence[Run]) -> list[float]:
    """The highest test accuracy of all epochs, of each run: selected on the test set."""
    return [max(row["test_accuracy"] for row in run.history) for run in runs]


def _seeds_row(runs: Sequence[Run]) -> str:
    values = last(runs)
    of_arm = summary(values)
    cells = [
        runs[0].config.label,
        f"**{of_arm.mean:.3f} %**",
        f"{of_arm.low:.3f} to {of_arm.high:.3f}" if len(values) > 1 else "–",
        _deviation(values),
        f"{min(values):.2f} %",
        f"{max(values):.2f} %",
    ]
    return "| " + " | ".join([*cells, f"{len(runs)}", f"{runs[0].parameters:,}"]) + " |"


def seeds_conditions(runs: Sequence[Run]) -> str:
    """What the numbers were measured with, in one sentence."""
    config, seeds = runs[0].config, sorted({run.config.seed for run in runs})
    epoch = statistics.median(run.seconds / run.config.epochs for run in runs)
    sizes = sorted({run.config.batch_size for run in runs})
    batch = f"batch {sizes[0]}" if len(sizes) == 1 else f"batches of {sizes[0]} to {sizes[-1]}"
    images = f" (its first {config.images:,} training images)" * (config.images > 0)
    return (
        f"Data set {runs[0].dataset}{images}, {config.epochs} epochs, {batch}, last epoch, seeds "
        f"{seeds[0]} to {seeds[-1]}; on {devices(runs)}, {epoch:.1f} s an epoch."
    )


def devices(runs: Sequence[Run]) -> str:
    """What the runs were trained on."""
    return " and ".join(dict.fromkeys(run.device for run in runs))


def penalties_table(runs: Sequence[Run]) -> str:
    """A Markdown table, a row a strength and way of L1: accuracy, Σ|p| and exact zeros, means over the seeds."""
    head = (
        "| λ | way | test accuracy | standard deviation | train accuracy | Σ\\|p\\| | exact zeros | runs |\n"
        "|---|---|--:|--:|--:|--:|--:|--:|"
    )
    by_strength = sorted(arms(runs).items(), key=lambda arm: (arm[0].l1, arm[0].proximal))
    return "\n".join([head, *(_penalty_row(config, of_arm) for config, of_arm in by_strength)])


def _penalty_row(config: Config, runs: Sequence[Run]) -> str:
    accuracies = last(runs)
    train_accuracy, norm, zeros = (statistics.mean(last(runs, key)) for key in ("train_accuracy", "l1_norm", "zeros"))
    way = "proximal" if config.proximal else "subgradient" if config.l1 else "–"
    cells = [f"{config.l1:g}", way, f"**{statistics.mean(accuracies):.3f} %**", _deviation(accuracies)]
    cells += [f"{train_accuracy:.2f} %", f"{norm:.0f}", f"{zeros:.1f} %", f"{len(runs)}"]
    return "| " + " | ".join(cells) + " |"


def _deviation(values: Sequence[float]) -> str:
    return f"{statistics.stdev(values):.3f}" if len(values) > 1 else "–"


def speed_table(rows: Sequence[dict]) -> str:
    """A Markdown table of what `benchmarks.loop` saved, a row a normalization: seconds an epoch."""
    head = (
        "| | study A's loop and network | its loop, our network | ours | floor¹ | study A / ours | ours / floor |\n"
        "|---|--:|--:|--:|--:|--:|--:|"
    )
    return "\n".join([head, *map(_speed_row, rows)])


def _speed_row(row: dict) -> str:
    study_a, _, ours, floor = seconds = row["seconds"].values()
    cells = [row["nm"], *(f"{value:.2f} s" for value in seconds), f"**{study_a / ours:.1f}**", f"{ours / floor:.2f}"]
    return "| " + " | ".join(cells) + " |"


def speed_conditions(rows: Sequence[dict]) -> str:
    row = rows[0]
    return (
        f"Seconds an epoch of {row['images']:,} images ({row['dataset']}), batch {row['batch_size']}, on "
        f"{row['device']}; medians of {row['rounds']} rounds in which the four alternate. ¹ Forward, backward and "
        f"optimizer step on one fixed batch: no data, no distortion."
    )
