"""The files in results/ become the README's generated parts.

    python -m normbench.readme

rewrites what stands between the markers in README.md.
"""

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from scipy.stats import t

from normbench import runs as files
from normbench.report import conditions, findings, table
from normbench.train import Run

RESULTS = Path("results")
README = Path("README.md")


def seeds_table(runs: Sequence[Run]) -> str:
    """A Markdown table, a row a model: last-epoch test accuracy over the seeds.

    The interval holds the mean over all seeds with 95 % confidence, by Student's t.
    """
    head = (
        "| model | mean test accuracy | 95 % interval | standard deviation | lowest | highest | runs | parameters |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|"
    )
    return "\n".join([head, *(_seeds_row(label, arm) for label, arm in _arms(runs).items())])


def _arms(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each model, by its label, in the order of their seeds."""
    arms = {}
    for run in sorted(runs, key=lambda run: (run.config.label, run.config.seed)):
        arms.setdefault(run.config.label, []).append(run)
    return arms


def _accuracies(runs: Sequence[Run]) -> list[float]:
    return [run.history[-1]["test_accuracy"] for run in runs]


def _seeds_row(label: str, runs: Sequence[Run]) -> str:
    values = _accuracies(runs)
    mean, interval, deviation = statistics.mean(values), "–", "–"
    if len(values) > 1:
        spread = statistics.stdev(values)
        deviation = f"{spread:.3f}"
        low, high = t.interval(0.95, len(values) - 1, mean, spread / math.sqrt(len(values)))
        interval = f"{low:.3f} to {high:.3f}"
    cells = [label, f"**{mean:.3f} %**", interval, deviation, f"{min(values):.2f} %", f"{max(values):.2f} %"]
    return "| " + " | ".join([*cells, f"{len(runs)}", f"{runs[0].parameters:,}"]) + " |"


def seeds_conditions(runs: Sequence[Run]) -> str:
    config, seeds = runs[0].config, sorted({run.config.seed for run in runs})
    epoch = statistics.median(run.seconds / run.config.epochs for run in runs)
    return (
        f"Data set {runs[0].dataset}, {config.epochs} epochs, batch {config.batch_size}, last epoch, seeds "
        f"{seeds[0]} to {seeds[-1]}; on {runs[0].device}, {epoch:.1f} s an epoch."
    )


def seeds_reading(runs: Sequence[Run]) -> str:
    """How far the means lie apart, beside what a seed does."""
    values = {label: _accuracies(arm) for label, arm in _arms(runs).items()}
    means = {label: statistics.mean(of_arm) for label, of_arm in values.items()}
    first, last = max(means, key=means.get), min(means, key=means.get)
    deviation = math.sqrt(statistics.mean(statistics.variance(of_arm) for of_arm in values.values()))
    return (
        f"The highest mean ({first}) and the lowest ({last}) are {means[first] - means[last]:.3f} points apart; two "
        f"runs of one model that differ in the seed alone are typically {math.sqrt(2) * deviation:.3f} points apart."
    )


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


def update(text: str, name: str, content: str) -> str:
    """The Markdown `text` with its generated part `name` replaced by `content`.

    Raises ValueError where the markers are missing.
    """
    begin, end = f"<!-- {name}: generated -->", f"<!-- end of {name} -->"
    if begin not in text or end not in text:
        raise ValueError(f"the text has no markers {begin} and {end}")
    before, after = text.split(begin)[0], text.split(end)[1]
    return f"{before}{begin}\n{content}\n{end}{after}"


def readme(text: str, results: Path = RESULTS) -> str:
    """The README `text` with all its generated parts made anew from the files in `results`."""
    published, seeds = (files.read(results / name) for name in ("notebook.jsonl", "accuracy.jsonl"))
    speed = [json.loads(line) for line in (results / "speed.jsonl").read_text().splitlines()]
    parts = {
        "results": (table(published), conditions(published), findings(published)),
        "accuracy": (seeds_table(seeds), seeds_conditions(seeds), seeds_reading(seeds)),
        "speed": (speed_table(speed), speed_conditions(speed)),
    }
    for name, content in parts.items():
        text = update(text, name, "\n\n".join(content))
    return text


if __name__ == "__main__":
    README.write_text(readme(README.read_text()))
