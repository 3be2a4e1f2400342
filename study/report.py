"""Finished runs become pages: README, docs and the notebook's readings are templates, written by hand.

Numbers in a template come from `study/results/`: from `Numbers`, named `n`, and from the classes of `readings`. A
conclusion stands in a block with the condition that makes it true, so that a result which breaks it stops the page from
being made:

    {% set filters = readings.Filters(n) %}
    {% call holds(filters.plain_lead.low > 0) %}BN is ahead of GN.{% endcall %}
"""

import html
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from matplotlib.figure import Figure

from normbench.data import load, title
from normbench.figures import dark, plot_by_batch_size, plot_samples, save
from normbench.runs import Arms
from normbench.training import Run
from normbench.words import count, duration, fixed, interval, percent, signed, span
from study import CHECKOUT, atlas, by_hand, colab, explorer, figures, pictures, readings, screenshots, tables
from study.benchmarks import cost
from study.benchmarks.rows import read as read_rows
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
DARK = "dark"  # the folder in IMAGES of figures for pages with a dark background
WIDE = ("answer", "by_hand")  # figures with a variant, NAME_wide, for wide pages
SHOWN = 540  # pixels of a figure's width on a page: half of those that it has
PICTURE = re.compile(r"^!\[(.*?)\]\(((?:\.\./)?images/)(\w+)\.png\)$", re.MULTILINE)
TEMPLATES = Path(__file__).parent / "templates"
PAGES = (
    "README.md",
    "docs/results.md",
    "docs/atlas.md",
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

    Raises FileNotFoundError if runs are missing.
    """
    guards = Guards()
    text = _environment(n, guards).get_template(name).render()
    return text, guards


def page(name: str, results: Path = RESULTS) -> str:
    """Return the text of the template `name`, such as "README.md", with its numbers from the folder `results`.

    Raises BrokenConclusion with every conclusion that does not hold, FileNotFoundError if runs are missing.
    """
    return _sound(name, Numbers(results))


def _sound(name: str, n: Numbers) -> str:
    text, guards = render(name, n)
    if guards.broken:
        raise BrokenConclusion(
            "these conclusions no longer hold; think again and write them anew:\n" + "\n".join(guards.broken)
        )
    return PICTURE.sub(_for_light_and_dark, text) if name in PAGES else text


def _for_light_and_dark(picture: re.Match[str]) -> str:
    """Turn a Markdown picture of images/ into HTML with a variant for dark pages and one for wide ones, if there is."""
    alt, folder, name = html.escape(picture[1]), picture[2], picture[3]
    variants = [(name, "")]
    if name in WIDE:
        variants.insert(0, (f"{name}_wide", " and (min-width: 900px)"))
    sources = [
        f'<source media="({scheme}){more}" srcset="{folder}{place}{variant}.png">'
        for variant, more in variants
        for scheme, place in (("prefers-color-scheme: dark", f"{DARK}/"), ("prefers-color-scheme: light", ""))
        if place or more
    ]
    width = f' width="{SHOWN}"' if len(variants) == 1 else ""
    image = f'<img alt="{alt}" src="{folder}{name}.png"{width}>'
    return "\n  ".join(["<picture>", *sources, image]) + "\n</picture>"


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
    (IMAGES / DARK).mkdir(exist_ok=True)
    for name, plot in _figures(data_dir, results):
        save(plot(), IMAGES / f"{name}.png")
        with dark():
            save(plot(), IMAGES / DARK / f"{name}.png")
        yield IMAGES / f"{name}.png"
    with suppress(FileNotFoundError):  # without a browser the picture stays as it is
        shown = n.example.page()
        screenshots.shoot(shown, IMAGES / "report.png")
        screenshots.shoot(shown, IMAGES / DARK / "report.png", dark=True)
        yield IMAGES / "report.png"


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
    environment.filters |= {word.__name__: word for word in words} | {"counted": count}
    environment.globals |= {
        "n": n,
        "holds": guards.holds,
        "readings": readings,
        "tables": tables,
        "atlas": atlas,
        "by_hand": by_hand,
        "findings": findings,
        "colab": colab,
    }
    return environment


# Figures


def draw(name: str, results: Path = RESULTS) -> Figure:
    """Draw the figure called `name` of the finished runs in the folder `results`.

    Raises FileNotFoundError if runs are missing, KeyError for an unknown name.
    """
    if name in ("answer", "answer_wide"):
        return figures.plot_answer(_answer(Numbers(results)), wide=name == "answer_wide")
    if name == "atlas":
        return atlas.plot_atlas(readings.Atlas(Numbers(results)).settings)
    if name == "compare":
        return plot_by_batch_size(Numbers(results).example.arms)
    experiment = next((key for key in EXPERIMENTS if name in EXPERIMENTS[key].figures), None)
    if experiment is None:
        raise KeyError(f"no experiment has a figure {name}")
    return EXPERIMENTS[experiment].figures[name](finished(experiment, results))


def _answer(n: Numbers) -> dict[str, Arms]:
    """Gather the arms of the answer's panels by what each panel shows, said only where the results bear it out."""
    a = readings.Answer(n)
    easy = "Easy task: no difference" if not a.mnist.differing else "Easy task"
    photos = "Photos: BN, GN and LN tie" if not a.cifar10.differing else "Photos"
    behind = min(lead.low for lead in a.leads_at_2) > 0
    small = "2 images per batch: BN falls behind" if behind else "2 images per batch"
    of_mnist = [n.arm("head_to_head", norm) for norm in ("BN", "GN:2", "LN", "IN", "none")]
    chosen = {easy: of_mnist, photos: n.arms("cifar10"), small: n.arms("small_batches", batch_size=2)}
    return {title: {arm.recipe: arm for arm in arms} for title, arms in chosen.items()}


Plot = Callable[[], Figure]


def _figures(data_dir: str | os.PathLike[str] | None, results: Path) -> Iterator[tuple[str, Plot]]:
    """Name each figure of the pages, and what draws it."""
    yield "normalizations", pictures.plot_normalizations
    yield "by_hand", pictures.plot_all_by_hand
    yield "by_hand_wide", partial(pictures.plot_all_by_hand, wide=True)
    for name in ("answer", "answer_wide", "compare", "atlas"):
        yield name, partial(draw, name, results)
    for experiment_name, experiment in EXPERIMENTS.items():
        with suppress(FileNotFoundError):  # an experiment that has only begun is on no page yet
            arms = finished(experiment_name, results)
            for name, plot in experiment.figures.items():
                yield name, partial(plot, arms)
    if (results / cost.SAVED.name).exists():
        yield "cost", lambda: cost.plot_cost(read_rows(results / cost.SAVED.name))
    with suppress(FileNotFoundError):  # its pictures stay as they are
        photos, arms = load("cifar10", data_dir), finished("cifar10", results)
        yield "cifar10_samples", partial(plot_samples, photos)
        first = [arm.runs[0] for arm in arms.values()]
        if all(run.test_set == photos.test_set for run in first):
            yield "cifar10_mistakes", partial(pictures.plot_mistakes, first, photos)


# Tables for the notebook


def results_table(runs: Sequence[Run]) -> str:
    """Return a Markdown table of runs and their conditions: `tables.results`."""
    return tables.results(runs)


def parameters_table() -> str:
    """Return a Markdown table of what each normalization adds to the network: `tables.parameters`."""
    return tables.parameters()
