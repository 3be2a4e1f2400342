"""What a comparison found: the arms of each batch size, and how far apart they are."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from normbench.checking.price import Price
from normbench.comparison.answer import answer
from normbench.comparison.differences import Pair, has_examples
from normbench.comparison.export import held_under, numbers_of_images, settings, stored, to_dict, to_markdown
from normbench.comparison.own import RATES_TRIED
from normbench.comparison.race import Ending, Rules, Standing, judged_once, race
from normbench.comparison.racing import rules_for, samples
from normbench.comparison.verdict import Verdict, verdict
from normbench.data import HELD_OUT
from normbench.layers import OWN
from normbench.runs import Arm, Arms, Measure, arms, frame, measure_of, read
from normbench.stats import Difference, Interval, superiority
from normbench.training import Recipe, Run, labels

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Result:
    """What was found at one batch size.

    Attributes:
        batch_size: training images per step.
        arms: those of which a run came to its end, each with the learning rate that was chosen for it.
        failures: why the others have no result.
        tried: the runs that chose the rates, scored on held-out training images; empty for a single rate.
        twins: arms whose network is that of another one, by norm; that one was trained, and stands for both.
        step_seconds: how long a training step takes, by norm, as far as it was measured.
        higher_is_better: whether the best arm is the one with the highest score.
        rules: those of the race; None for runs that are looked at once.
        far_behind: arms that were so with their best learning rate.
        chance: the accuracy in % of who always names the most frequent class; None where it is not known.
        groups: how many groups group norm got in the arms that did not ask for a number, by norm.
        stopped: whether the race ended for want of time.
    """

    batch_size: int
    arms: Arms
    failures: Mapping[Recipe, str] = field(default_factory=dict)
    tried: Arms = field(default_factory=dict)
    twins: Mapping[str, str] = field(default_factory=dict)
    step_seconds: Mapping[str, float] = field(default_factory=dict)
    higher_is_better: bool = True
    rules: Rules | None = None
    far_behind: frozenset[Recipe] = frozenset()
    chance: float | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    stopped: bool = False

    @cached_property
    def measure(self) -> Measure:
        """What the arms are judged by."""
        return measure_of(self.arms.values(), self.higher_is_better)

    @property
    def has_examples(self) -> bool:
        """Whether the arms have a score for each of the same test examples."""
        return bool(self.arms) and has_examples(*self.arms.values())

    @property
    def has_decays(self) -> bool:
        """Whether each arm has a weight decay that was chosen for it."""
        return len({recipe.weight_decay for recipe in self.tried}) > 1

    @property
    def yours(self) -> str:
        """The norm of the arm that is the network as it is; "" if none of them is."""
        own = self.twins.get(OWN, OWN)
        return own if any(recipe.norm == own for recipe in (*self.arms, *self.failures)) else ""

    @cached_property
    def labels(self) -> dict[Recipe, str]:
        """A label for each arm, those that failed too, that no other has."""
        named = labels([*self.arms, *self.failures])
        of_own = {recipe for recipe in named if recipe.norm == self.yours != OWN}
        return {recipe: label + " (yours)" * (recipe in of_own) for recipe, label in named.items()}

    @cached_property
    def standings(self) -> list[Standing[Recipe]]:
        """How the race stood after each round; runs that are looked at once have one standing, and no runs none."""
        if not self.arms:
            return []
        scores = samples(self.arms, self.measure, self.chance)
        if self.rules is None:
            return [judged_once(scores)]
        return race(scores, rules_for(self.rules, self.measure), self.far_behind)

    @property
    def standing(self) -> Standing[Recipe]:
        """How the race stands."""
        return self.standings[-1] if self.standings else Standing(0, (), ending=Ending.FAILED)

    @cached_property
    def verdict(self) -> Verdict[Recipe]:
        """What is known."""
        return verdict(self.standing, self.rules.margin if self.rules else None, self.stopped)

    @cached_property
    def ranked(self) -> list[Arm]:
        """The arms, the best first: those in the race, then those that left it, by their means; then without a mean."""
        standing = self.standing
        place = {arm: (0, i) for i, arm in enumerate(standing.racing)}
        means = {arm: (1, -mean.estimate) for arm, mean in standing.means.items()}
        return sorted(self.arms.values(), key=lambda arm: place.get(arm.recipe) or means.get(arm.recipe, (2, 0)))

    @property
    def leads(self) -> Mapping[Pair, Difference]:
        """How far the better of each pair is ahead, with the race's interval; without those that have one score."""
        return self.standing.pairs

    def named(self, recipe: Recipe) -> str:
        """Return the label of an arm, with the number of groups that group norm got if nobody asked for one."""
        label, groups = self.labels[recipe], self.groups.get(recipe.norm)
        return label.replace("GN", f"GN ({groups} group{'s' * (groups != '1')})", 1) if groups else label

    def mean(self, arm: Arm) -> Interval | None:
        """The mean score of an arm's runs that learned, with its interval for new seeds; None if none did.

        The interval is that of the race, true whenever it ends, and lies where scores can lie; nan for a single run,
        and where so few runs scatter so widely that it would be all that is possible.
        """
        found = self.standing.means.get(arm.recipe)
        if found is None:
            return None
        least, most = self.measure.bounds
        low, high = sorted(self.measure.sign * end for end in (found.low, found.high))
        if low < least and high > most:
            low = high = math.nan
        return Interval(self.measure.sign * found.estimate, max(low, least), min(high, most))

    def possible(self, lead: Difference) -> Difference:
        """Cut a lead's interval to where differences can lie: those of accuracies within 100 points."""
        least, most = self.measure.bounds
        low, high = np.clip([lead.low, lead.high], least - most, most - least)
        return Difference(lead.estimate, float(low), float(high), lead.p)

    def judged(self, arm: Arm) -> np.ndarray:
        """The scores of the runs that the race has judged, (runs,), nan for those that failed or did not learn."""
        runs = self.standing.learned.get(arm.recipe, (0, len(arm.runs)))[1]
        sample = samples({arm.recipe: arm}, self.measure, self.chance)[arm.recipe]
        rules = rules_for(self.rules or Rules(len(arm.runs)), self.measure)
        return self.measure.sign * sample.first(runs, rules.collapsed).scores

    def learned(self, arm: Arm) -> np.ndarray:
        """The scores of the runs that learned, (runs,)."""
        scores = self.judged(arm)
        return scores[np.isfinite(scores)]

    @cached_property
    def of_learned(self) -> Arms:
        """The arms with those of their runs alone that learned, without arms that have none."""
        kept = {
            recipe: tuple(run for run, score in zip(arm.runs, self.judged(arm)) if math.isfinite(score))
            for recipe, arm in self.arms.items()
        }
        return {recipe: Arm(recipe, runs) for recipe, runs in kept.items() if runs}

    @property
    def has_losses(self) -> bool:
        """Whether the test loss of an arm is known, and is not what the arms are judged by."""
        return any(self.loss(arm) is not None for arm in self.ranked)

    def loss(self, arm: Arm) -> float | None:
        """The mean test loss of the runs that learned; None if it is what the arms are judged by, or is not known."""
        if self.measure.key == "test_loss" or arm.recipe not in self.of_learned:
            return None
        kept = self.of_learned[arm.recipe]
        return kept.summary("test_loss").mean if all("test_loss" in run.last for run in kept.runs) else None

    @property
    def answer(self) -> str:
        """What to take, how sure that is, and what would make it surer."""
        return answer(self)

    def pairs(self) -> "pd.DataFrame":
        """Return a row per pair of arms.

        Columns: pair, points (the lead, for accuracies in percentage points), low, high (its interval), first wins (how
        often the first beats the second in a single run of each).
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "pair": f"{self.named(a)} − {self.named(b)}",
                "points": lead.estimate,
                "low": self.possible(lead).low,
                "high": self.possible(lead).high,
                "first wins": superiority(*(self.measure.sign * self.learned(self.arms[arm]) for arm in (a, b))),
            }
            for (a, b), lead in self.leads.items()
        )


def why_no_result(arm: Arm) -> str:
    """Say how many of an arm's runs failed, and how."""
    return ", ".join(f"{n} of {len(arm.runs)} runs {failure}" for failure, n in arm.failures.items())


