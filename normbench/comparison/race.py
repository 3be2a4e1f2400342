"""The race: after every seed, who is behind for certain, and whether more seeds would tell more.

It knows scores and no networks. All arms still in the race get the same new seed; then one that is behind the leader
is out. This is a t test with a level that allows for all looks and arms (`normbench.stats.levels`), after the idea of
F-race (Birattari et al. 2002) and of comparisons with the best (Hsu 1984).
"""

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import combinations
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, stdtr, stdtrit

from normbench.stats import Difference, Interval, level, scatter, seeds_to_show

K = TypeVar("K", bound=Hashable)

FIRST_LOOK = 3  # seeds; two that lie close together by chance would hide an arm that scatters widely
HOPELESS = 0.2  # no more seeds where the chance that the planned ones show a lead is below this
FAILS = 1 / 3  # of an arm's runs, and two or more: it is out, however good the others are
COLLAPSED = 10.0  # points below the arm's median


class Ending(StrEnum):
    """Why a race is over."""

    WON = "one arm is left"
    EQUAL = "those left are equal within the margin"
    HOPELESS = "more of the planned seeds would hardly show a lead"
    SEEDS = "all planned seeds are done"
    FAILED = "no arm learns reliably"


@dataclass(frozen=True)
class Rules:
    """What a race is decided by.

    Attributes:
        seeds: per arm, at most.
        margin: a difference that does not matter; None where nobody has said.
        early: whether an arm can be out, and the race over, before all seeds are done. If not, there is one look.
        collapsed: how far below its arm's median a run has collapsed, if it also lies apart from the others; None for
            scores for which nobody knows.
    """

    seeds: int
    margin: float | None = None
    early: bool = True
    collapsed: float | None = COLLAPSED


@dataclass(frozen=True, eq=False)
class Sample:
    """The scores of an arm's runs, by seed; a higher one is better.

    Attributes:
        scores: (seeds,), nan for a run that failed.
        examples: (seeds, examples), the scores of each test example, of which a run's score is the mean; None where
            they are not known.
    """

    scores: np.ndarray
    examples: np.ndarray | None = None

    def first(self, seeds: int, collapsed: float | None) -> "Sample":
        """Return the first seeds alone; of them, runs that have collapsed are failed, too."""
        scores = self.scores[:seeds].astype(float)
        if collapsed is not None:
            scores[collapsed_runs(scores, collapsed)] = np.nan
        return Sample(scores, None if self.examples is None else self.examples[:seeds])

    @property
    def learned(self) -> np.ndarray:
        """Which runs did not fail, (seeds,) bool."""
        return np.isfinite(self.scores)

    @property
    def floor(self) -> float:
        """The variance that test examples cause alone, if each is right or wrong by a chance of its own.

        Runs of one network with equally good weights still scatter by it (Jordan 2023, arXiv:2304.01910).
        """
        if self.examples is None or self.learned.sum() < 2:
            return 0.0
        learned = self.examples[self.learned]
        return float(learned.var(axis=0, ddof=1).mean() / learned.shape[1])

    def images(self, other: "Sample") -> float:
        """Return the variance of the difference of two arms' means that is due to the choice of test examples."""
        if self.examples is None or other.examples is None:
            return 0.0
        first, second = self.examples[self.learned], other.examples[other.learned]
        if min(len(first), len(second)) < 2:
            return 0.0
        differences = first.mean(axis=0) - second.mean(axis=0)
        chance = self.floor / len(first) + other.floor / len(second)
        return max(0.0, float(differences.var(ddof=1)) / len(differences) - chance)


def collapsed_runs(scores: np.ndarray, points: float) -> np.ndarray:
    """Tell which runs of an arm have collapsed, (seeds,) bool; failed ones, which are nan, are not told again.

    A run has, if it is more than `points` below the arm's best and at less than half of it; or so far below the median,
    and five times as far from it as the middle run is.
    """
    if not np.isfinite(scores).any():
        return np.zeros(len(scores), bool)
    best, median = np.nanmax(scores), np.nanmedian(scores)
    usual = np.nanmedian(np.abs(scores - median))
    with np.errstate(invalid="ignore"):
        halved = (scores < best / 2) & (scores < best - points)
        below = (median - scores > points) & (median - scores > 5 * usual)
    return halved | below


