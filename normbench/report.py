"""Finished trainings become pages: README, docs and the notebook's readings are templates, written by hand.

Numbers in a template are expressions over `results/`. A conclusion stands in a block with the condition that makes it
true, so that a result which breaks it stops the page from being made:

    {% call holds(gap("cifar10", "BN", "LN").low > 0) %}BN is ahead of LN.{% endcall %}
"""

import html
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, cached_property, partial
from itertools import combinations
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from matplotlib.figure import Figure

from model import NORMALIZATIONS, Net
from normbench import by_hand, colab, experiments, figures, gaps, pictures, runs, stats
from normbench.claims import WINNERS, claims
from normbench.comparison import Comparison
from normbench.config import Config
from normbench.data import Dataset, load, title
from normbench.experiments import CHECKOUT, EXPERIMENTS, RESULTS, finished
from normbench.findings import findings
from normbench.runs import Arm, Arms
from normbench.style import save
from normbench.train import Run
from normbench.words import count, duration, fixed, in_unit, interval, percent, roughly, signed, span

PROJECT = CHECKOUT
IMAGES = PROJECT / "images"
TEMPLATES = Path(__file__).parent / "templates"
PAGES = (
    *("README.md", "docs/results.md", "docs/normalizations.md", "docs/recipe.md", "docs/speed.md"),
    "docs/explorer.html",
)


class BrokenConclusion(ValueError):
    """A sentence of a template that the results no longer bear out."""


# Pages


def page(name: str, results: Path = RESULTS) -> str:
    """The text of the template `name`, such as "README.md", with its numbers from the folder `results`.

    Raises BrokenConclusion with every conclusion that does not hold, FileNotFoundError where trainings are missing.
    """
    numbers = Numbers(results)
    text = _environment(numbers).get_template(name).render()
    if numbers.broken:
        raise BrokenConclusion(
            "these conclusions no longer hold; think again and write them anew:\n" + "\n".join(numbers.broken)
        )
    return text


def explorer() -> str:
    """docs/explorer.html as a frame for a notebook: HTML that holds the whole page."""
    style = "width: 100%; height: 75rem; border: 0"
    frame = f'<iframe title="Explorer" style="{style}" srcdoc="{html.escape(page("docs/explorer.html"))}"></iframe>'
    return f"<div>{frame}</div>"  # of a bare frame IPython would say that it has a class for addresses


def reading(name: str, results: Path = RESULTS) -> str:
    """What an experiment shows, in a few sentences of Markdown: `page` of the template readings/NAME.md."""
    return page(f"readings/{name}.md", results).strip()


def write(data_dir: str | os.PathLike | None = None) -> Iterator[Path]:
    """Renew README, docs and their figures from results/, and the project's address in the notebook.

    Yields each file as it is written. Nothing is written unless every page can be made. Pictures of images that cannot
    be had stay as they are.
    """
    texts = {PROJECT / name: page(name) for name in PAGES}
    for path, text in texts.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        yield path
    if colab.renew(PROJECT / colab.NOTEBOOK, colab.address()):
        yield PROJECT / colab.NOTEBOOK
    for name, figure in _figures(data_dir):
        path = IMAGES / f"{name}.png"
        save(figure, path)
        yield path


def _figures(data_dir: str | os.PathLike | None) -> Iterator[tuple[str, Figure]]:
    yield "by_hand", pictures.plot_all_by_hand()
    yield "answer", draw("answer")
    yield "compare", draw("compare")
    for experiment in EXPERIMENTS.values():
        with suppress(FileNotFoundError):  # an experiment that has only begun is on no page yet
            for name in experiment.figures:
                yield name, draw(name)
    for data_name, prefix, arms in (
        ("cifar10", "cifar10", finished("cifar10").values()),
        ("mnist", "study_c", finished("study_c").values()),
    ):
        with suppress(FileNotFoundError):  # its pictures stay as they are
            yield from _pictures(prefix, arms, load(data_name, data_dir))