def _chose_a_rate(run: Run) -> bool:
    return run.dataset.endswith((HELD_OUT, RATES_TRIED))


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare` found.

    Attributes:
        network: its name.
        data: the name of the data set.
        results: one for each batch size.
        images: how many training and how many test images; None if it was read from a file and no answer.json says it.
        replaced: the types of the network's own normalization layers, and how many of each; None likewise.
        price: what each arm costs; None if it was not measured.
    """

    network: str
    data: str
    results: Sequence[Result]
    images: tuple[int, int] | None = None
    replaced: Mapping[str, int] | None = None
    price: Price | None = None

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        network: str,
        higher_is_better: bool = True,
        *,
        seeds: int | None = None,
        margin: float | None = None,
    ) -> "Comparison":
        """Read what `compare` has left in a file runs.jsonl, if neither the network nor the images are at hand.

        What the race was held under is read from answer.json beside it; `seeds` and `margin` say it where there is
        none: by default the most seeds that an arm has, and none.

        Raises FileNotFoundError if there is no such file, ValueError if it holds no runs, and as `runs.read` does.
        """
        runs = read(path)
        if not runs:
            raise ValueError(f"{os.fspath(path)} holds no runs")
        most = seeds or max((run.recipe.seed for run in runs if not _chose_a_rate(run)), default=1)
        found = cls.of(runs, network, higher_is_better, Rules(most, margin))
        answer = stored(Path(path).parent)
        races = settings(answer)
        results = [held_under(result, races.get(result.batch_size)) for result in found.results]
        return replace(found, results=results, images=numbers_of_images(answer))

    @classmethod
    def of(
        cls, runs: Sequence[Run], network: str, higher_is_better: bool = True, rules: Rules | None = None
    ) -> "Comparison":
        """Gather finished runs, of which some may have chosen the learning rates; without rules they are no race."""
        results = []
        for size in dict.fromkeys(run.recipe.batch_size for run in runs):
            of_size = [run for run in runs if run.recipe.batch_size == size]
            tried = arms(run for run in of_size if _chose_a_rate(run))
            trained = arms(run for run in of_size if not _chose_a_rate(run))
            failures = {recipe: why_no_result(arm) for recipe, arm in trained.items() if not arm.succeeded}
            finished = {recipe: arm for recipe, arm in trained.items() if arm.succeeded}
            results.append(Result(size, finished, failures, tried, higher_is_better=higher_is_better, rules=rules))
        return cls(network, runs[-1].dataset.removesuffix(HELD_OUT).removesuffix(RATES_TRIED), results)

    @classmethod
    def from_frame(
        cls,
        frame: "pd.DataFrame",
        arm: str = "arm",
        score: str | Sequence[str] = "score",
        seed: str | None = "seed",
        *,
        higher_is_better: bool = True,
        network: str = "your network",
        data: str = "your data",
    ) -> "Comparison":
        """Compare finished runs of any tool: a row of the table for each.

        Args:
            frame: the table.
            arm: the column that names the normalization, or whatever is compared.
            score: the column of the score; several columns, of which the first decides. A row without one has failed.
            seed: the column of the seeds; None if there is none, and the rows of each arm are numbered.
            higher_is_better: whether the best arm is the one with the highest score.
            network: what the answer calls the network.
            data: what the answer calls the data.

        Raises ValueError for columns that the table does not have, scores that are no numbers, fewer than two arms, and
        a seed that an arm has twice.
        """
        from normbench.comparison.tables import runs_of_table

        return cls.of(runs_of_table(frame, arm, score, seed, data), network, higher_is_better)

    @property
    def chosen(self) -> bool:
        """Whether each arm has a learning rate that was chosen for it."""
        return any(result.tried for result in self.results)

    @property
    def is_built_in(self) -> bool:
        """Whether normbench trained all runs by their recipes."""
        return all(run.is_built_in for arm in self.arms.values() for run in arm.runs)

    @property
    def trained_here(self) -> bool:
        """Whether the runs are known that the scores come from: not in a table."""
        return any(run.parameters for arm in self.arms.values() for run in arm.runs)

    @property
    def has_rates(self) -> bool:
        """Whether the runs' learning rates are known."""
        return self.is_built_in or self.chosen

    @property
    def rates_chosen_on(self) -> str:
        """Say on what each arm's learning rate was chosen; "" if none was."""
        names = {arm.runs[0].dataset for result in self.results for arm in result.tried.values()}
        if any(name.endswith(RATES_TRIED) for name in names):
            return "by a run with a seed of its own, scored on the same examples"
        things = next((arm.runs[0].things for arm in self.arms.values()), "images")
        return (f"on held-out {things}" if self.is_built_in else "on the validation split") if names else ""

    @property
    def answer(self) -> str:
        """The answers, a paragraph per batch size."""
        several = len(self.results) > 1
        return "\n\n".join(
            (f"With batches of {result.batch_size}: " if several else "") + result.answer for result in self.results
        )

    @property
    def titled(self) -> dict[str, Result]:
        """The results by what follows their titles: nothing, or the batch size if there are several."""
        several = len(self.results) > 1
        return {f", batches of {result.batch_size}" if several else "": result for result in self.results}

    @property
    def arms(self) -> Arms:
        """The arms of all batch sizes that have a result."""
        return {recipe: arm for result in self.results for recipe, arm in result.arms.items()}

    def frame(self) -> "pd.DataFrame":
        """Return a row per run of an arm that has a result, as `normbench.runs.frame` gives it."""
        return frame(run for arm in self.arms.values() for run in arm.runs)

    def figures(self) -> "dict[str, Figure]":
        """Draw figures, by title: scores under the verdict, the race, curves, rates tried, scores by batch size."""
        from normbench.comparison.pictures import pictures

        return pictures(self)

    def to_dict(self) -> dict[str, Any]:
        """Return verdicts, means, intervals, scores and settings as JSON has them, for other programs."""
        return to_dict(self)

    def to_markdown(self) -> str:
        """Return the answer and a table, to paste into a pull request or an issue."""
        return to_markdown(self)

    def page(self, command: str = "") -> str:
        """Return a page in HTML to send to a colleague, with all figures inside; `command` is what made it."""
        from normbench.comparison.page import page

        return page(self, command)

    def __str__(self) -> str:
        return self.answer

    def _repr_html_(self) -> str:
        from normbench.comparison.page import body

        return body(self)
