"""The files in results/ become the README's generated parts and the figures of images/."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from normbench import runs as files
from normbench.by_hand import trainable_table
from normbench.by_hand_figures import plot_all_by_hand
from normbench.data import load
from normbench.experiments import RESULTS, STRENGTHS, STUDY_C, arms, chosen, finished
from normbench.figures import save
from normbench.pictures import plot_misclassified, plot_samples
from normbench.published import slips
from normbench.report import conditions, findings, table
from normbench.study_figures import plot_regularization, plot_seeds, plot_strengths
from normbench.tables import penalties_table, seeds_conditions, seeds_reading, seeds_table

README = RESULTS.parent / "README.md"
IMAGES = RESULTS.parent / "images"


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
    published = files.read(results / "notebook.jsonl")
    seeds, cifar10, varied = (finished(name, results) for name in ("accuracy", "cifar10", "regularization"))
    speed = [json.loads(line) for line in (results / "speed.jsonl").read_text().splitlines()]
    study_c, strengths = chosen(varied, STUDY_C), chosen(varied, STRENGTHS)
    parts = {
        "results": (table(published), conditions(published), findings(published)),
        "accuracy": (seeds_table(seeds), seeds_conditions(seeds), seeds_reading(seeds)),
        "cifar10": (seeds_table(cifar10), seeds_conditions(cifar10), seeds_reading(cifar10)),
        "study C": (seeds_table(study_c), seeds_conditions(study_c)),
        "L1": (penalties_table(strengths), seeds_conditions(strengths)),
        "parameters": (trainable_table(),),
        "slips": (slips(),),
        "speed": (speed_table(speed), speed_conditions(speed)),
    }
    for name, content in parts.items():
        text = update(text, name, "\n\n".join(content))
    return text


def figures(results: Path = RESULTS, data_dir: str | os.PathLike | None = None) -> Iterator[tuple[str, Figure]]:
    """Name and figure, one after the other, of all that comes from `results`.

    Those that show images are left out where the data set cannot be had, or has another order than it had for the runs.
    """
    cifar10, varied = (finished(name, results) for name in ("cifar10", "regularization"))
    yield "by_hand", plot_all_by_hand()
    yield "regularization", plot_regularization(varied)
    yield "l1_strength", plot_strengths(varied)
    study_c = chosen(varied, STUDY_C)
    yield "study_c", plot_seeds(study_c, "Study C's four arms")
    yield "study_c_without_in", plot_seeds([run for run in study_c if run.config.nm != "IN"], "Study C without IN")
    yield "cifar10_curves", plot_seeds(cifar10, "CIFAR-10")
    for name, shown in (("cifar10", cifar10), ("study_c", study_c)):
        try:
            data = load(shown[0].dataset, data_dir)
        except FileNotFoundError:
            continue
        if name == "cifar10":
            yield "cifar10_samples", plot_samples(data)
        for config, (first, *_) in arms(shown).items():
            if first.test_set == data.test_set:
                yield f"{name}_misclassified_{config.nm.lower()}", plot_misclassified(first, data)


def write(data_dir: str | os.PathLike | None = None) -> Iterator[Path]:
    """Renew README.md and images/ from results/; yields each file as it is written."""
    README.write_text(readme(README.read_text()))
    yield README
    for name, figure in figures(data_dir=data_dir):
        path = IMAGES / f"{name}.png"
        save(figure, path)
        yield path