@dataclass(frozen=True)
class Out(Generic[K]):
    """How an arm left the race.

    Attributes:
        round: after how many seeds.
        fails: because its runs fail; if not, because it was behind.
        of: the arm that led then.
        lead: how far that was ahead.
    """

    round: int
    fails: bool
    of: K | None = None
    lead: Difference | None = None


@dataclass(frozen=True)
class Standing(Generic[K]):
    """How a race stands after a round.

    Attributes:
        round: how many seeds the arms in the race have.
        racing: the arms in the race, the best first: that is the leader, and an arm of which a run has failed leads
            only where all have one.
        out: those that left it.
        leads: how far the leader is ahead of each other arm, with the race's interval, where both have two scores; of
            one that left the race behind this leader, how far it was then.
        pairs: how far each arm with two scores is ahead of each other that is worse, with the same kind of interval.
        means: of each arm that has a score, with an interval of the same level for new seeds, nan for a single score.
        learned: of each arm, how many runs did not fail, and how many there are.
        apart: arms that scatter far more than the others, and are judged by themselves.
        seeds_needed: how many seeds per arm would show the lead over the next in the race, if it is real (80 % power);
            None where no number would, or nothing is left to show.
        ending: why the race is over; None if it goes on.
    """

    round: int
    racing: tuple[K, ...]
    out: Mapping[K, Out[K]] = field(default_factory=dict)
    leads: Mapping[K, Difference] = field(default_factory=dict)
    pairs: Mapping[tuple[K, K], Difference] = field(default_factory=dict)
    means: Mapping[K, Interval] = field(default_factory=dict)
    learned: Mapping[K, tuple[int, int]] = field(default_factory=dict)
    apart: frozenset[K] = frozenset()
    seeds_needed: int | None = None
    ending: Ending | None = None

    @property
    def leader(self) -> K | None:
        """The first of those in the race; None if there is none."""
        return self.racing[0] if self.racing else None


def race(samples: Mapping[K, Sample], rules: Rules, far_behind: Collection[K] = ()) -> list[Standing[K]]:
    """Return the standing after each round for which the scores are there, up to the end of the race.

    It follows from the scores alone: called again with more of them, it says the same of earlier rounds. An arm that is
    out needs no more. `far_behind` are arms that were so with their best learning rate: two seeds may put them out.
    """
    standings: list[Standing[K]] = []
    out: dict[K, Out[K]] = {}
    racing = list(samples)
    for number in range(1, rules.seeds + 1):
        if any(len(samples[arm].scores) < number for arm in racing):
            break
        seen = {arm: samples[arm].first(out[arm].round if arm in out else number, rules.collapsed) for arm in samples}
        out |= {arm: Out(number, fails=True) for arm in racing if _fails(seen[arm])}
        racing = [arm for arm in racing if arm not in out]
        look = _Look(seen, racing, rules)
        judged = racing if look.is_due(number) else set(far_behind) & set(racing) if rules.early else ()
        out |= look.behind(number, judged)
        racing = [arm for arm in racing if arm not in out]
        standings.append(look.standing(number, racing, out))
        if standings[-1].ending:
            break
    return standings


def judged_once(samples: Mapping[K, Sample], margin: float | None = None) -> Standing[K]:
    """Return how arms stand after all their runs, looked at once, whether or not all have the same seeds."""
    most = max(len(sample.scores) for sample in samples.values())
    rules = Rules(most, margin, early=False)
    seen = {arm: sample.first(len(sample.scores), rules.collapsed) for arm, sample in samples.items()}
    out: dict[K, Out[K]] = {arm: Out(most, fails=True) for arm, sample in seen.items() if _fails(sample)}
    racing = [arm for arm in samples if arm not in out]
    look = _Look(seen, racing, rules)
    out |= look.behind(most, racing)
    return look.standing(most, [arm for arm in racing if arm not in out], out)