def _pictures(prefix: str, arms: Iterable[Arm], data: Dataset) -> Iterator[tuple[str, Figure]]:
    """Training images, and what the first run of each arm gets wrong, if it was tested on the same images."""
    if prefix == data.name:
        yield f"{prefix}_samples", pictures.plot_samples(data)
    for arm in arms:
        if arm.runs[0].test_set == data.test_set:
            yield f"{prefix}_misclassified_{arm.config.nm.lower()}", pictures.plot_misclassified(arm.runs[0], data)


def draw(name: str, results: Path = RESULTS) -> Figure:
    """The figure called `name` of finished trainings in the folder `results`.

    Raises FileNotFoundError where trainings are missing, KeyError for an unknown name.
    """
    if name == "answer":
        mnist, cifar10 = finished("head_to_head", results), finished("cifar10", results)
        plain = {config: arm for config, arm in mnist.items() if not config.l1}
        return figures.plot_answer({"MNIST, 20 epochs": plain, "CIFAR-10, 20 epochs": cifar10})
    if name == "compare":
        return figures.plot_by_batch_size(example(results).arms)
    experiment = next(key for key, experiment in EXPERIMENTS.items() if name in experiment.figures)
    return EXPERIMENTS[experiment].figures[name](finished(experiment, results))


def example(results: Path = RESULTS) -> Comparison:
    """What `normbench compare` found for the network of examples/resnet8.py."""
    return Comparison.read(results / "compare.jsonl", "examples/resnet8.py")


# What templates can name


