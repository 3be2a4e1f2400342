"""Finished trainings become pages: README, docs and the notebook's readings are templates, written by hand.

Numbers in a template come from `study/results/`: from `Numbers`, named `n`, and from the classes of `readings`. A
conclusion stands in a block with the condition that makes it true, so that a result which breaks it stops the page from
being made:

    {% set filters = readings.Filters(n) %}
    {% call holds(filters.plain_lead.low > 0) %}BN is ahead of GN.{% endcall %}
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from matplotlib.figure import Figure

from normbench.data import Dataset, load, title
from normbench.figures import plot_by_batch_size, plot_misclassified, plot_samples, save
from normbench.runs import Arms
from normbench.training import Run
from normbench.words import duration, fixed, interval, percent, signed, span
from study import CHECKOUT, by_hand, colab, explorer, figures, pictures, readings, tables
from study.experiments import EXPERIMENTS, RESULTS, finished
from study.findings import findings
from study.numbers import Numbers

__all__ = [
    "IMAGES",
    "PAGES",
    "BrokenConclusion",
    "draw",
    "findings",
    "page",
    "parameters_table",
    "reading",
    "results_table",
    "write",
]

PROJECT = CHECKOUT
IMAGES = PROJECT / "images"
TEMPLATES = Path(__file__).parent / "templates"
PAGES = (
    "README.md",
    "docs/results.md",
    "docs/normalizations.md",
    "docs/recipe.md",
    "docs/speed.md",
    "docs/networks.md",
)


class BrokenConclusion(ValueError):
    """A sentence of a template that the results no longer bear out."""


# Pages


@dataclass
class Guards:
    """The conclusions of a page, in the order in which they are met.

    `judged` has each one's template and sentence and whether it holds, `broken` the sentences of those that do not.
    """

    judged: list[tuple[str, str, bool]] = field(default_factory=list)

    @property
    def broken(self) -> list[str]:
        """The sentences that do not hold, with their templates."""
        return [f"{name}: {sentence}" for name, sentence, is_true in self.judged if not is_true]

    @pass_context
    def holds(self, context: Context, condition: bool, caller: Callable[[], str]) -> str:
        """Return the sentence between `call` and `endcall`, which is true where the condition is."""
        sentence = caller()
        self.judged.append((str(context.name), " ".join(sentence.split()), bool(condition)))
        return sentence


def render(name: str, n: Numbers) -> tuple[str, Guards]:
    """Fill in the template `name`, and return with its text which of its conclusions hold.

    Raises FileNotFoundError if trainings are missing.
    """
    guards = Guards()
    text = _environment(n, guards).get_template(name).render()
    return text, guards


def page(name: str, results: Path = RESULTS) -> str:
    """Return the text of the template `name`, such as "README.md", with its numbers from the folder `results`.

    Raises BrokenConclusion with every conclusion that does not hold, FileNotFoundError if trainings are missing.
    """
    return _sound(name, Numbers(results))


def _sound(name: str, n: Numbers) -> str:
    text, guards = render(name, n)
    if guards.broken:
        raise BrokenConclusion(
            "these conclusions no longer hold; think again and write them anew:\n" + "\n".join(guards.broken)
        )
    return text


def reading(name: str, results: Path = RESULTS) -> str:
    """Say in a few sentences of Markdown what an experiment shows: `page` of the template readings/NAME.md."""
    return page(f"readings/{name}.md", results).strip()


def write(data_dir: str | os.PathLike[str] | None = None, results: Path = RESULTS) -> Iterator[Path]:
    """Renew README, docs and their figures from the folder `results`, and the project's address in the notebook.

    Yields each file as it is written. Nothing is written unless every page can be made. Pictures of images that cannot
    be had stay as they are.
    """
    n = Numbers(results)
    texts = {PROJECT / name: _sound(name, n) for name in PAGES} | {explorer.PAGE: explorer.page(n)}
    for path, text in texts.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        yield path
    if colab.renew(PROJECT / colab.NOTEBOOK, colab.address()):
        yield PROJECT / colab.NOTEBOOK
    for name, figure in _figures(data_dir, results):
        path = IMAGES / f"{name}.png"
        save(figure, path)
        yield path


def p_value(p: float) -> str:
    """Write a p-value: "p = 0.03", "p < 0.001"."""
    return f"p = {p:.2g}" if p >= 0.001 else "p < 0.001"


def _environment(n: Numbers, guards: Guards) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    words: Sequence[Callable[..., Any]] = (fixed, signed, interval, span, percent, title, duration, p_value)
    environment.filters |= {word.__name__: word for word in words}
    environment.globals |= {
        "n": n,
        "holds": guards.holds,
        "readings": readings,
        "tables": tables,
        "by_hand": by_hand,
        "findings": findings,
        "colab": colab,
    }
    return environment


# Figures


def draw(name: str, results: Path = RESULTS) -> Figure:
    """Draw the figure called `name` of the finished trainings in the folder `results`.

    Raises FileNotFoundError if trainings are missing, KeyError for an unknown name.
    """
    if name == "answer":
        plain = {recipe: arm for recipe, arm in finished("head_to_head", results).items() if not recipe.l1}
        return figures.plot_answer({"MNIST, 20 epochs": plain, "CIFAR-10, 20 epochs": finished("cifar10", results)})
    if name == "compare":
        return plot_by_batch_size(Numbers(results).example.arms)
    experiment = next((key for key in EXPERIMENTS if name in EXPERIMENTS[key].figures), None)
    if experiment is None:
        raise KeyError(f"no experiment has a figure {name}")
    return EXPERIMENTS[experiment].figures[name](finished(experiment, results))


def _figures(data_dir: str | os.PathLike[str] | None, results: Path) -> Iterator[tuple[str, Figure]]:
    yield "normalizations", pictures.plot_normalizations()
    yield "by_hand", pictures.plot_all_by_hand()
    yield "answer", draw("answer", results)
    yield "compare", draw("compare", results)
    for experiment in EXPERIMENTS.values():
        with suppress(FileNotFoundError):  # an experiment that has only begun is on no page yet
            for name in experiment.figures:
                yield name, draw(name, results)
    for data_name, name in (("cifar10", "cifar10"), ("mnist", "study_c")):
        with suppress(FileNotFoundError):  # its pictures stay as they are
            yield from _pictures(name, finished(name, results), load(data_name, data_dir))


def _pictures(prefix: str, arms: Arms, data: Dataset) -> Iterator[tuple[str, Figure]]:
    """Training images, and what the first run of each arm gets wrong, if it was tested on the same images."""
    if prefix == data.name:
        yield f"{prefix}_samples", plot_samples(data)
    for arm in arms.values():
        if arm.runs[0].test_set == data.test_set:
            yield f"{prefix}_misclassified_{arm.recipe.family.lower()}", plot_misclassified(arm.runs[0], data)


# Tables for the notebook


def results_table(runs: Sequence[Run]) -> str:
    """Return a Markdown table of runs and their conditions: `tables.results`."""
    return tables.results(runs)


def parameters_table() -> str:
    """Return a Markdown table of what each normalization adds to the network: `tables.parameters`."""
    return tables.parameters()
