"""The files in results/ become the README's generated parts and the figures of images/."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from normbench.by_hand_figures import plot_all_by_hand
from normbench.data import load
from normbench.experiments import HEAD_TO_HEAD, RESULTS, STUDY_C, arms, chosen, finished
from normbench.figures import save
from normbench.parts import PARTS, part
from normbench.pictures import plot_misclassified, plot_samples
from normbench.seed_figures import plot_arms, plot_batch_size, plot_groups, plot_luck
from normbench.study_figures import plot_regularization, plot_seeds, plot_strengths
from normbench.train import Run

README = RESULTS.parent / "README.md"
IMAGES = RESULTS.parent / "images"


# Each figure of runs over many seeds: the experiment, and what draws it.
FIGURES: dict[str, tuple[str, Callable[[Sequence[Run]], Figure]]] = {
    "accuracy": ("accuracy", lambda runs: plot_arms(runs, "The studies' three models")),
    "head_to_head": ("head_to_head", lambda runs: plot_arms(chosen(runs, HEAD_TO_HEAD), "Head to head")),
    "groups": ("head_to_head", plot_groups),
    "cifar10_curves": ("cifar10", lambda runs: plot_seeds(runs, "CIFAR-10")),
    "cifar10_arms": ("cifar10_short", lambda runs: plot_arms(runs, "Head to head")),
    "batch_size": ("batch_size", plot_batch_size),
    "regularization": ("regularization", plot_regularization),
    "l1_strength": ("regularization", plot_strengths),
    "study_c": ("regularization", lambda runs: plot_seeds(chosen(runs, STUDY_C), "Study C's four arms")),
    "study_c_without_in": (
        "regularization",
        lambda runs: plot_seeds(chosen(runs, [c for c in STUDY_C if c.nm != "IN"]), "Study C without IN"),
    ),
    "luck": ("luck", plot_luck),
}


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
    for name in PARTS:
        text = update(text, name, part(name, results))
    return text


def figures(results: Path = RESULTS, data_dir: str | os.PathLike | None = None) -> Iterator[tuple[str, Figure]]:
    """Name and figure, one after the other, of all that comes from `results`.

    Those that show images are left out where the data set cannot be had, or has another order than it had for the runs.
    """
    yield "by_hand", plot_all_by_hand()
    for name, (experiment, plot) in FIGURES.items():
        yield name, plot(finished(experiment, results))
    study_c = chosen(finished("regularization", results), STUDY_C)
    for name, shown in (("cifar10", finished("cifar10", results)), ("study_c", study_c)):
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