class Numbers:
    """The finished trainings of a folder, as templates ask for them.

    `judged` gathers every conclusion's template and whether it holds, `broken` the sentences of those that do not.
    """

    def __init__(self, results: Path = RESULTS):
        self.results, self.judged, self.broken = results, [], []
        self.experiment = cache(lambda name: finished(name, results))

    @pass_context
    def holds(self, context, condition: bool, caller) -> str:
        """The sentence between `call` and `endcall`, which is true where the condition is."""
        sentence = caller()
        self.judged.append((context.name, bool(condition)))
        if not condition:
            self.broken.append(f"{context.name}: {' '.join(sentence.split())}")
        return sentence

    def arms(self, name: str, *labels: str) -> list[Arm]:
        """The arms of an experiment, in its order; with labels, those alone and in theirs."""
        by_label = {arm.label: arm for arm in self.experiment(name).values()}
        return [by_label[label] for label in labels] if labels else list(self.experiment(name).values())

    def arm(self, name: str, label: str) -> Arm:
        return self.arms(name, label)[0]

    def where(self, name: str, **values) -> list[Arm]:
        """The arms whose config has all these values."""
        return [arm for arm in self.experiment(name).values() if _has(arm.config, values)]

    def gap(self, name: str, a: str | Arm, b: str | Arm, family: int = 1) -> stats.Difference:
        """`gaps.gap` of two arms, by their labels; where a label stands for several, the arms themselves."""
        first, second = (self.arm(name, arm) if isinstance(arm, str) else arm for arm in (a, b))
        return gaps.gap(self.experiment(name), first.config, second.config, family)

    def widest(self, name: str, *labels: str) -> tuple[str, str, stats.Difference]:
        """The two arms whose means are furthest apart, the higher first, and their gap in the family of all pairs."""
        arms = sorted(self.arms(name, *labels), key=lambda arm: -arm.accuracy.mean)
        pairs = math.comb(len(arms), 2)
        return arms[0].label, arms[-1].label, self.gap(name, arms[0].label, arms[-1].label, pairs)

    def all_same(self, name: str, *labels: str, margin: float = gaps.MARGIN) -> bool:
        """Whether all pairs of arms are shown to be closer than `margin`, together."""
        return all(gaps.same(gap, margin) for _, _, gap in self.pairs(name, *labels))

    def pairs(self, name: str, *labels: str, **values) -> list[tuple[Arm, Arm, stats.Difference]]:
        """All pairs of arms, in one family: higher arm, lower arm, gap.

        With `values`, of the arms alone whose config has all of them.
        """
        arms = [arm for arm in self.arms(name, *labels) if _has(arm.config, values)]
        pairs = list(combinations(sorted(arms, key=lambda arm: -arm.accuracy.mean), 2))
        gap = partial(gaps.gap, self.experiment(name), family=len(pairs))
        return [(a, b, gap(a.config, b.config)) for a, b in pairs]

    def differing(self, name: str, *labels: str, **values) -> list[tuple[Arm, Arm, stats.Difference]]:
        """Those of the `pairs` that differ."""
        return [(a, b, gap) for a, b, gap in self.pairs(name, *labels, **values) if gap.low > 0]

    def seeds_to_tell(self, name: str, a: Arm, b: Arm, family: int) -> float:
        """`gaps.seeds_to_tell` of two arms of an experiment."""
        return gaps.seeds_to_tell(self.experiment(name), a.config, b.config, family)

    def gaps(self, name: str, pairs: Sequence[tuple[str | Arm, str | Arm]]) -> list[stats.Difference]:
        """The gap of each pair of arms, in one family."""
        return [self.gap(name, a, b, len(pairs)) for a, b in pairs]

    def winners(self, name: str, *labels: str) -> dict[str, float]:
        """How often each arm is best if one takes one run of each: a share of 1."""
        return stats.winners({arm.label: arm.last() for arm in self.arms(name, *labels)})

    def by_label(self, name: str) -> dict[str, list[Arm]]:
        """The arms of an experiment whose arms differ in more than their labels say, such as the learning rate."""
        labels: dict[str, list[Arm]] = {}
        for arm in self.arms(name):
            labels.setdefault(arm.label, []).append(arm)
        return labels

    def shortfalls(self, name: str, lr: float) -> list[tuple[float, str]]:
        """`experiments.shortfall` of each arm with its label, the largest first."""
        arms = self.by_label(name)
        return sorted(((experiments.shortfall(arms[label], lr), label) for label in arms), reverse=True)

    def explorer_data(self) -> dict:
        """What docs/explorer.html shows: the batch worked by hand, and accuracy by the images that share a mean."""
        return {
            "shape": by_hand.EXAMPLE.shape,
            "example": by_hand.EXAMPLE.flatten().tolist(),
            "channels": by_hand.CHANNELS,
            "measured": self._by_images_a_statistic(),
        }

    def _by_images_a_statistic(self) -> dict:
        """Mean test accuracy by the images that share a statistic of batch norm, as lines with their words."""
        arms = self.experiment("ghosts")
        images = sorted(config.images_a_statistic for config in arms if config.nm == "BN")
        lines = {nm: [] for nm in dict.fromkeys(config.nm for config in arms)}
        for config, arm in arms.items():
            # The others see one image at a time, whatever BN sees.
            places = [config.images_a_statistic] if config.nm == "BN" else images
            lines[config.nm] += [(place, arm.accuracy.mean) for place in places]
        return {
            "batch": max(images),
            "conditions": figures.conditions(arms.values()),
            "lines": [
                {"name": nm, "colour": NORMALIZATIONS[nm].colour, "points": sorted(points)}
                for nm, points in lines.items()
            ],
        }

    def example(self) -> Comparison:
        return example(self.results)

    def seeds(self, name: str) -> str:
        """How many seeds an arm has, and of how many planned where some are missing."""
        have, planned = len(self.arms(name)[0].runs), len(EXPERIMENTS[name].seeds)
        return f"{have}" if have == planned else f"{have} of {planned} planned"

    def lines(self, name: str) -> list[dict]:
        """The lines of results/NAME.jsonl."""
        return [json.loads(line) for line in (self.results / f"{name}.jsonl").read_text().splitlines()]

    def tries(self, dataset: str, epochs: Sequence[int]) -> dict[tuple, list[dict]]:
        """The lines of results/search.jsonl of a data set and these lengths, by network, change and parameters."""
        tries: dict[tuple, list[dict]] = {}
        for line in self.lines("search"):
            if line["dataset"] == dataset and line["epochs"] in epochs:
                tries.setdefault((line["layers"], line["change"], line["parameters"]), []).append(line)
        return tries

    @cached_property
    def claims(self):
        return claims(self.results)

    @cached_property
    def published(self) -> list[Run]:
        """The notebook's own three runs."""
        return runs.read(self.results / "notebook.jsonl")