def _fails(sample: Sample) -> bool:
    failures = int((~sample.learned).sum())
    return failures > max(1, FAILS * len(sample.learned))


class _Look(Generic[K]):
    """All arms, with the seeds that they have by now, against the leader of those in the race."""

    def __init__(self, seen: Mapping[K, Sample], racing: Sequence[K], rules: Rules):
        self._seen, self._rules, self._arms = seen, rules, list(seen)
        learned = [sample.scores[sample.learned] for sample in seen.values()]
        variances = [scores.var(ddof=1) if len(scores) > 1 else 0.0 for scores in learned]
        self._runs = np.array([len(scores) for scores in learned])
        self._means = np.array([scores.mean() if len(scores) else -np.inf for scores in learned])
        # An arm that is out may be so for a reason that makes its runs scatter, too
        in_race = np.array([arm in racing for arm in self._arms])
        floors = [sample.floor for sample in seen.values()]
        self._spread = scatter(variances, np.maximum(self._runs - 1, 0), floors, in_race)
        self._level = level(max(2, len(seen)), rules.seeds if rules.early else None)
        # A run that fails may be the first of many: an arm with one leads only where all have one
        steady = [arm for arm in racing if seen[arm].learned.all()] or racing
        leading = np.array([arm in steady for arm in self._arms])
        self._leader = int(np.where(leading, self._means, -np.inf).argmax())

    @cached_property
    def leads(self) -> dict[K, Difference]:
        """How far the leader is ahead of each other arm, where both have two scores or more."""
        others = [i for i in range(len(self._arms)) if i != self._leader and min(self._runs[[i, self._leader]]) > 1]
        return {self._arms[i]: self._difference(self._leader, i) for i in others}

    def _pairs(self) -> dict[tuple[K, K], Difference]:
        compared = [i for i in np.argsort(-self._means, kind="stable").tolist() if self._runs[i] > 1]
        return {(self._arms[i], self._arms[j]): self._difference(i, j) for i, j in combinations(compared, 2)}

    def _difference(self, i: int, j: int) -> Difference:
        variances, freedoms = self._spread.error(self._runs, np.array(i), self._images(i, j))
        estimate, error, freedom = float(self._means[i] - self._means[j]), math.sqrt(variances[j]), freedoms[j]
        reach = -float(stdtrit(freedom, self._level)) * error
        p = 2 * float(stdtr(freedom, -abs(estimate) / error)) if error else float(estimate == 0)
        return Difference(estimate, estimate - reach, estimate + reach, p)

    def _images(self, i: int, j: int) -> float:
        return self._seen[self._arms[i]].images(self._seen[self._arms[j]])

    def is_due(self, number: int) -> bool:
        """Tell whether arms are judged after so many seeds."""
        return number >= (min(FIRST_LOOK, self._rules.seeds) if self._rules.early else self._rules.seeds)

    def behind(self, number: int, racing: Collection[K]) -> dict[K, Out[K]]:
        """Return the arms in the race that are behind for certain after so many seeds."""
        leader = self._arms[self._leader]
        found = {arm: lead for arm, lead in self.leads.items() if arm in racing and lead.low > 0}
        return {arm: Out(number, False, leader, lead) for arm, lead in found.items()}

    def standing(self, number: int, racing: Collection[K], out: Mapping[K, Out[K]]) -> Standing[K]:
        """Return how the race stands, now that it is known who is out."""
        leader = self._arms[self._leader]
        place = dict(zip(self._arms, self._means.tolist())) | {leader: math.inf}
        rivals = [arm for arm in self.leads if arm in racing]
        return Standing(
            round=number,
            racing=tuple(sorted(racing, key=lambda arm: -place[arm])),
            out=dict(out),
            leads=self.leads | {arm: left.lead for arm, left in out.items() if left.lead and left.of == leader},
            pairs=self._pairs(),
            means=self._intervals(),
            learned={arm: (int(sample.learned.sum()), len(sample.learned)) for arm, sample in self._seen.items()},
            apart=frozenset(arm for arm, apart in zip(self._arms, self._spread.apart) if apart),
            seeds_needed=self._seeds_needed(min(rivals, key=lambda arm: self.leads[arm].estimate)) if rivals else None,
            ending=self._ending(number, racing, rivals),
        )

    def _intervals(self) -> dict[K, Interval]:
        """The mean of each arm that has a score, and how far off it may be with other seeds: nan for a single score."""
        error = np.sqrt(self._spread.variance / self._runs.clip(1))
        reach = np.where(self._runs > 1, -stdtrit(self._spread.freedom.clip(1), self._level) * error, np.nan)
        ends = zip(self._arms, self._runs, self._means.tolist(), reach.tolist())
        return {arm: Interval(mean, mean - half, mean + half) for arm, runs, mean, half in ends if runs}

    def _ending(self, number: int, racing: Collection[K], rivals: Collection[K]) -> Ending | None:
        all_compared = len(rivals) == len(racing) - 1
        if not racing:
            return Ending.FAILED
        if len(racing) == 1 and number >= min(2, self._rules.seeds):
            return Ending.WON
        if self.is_due(number) and all_compared and self._are_equal(racing):
            return Ending.EQUAL
        if number == self._rules.seeds:
            return Ending.SEEDS
        if self._rules.early and self.is_due(number) and all_compared and all(map(self._is_hopeless, rivals)):
            return Ending.HOPELESS
        return None

    def _are_equal(self, racing: Collection[K]) -> bool:
        """Tell whether no two of the arms differ by more than the margin, for certain."""
        margin, places = self._rules.margin, [i for i, arm in enumerate(self._arms) if arm in racing]
        if margin is None:
            return False
        differences = (self._difference(i, j) for i, j in combinations(places, 2))
        return all(-margin <= difference.low and difference.high <= margin for difference in differences)

    def _is_hopeless(self, rival: K) -> bool:
        """Tell whether the planned seeds would hardly show a lead over a rival, or that both are equal."""
        i, planned = self._arms.index(rival), self._rules.seeds
        of_a_run = float(self._spread.variance[i] + self._spread.variance[self._leader])
        images, lead = self._images(self._leader, i), abs(self.leads[rival].estimate)
        factor = -float(stdtrit(len(self._arms) * (planned - 1), self._level))
        chance = chance_of_a_lead(lead, of_a_run, images, int(self._runs[i]), planned, factor)
        reach = factor * math.sqrt(of_a_run / planned + images)
        return bool(chance < HOPELESS) and (self._rules.margin is None or lead + reach > self._rules.margin)

    def _seeds_needed(self, rival: K) -> int | None:
        i, pool = self._arms.index(rival), max(1, int((~self._spread.apart).sum()))
        of_a_run = float(self._spread.variance[i] + self._spread.variance[self._leader])
        images, lead = self._images(self._leader, i), self.leads[rival].estimate
        return seeds_to_show(lead, of_a_run, images, pool, self._level)


def chance_of_a_lead(
    lead: ArrayLike, of_a_run: ArrayLike, images: ArrayLike, runs: ArrayLike, planned: int, factor: float
) -> np.ndarray:
    """Return the chance that the planned runs will show a lead, given what is seen by now.

    The predictive power of a flat prior (Spiegelhalter et al. 1986): `lead` is seen after `runs` of each arm, the
    difference of two runs has the variance `of_a_run`, test examples add `images`, and the lead has to be `factor` of
    its errors large.
    """
    seen, variance = np.asarray(lead), np.asarray(of_a_run)
    needed = factor * np.sqrt(variance / planned + np.asarray(images))
    drift = np.sqrt(variance * (1 / np.asarray(runs) - 1 / planned))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(drift > 0, ndtr((seen - needed) / drift), seen > needed)
