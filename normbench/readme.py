"""The files in results/ become the README's generated parts and the figures of images/."""

import os
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from normbench.by_hand_figures import plot_all_by_hand
from normbench.data import load
from normbench.experiments import RESULTS, STUDY_C, arms, chosen, finished
from normbench.figures import save
from normbench.parts import FIGURES, PARTS, draw, part
from normbench.pictures import plot_misclassified, plot_samples

README = RESULTS.parent / "README.md"
IMAGES = RESULTS.parent / "images"


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
    for name in FIGURES:
        yield name, draw(name, results)
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