def _has(config: Config, values: Mapping[str, object]) -> bool:
    return all(getattr(config, key) == value for key, value in values.items())


def _environment(numbers: Numbers) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {words.__name__: words for words in (fixed, signed, interval, span, percent, roughly, title)}
    environment.globals |= {
        name: getattr(numbers, name)
        for name in (
            *("holds", "arms", "arm", "where", "by_label", "seeds", "lines", "tries", "shortfalls"),
            *("example", "explorer_data", "gap", "gaps", "widest", "all_same", "pairs", "differing", "winners"),
        )
    }
    environment.globals |= {
        "numbers": numbers,
        "address": colab.address,
        "badge": colab.badge,
        "conditions": conditions,
        "in_unit": in_unit,
        "count": count,
        "duration": duration,
        "Net": Net,
        "results_table": results_table,
        "findings": findings,
        "by_hand": by_hand,
        "stats": stats,
        "EXPERIMENTS": EXPERIMENTS,
        "NORMALIZATIONS": NORMALIZATIONS,
        "MARGIN": gaps.MARGIN,
        "WINNERS": WINNERS,
        "LEARNED": experiments.LEARNED,
        "unlearned": experiments.unlearned,
        "learned": lambda arms: [arm for arm in arms if not experiments.unlearned([arm])],
        "first_epoch": first_epoch,
        "typical_difference": gaps.typical_difference,
        "highest": lambda arms, metric: max(arm.last(metric).max() for arm in arms),
        "runs_of": lambda arms: sum(len(arm.runs) for arm in arms),
        "max": max,
        "min": min,
        "len": len,
        "zip": zip,
        "abs": abs,
        "round": round,
        "mean": lambda values: float(np.mean(list(values))),
    }
    return environment


def first_epoch(run: Run, accuracy: float) -> int | None:
    """The first epoch after which the test accuracy was at least so many %; None where there was none."""
    return next((row["epoch"] for row in run.history if row["test_accuracy"] >= accuracy), None)


def conditions(arms: Iterable[Arm]) -> str:
    """What the arms were measured with, in a line."""
    arms = list(arms)
    config, trained = arms[0].config, [run for arm in arms for run in arm.runs]
    images = f", its first {config.images:,} training images" if config.images else ""
    sizes = sorted({arm.config.batch_size for arm in arms})
    batch = f"batch {sizes[0]}" if len(sizes) == 1 else f"batches of {sizes[0]} to {sizes[-1]}"
    seeds = sorted({run.config.seed for run in trained})
    seeds = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
    counts = Counter(run.device for run in trained)
    devices = ", ".join(f"{n:,} on {device}" for device, n in counts.items()) if len(counts) > 1 else trained[0].device
    pace = np.median([run.seconds / run.config.epochs for run in trained])
    return (
        f"{title(trained[0].dataset)}{images}, {figures.lengths(trained)}, {batch}, last epoch, "
        f"{seeds}; {devices}; {pace:.1f} s an epoch."
    )


def arms_table(arms: Arms) -> str:
    """A Markdown table, a row an arm: last-epoch test accuracy over the seeds, the interval by Student's t."""
    return _tables().accuracy_table(list(arms.values())).strip()


def results_table(trained: Sequence[Run]) -> str:
    """A Markdown table, a row a run: what the last epoch gave, and beside it the best epoch; and the conditions."""
    return _tables().results_table(trained).strip()


def parameters_table() -> str:
    """A Markdown table: what each normalization adds to the network, counted from the network itself."""
    return _tables().parameters_table().strip()


def _tables():
    """The macros of the template tables.md."""
    return _environment(Numbers()).get_template("tables.md").module
