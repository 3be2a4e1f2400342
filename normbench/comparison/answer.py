"""The answer in words."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from normbench.comparison.differences import has_examples
from normbench.layers import OWN
from normbench.layers import label as label_of
from normbench.runs import Arm
from normbench.stats import MOST_SEEDS, Difference, winners
from normbench.training import Recipe
from normbench.words import fixed, percent, roughly, span

if TYPE_CHECKING:
    from normbench.comparison.result import Result

# An arm is called unstable if its seeds lie further apart than this many points, and than this many times those of the
# middle arm. Its mean says little then.
UNSTABLE_POINTS, UNSTABLE_TIMES = 5, 5
SELDOM = 0.005  # who wins less often is not named
IN_WORDS = {"none": "the network without normalization", OWN: "the unchanged network"}


def answer(result: "Result") -> str:
    """Say what to take, how sure that is, and what would make it surer."""
    sentences = _verdict(result)
    if result.leads:
        shares = winners({_said(result, arm): result.measure.sign * arm.last() for arm in result.ranked})
        likeliest = sorted(shares.items(), key=lambda item: -item[1])
        named = ", ".join(f"{name} in {percent(share)}" for name, share in likeliest if share >= SELDOM)
        sentences.append(f"If each were trained once, the best would be {named} of all cases.")
    for recipe, reason in result.failures.items():
        sentences.append(f"{_in_words(recipe, result.labels[recipe])} has no result: {reason.rstrip('.')}.")
    trained = {recipe.norm: result.labels[recipe] for recipe in (*result.arms, *result.failures)}
    for norm, twin in result.twins.items():
        if norm != OWN and twin in trained:
            sentences.append(f"{label_of(norm)} is the same network as {trained[twin]} here.")
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)


def _verdict(result: "Result") -> list[str]:
    if not result.ranked:
        return ["No arm could be trained."]
    best, *others = result.ranked
    name, mean = _said(result, best), _mean(result, best)
    if not others:
        return [f"{name} alone has a result: {mean} on average."]
    if not result.leads:
        return _one_seed(result, best, others[0], mean)
    unstable = _unstable(result)
    steady = {arm: _lead(result, best, arm) for arm in others if arm not in unstable}
    tied = [arm for arm, lead in steady.items() if lead.low <= 0]
    ahead = [f"of {_said(result, arm)} by {_points(result, lead)}" for arm, lead in steady.items() if lead.low > 0]
    if tied:
        sentences = _tie(result, [best, *tied], mean) + _cheapest(result, [best, *tied])
    else:
        taken = "no normalization" if best.recipe.norm == "none" else name
        sentences = [f"{'Keep' if best.recipe.norm == result.yours else 'Take'} {taken}: {mean} on average."]
    sentences += [f"{name} is clearly ahead {_listed(ahead)}."] if ahead else []
    return sentences + [_instability(result, arm) for arm in unstable]


def _mean(result: "Result", arm: Arm) -> str:
    built_in = result.measure.unit and arm.runs[0].is_built_in
    return result.measure.amount(arm.score.mean) + (f" of the test {arm.runs[0].things} right" if built_in else "")


def _one_seed(result: "Result", best: Arm, second: Arm, mean: str) -> list[str]:
    return [
        f"One seed cannot tell: {_said(result, best)} has {mean}, {_said(result, second)} {_mean(result, second)}, and "
        "other seeds may reverse the order.",
        "Train five seeds per arm; the first is kept.",
    ]


def _tie(result: "Result", group: Sequence[Arm], mean: str) -> list[str]:
    """Say which arms cannot be distinguished, which of them has the highest mean, and how many seeds would decide."""
    best, nearest = group[:2]
    tied = {arm.recipe for arm in group}
    hidden = max(max(-lead.low, lead.high) for pair, lead in result.leads.items() if tied.issuperset(pair))
    needed = result.seeds_needed(best.recipe, nearest.recipe)
    few = (
        f"more test {best.runs[0].things}" if has_examples(best, nearest) else f"more than {MOST_SEEDS:,} seeds per arm"
    )
    what_tells = f"about {roughly(needed)} seeds per arm" if math.isfinite(needed) else few
    return [
        f"{_listed([_said(result, arm) for arm in group])} cannot be told apart with {len(best.runs)} seeds; "
        f"differences of up to {result.measure.distance(hidden)} between them may be hidden.",
        f"{_said(result, best)} has the {'highest' if result.higher_is_better else 'lowest'} mean, {mean}, ahead of "
        f"{_said(result, nearest)} by {_points(result, _lead(result, best, nearest))}.",
        f"If that lead is real, it would take {what_tells} to see it.",
        *(["So no change is shown to be a gain."] if any(arm.recipe.norm == result.yours for arm in group) else []),
    ]


def _cheapest(result: "Result", tied: Sequence[Arm]) -> list[str]:
    """Say which of several arms costs least time in training, if that was measured and differs by a tenth or more."""
    seconds = {arm: cost for arm in tied if (cost := result.step_seconds.get(arm.recipe.norm)) is not None}
    if len(seconds) < len(tied):
        return []
    cheapest, dearest = min(seconds, key=seconds.__getitem__), max(seconds, key=seconds.__getitem__)
    if seconds[dearest] < 1.1 * seconds[cheapest]:
        return []
    digits = 1 if seconds[cheapest] > 0.01 else 2
    return [
        f"Of these, {_said(result, cheapest)} trains fastest: {fixed(1000 * seconds[cheapest], digits)} ms per step, "
        f"{_said(result, dearest)} takes {fixed(1000 * seconds[dearest], digits)}."
    ]


def _instability(result: "Result", arm: Arm) -> str:
    low, high = (fixed(value, result.measure.digits) for value in (arm.last().min(), arm.last().max()))
    best, unit = result.ranked[0], " %" if result.measure.unit else ""
    behind = "" if arm is best else f"; its mean is {_points(result, _lead(result, best, arm))} behind"
    return f"{_said(result, arm)} is unstable: its seeds reach from {low} to {high}{unit}{behind}."


def _unstable(result: "Result") -> list[Arm]:
    spread = {arm: float(np.ptp(arm.last())) for arm in result.ranked}
    middle = sorted(spread.values())[(len(spread) - 1) // 2]
    least = UNSTABLE_POINTS if result.measure.unit else 0.0
    return [arm for arm, width in spread.items() if width > max(least, UNSTABLE_TIMES * middle)]


def _lead(result: "Result", better: Arm, other: Arm) -> Difference:
    return result.leads[better.recipe, other.recipe]


def _said(result: "Result", arm: Arm) -> str:
    return _in_words(arm.recipe, result.labels[arm.recipe])


def _in_words(recipe: Recipe, label: str) -> str:
    """Name an arm in a sentence, in which "none" would say something else."""
    return IN_WORDS.get(label, label) if label == recipe.norm else label


def _points(result: "Result", lead: Difference) -> str:
    return f"{result.measure.distance(lead.estimate)} (95 % interval {span(lead, result.measure.digits)})"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
