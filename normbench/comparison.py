"""What a comparison of normalizations found: the answer in words, tables, figures and a page to send on."""

import base64
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, Template
from matplotlib.figure import Figure

from normbench import figures, runs
from normbench.data import HELD_OUT, title
from normbench.device import commit, versions
from normbench.gaps import gaps, seeds_to_tell
from normbench.runs import Arm, Arms
from normbench.stats import MOST_SEEDS, Difference, superiority, winners
from normbench.style import png
from normbench.words import fixed, roughly

# An arm is called unstable where its seeds lie further apart than this many points, and than this many times those of
# the middle arm. Its mean says little then.
UNSTABLE_POINTS, UNSTABLE_TIMES = 5, 5


@dataclass(frozen=True, eq=False)
class Result:
    """What was found at one batch size.

    Attributes:
        batch_size: training images a step.
        arms: those whose trainings all came to their end, each with the rate that was chosen for it.
        failures: the arms that have no result, by their label, and why.
        tried: the trainings that chose the rates, scored on held-out training images; empty for a single rate.
    """

    batch_size: int
    arms: Arms
    failures: Mapping[str, str]
    tried: Arms

    @cached_property
    def ranked(self) -> list[Arm]:
        """The arms by their means, the best first."""
        return sorted(self.arms.values(), key=lambda arm: -arm.accuracy.mean)

    @cached_property
    def leads(self) -> dict[tuple[Arm, Arm], Difference]:
        """How far the better of each pair is ahead. The intervals of all pairs hold together; one seed gives none."""
        pairs = list(combinations(self.ranked, 2)) if self.ranked and len(self.ranked[0].runs) > 1 else []
        found = gaps(self.arms, [(a.config, b.config) for a, b in pairs])
        return dict(zip(pairs, found.values()))

    @property
    def answer(self) -> str:
        """What to take, how sure that is, and what would make it surer."""
        sentences = self._verdict()
        if self.leads:
            shares = winners({_said(arm): arm.last() for arm in self.ranked})
            likeliest = sorted(shares.items(), key=lambda item: -item[1])
            named = ", ".join(f"{name} in {100 * share:.0f} %" for name, share in likeliest if share >= 0.005)
            sentences.append(f"If each were trained once, the best would be {named} of all cases.")
        sentences += [f"{_said(label)} has no result: {reason}." for label, reason in self.failures.items()]
        return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)

    def _verdict(self) -> list[str]:
        if not self.ranked:
            return ["No arm could be trained."]
        best, *others = self.ranked
        mean = f"{best.accuracy.mean:.2f} % of the test images right"
        if not others:
            return [f"{_said(best)} alone has a result: {mean} on average."]
        if not self.leads:
            apart = best.accuracy.mean - others[0].accuracy.mean
            return [
                f"One seed cannot tell: {_said(best)} has {mean}, {_said(others[0])} {apart:.2f} points less, and "
                "other seeds may turn that round.",
                "Train five seeds an arm; the first is kept.",
            ]
        leads, unstable = {other: self.leads[best, other] for other in others}, self._unstable()
        steady = {other: lead for other, lead in leads.items() if other not in unstable}
        tied = [other for other, lead in steady.items() if lead.low <= 0]
        ahead = [f"of {_said(other)} by {_points(lead)}" for other, lead in steady.items() if lead.low > 0]
        sentences = self._tie([best, *tied], mean) if tied else [f"Take {_said(best)}: {mean} on average."]
        sentences += [f"{_said(best)} is clearly ahead {_listed(ahead)}."] if ahead else []
        for arm in unstable:
            behind = f"; its mean is {_points(leads[arm])} behind" if arm in leads else ""
            reach = f"{arm.last().min():.2f} to {arm.last().max():.2f} %"
            sentences.append(f"{_said(arm)} is unstable: its seeds reach from {reach}{behind}.")
        return sentences

    def _tie(self, group: Sequence[Arm], mean: str) -> list[str]:
        """That the first of the group, whose mean is given, is not surely the best of it, and what would tell."""
        best, nearest = group[:2]
        hidden = max(max(-lead.low, lead.high) for pair, lead in self.leads.items() if {*pair} <= {*group})
        lead, needed = self.leads[best, nearest], self._seeds_to_tell(best, nearest)
        what_tells = f"about {roughly(needed)} seeds an arm" if math.isfinite(needed) else "more test images"
        return [
            f"{_listed([_said(arm) for arm in group])} cannot be told apart with {len(best.runs)} seeds; "
            f"differences of up to {hidden:.2f} points between them may be hidden.",
            f"{_said(best)} has the highest mean, {mean}, ahead of {_said(nearest)} by {_points(lead)}.",
            f"Were that the true lead, it would take {what_tells} to see it.",
        ]

    def _unstable(self) -> list[Arm]:
        spread = {arm: np.ptp(arm.last()) for arm in self.ranked}
        middle = sorted(spread.values())[(len(spread) - 1) // 2]
        return [arm for arm, points in spread.items() if points > max(UNSTABLE_POINTS, UNSTABLE_TIMES * middle)]

    def _seeds_to_tell(self, a: Arm, b: Arm) -> float:
        return seeds_to_tell(self.arms, a.config, b.config, len(self.leads))

    def pairs(self) -> pd.DataFrame:
        """A row a pair of arms: their `leads`, how often the first beats the second, and how many seeds would tell."""
        return pd.DataFrame(
            {
                "pair": f"{a.label} − {b.label}",
                "points": lead.estimate,
                "low": lead.low,
                "high": lead.high,
                "first is better in one run": superiority(a.last(), b.last()),
                "seeds to tell": self._seeds_to_tell(a, b),
            }
            for (a, b), lead in self.leads.items()
        )


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare` found.

    Attributes:
        network: its name.
        data: the name of the data set.
        images: how many training and how many test images.
        swapped: the types of its own normalization layers, and how many there are of each.
        results: one for each batch size.
    """

    network: str
    data: str
    images: tuple[int, int]
    swapped: Mapping[str, int]
    results: Sequence[Result]

    @classmethod
    def read(cls, path: str | os.PathLike, network: str) -> "Comparison":
        """What `compare` has left in a file runs.jsonl, where neither the network nor the training images are at hand.

        Raises FileNotFoundError where there is no such file.
        """
        trained, results = runs.read(path), []
        for size in dict.fromkeys(run.config.batch_size for run in trained):
            of_size = [run for run in trained if run.config.batch_size == size]
            tried = runs.arms(run for run in of_size if run.dataset.endswith(HELD_OUT))
            arms = runs.arms(run for run in of_size if not run.dataset.endswith(HELD_OUT))
            failed = {arm.label: run.failure for arm in arms.values() for run in arm.runs if run.failure}
            whole = {config: arm for config, arm in arms.items() if arm.label not in failed}
            results.append(Result(size, whole, failed, tried))
        last = trained[-1]
        return cls(network, last.dataset.removesuffix(HELD_OUT), (0, len(last.correct)), {}, results)

    @property
    def chosen(self) -> bool:
        """Whether each arm has a learning rate that was chosen for it."""
        return any(result.tried for result in self.results)

    @property
    def answer(self) -> str:
        """The answers, a paragraph a batch size."""
        several = len(self.results) > 1
        return "\n\n".join(
            (f"With batches of {result.batch_size}: " if several else "") + result.answer for result in self.results
        )

    @property
    def named(self) -> dict[str, Result]:
        """The results by what follows their titles: nothing, or the batch size where there are several."""
        several = len(self.results) > 1
        return {f", batches of {result.batch_size}" if several else "": result for result in self.results}

    @property
    def arms(self) -> Arms:
        """The arms of all batch sizes that have a result."""
        return {config: arm for result in self.results for config, arm in result.arms.items()}

    def frame(self) -> pd.DataFrame:
        """A row a training of an arm that has a result, as `runs.frame` gives it."""
        return runs.frame(run for arm in self.arms.values() for run in arm.runs)

    def figures(self) -> dict[str, Figure]:
        """The figures by their titles: accuracies with intervals and curves by batch size, and the rates tried."""
        drawn = {"Accuracy by batch size": figures.plot_by_batch_size(self.arms)} if self._has_several_sizes else {}
        for at, result in self.named.items():
            if result.arms:
                drawn[f"Accuracy{at}"] = figures.plot_arms(result.arms)
                drawn[f"Curves{at}"] = figures.plot_seeds(result.arms)
            if result.tried:
                drawn[f"Learning rates tried{at}"] = figures.plot_rates(result.tried)
        return drawn

    @property
    def _has_several_sizes(self) -> bool:
        return len({config.batch_size for config in self.arms}) > 1

    def page(self, command: str = "") -> str:
        """A page in HTML to send to a colleague, with all figures inside; `command` is what made the comparison."""
        return _template("page.html").render(comparison=self, body=self._body(command))

    def _body(self, command: str = "") -> str:
        devices = dict.fromkeys(run.device for arm in self.arms.values() for run in arm.runs)
        return _template("comparison.html").render(
            comparison=self,
            title=title(self.data),
            most_seeds=MOST_SEEDS,
            figures={name: _embedded(figure) for name, figure in self.figures().items()},
            made_by={
                "Command": command,
                "Device": ", ".join(devices),
                "Versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
                "Code of commit": commit(),
            },
        )

    def __str__(self) -> str:
        return self.answer

    def _repr_html_(self) -> str:
        return self._body()


def _said(arm: Arm | str) -> str:
    """The arm's name in a sentence, where "ahead of none" would say something else; a label may be given."""
    label = arm if isinstance(arm, str) else arm.label
    return "no normalization" if label == "none" else label


def _points(lead: Difference) -> str:
    return f"{fixed(lead.estimate)} points (95 % interval {fixed(lead.low)} to {fixed(lead.high)})"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _template(name: str) -> Template:
    folder = FileSystemLoader(Path(__file__).parent / "templates")
    return Environment(loader=folder, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template(name)


def _embedded(figure: Figure) -> str:
    """The figure as the address of a picture that stands in the address itself."""
    return f"data:image/png;base64,{base64.b64encode(png(figure)).decode()}"
