"""The answer in words."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from normbench.runs import Arm
from normbench.stats import Difference, winners
from normbench.words import fixed, percent, roughly, span

if TYPE_CHECKING:
    from normbench.comparison.result import Result

# An arm is called unstable if its seeds lie further apart than this many points, and than this many times those of the
# middle arm. Its mean says little then.
UNSTABLE_POINTS, UNSTABLE_TIMES = 5, 5
SELDOM = 0.005  # who wins less often is not named


def answer(result: "Result") -> str:
    """Say what to take, how sure that is, and what would make it surer."""
    sentences = _verdict(result)
    if result.leads:
        shares = winners({_said(result, arm): arm.last() for arm in result.ranked})
        likeliest = sorted(shares.items(), key=lambda item: -item[1])
        named = ", ".join(f"{name} in {percent(share)}" for name, share in likeliest if share >= SELDOM)
        sentences.append(f"If each were trained once, the best would be {named} of all cases.")
    for recipe, reason in result.failures.items():
        sentences.append(f"{_in_words(result.labels[recipe])} has no result: {reason}.")
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)


def _verdict(result: "Result") -> list[str]:
    if not result.ranked:
        return ["No arm could be trained."]
    best, *others = result.ranked
    name, mean = _said(result, best), f"{fixed(best.accuracy.mean)} % of the test images right"
    if not others:
        return [f"{name} alone has a result: {mean} on average."]
    if not result.leads:
        return _one_seed(result, best, others[0], mean)
    unstable = _unstable(result)
    steady = {arm: _lead(result, best, arm) for arm in others if arm not in unstable}
    tied = [arm for arm, lead in steady.items() if lead.low <= 0]
    ahead = [f"of {_said(result, arm)} by {_points(lead)}" for arm, lead in steady.items() if lead.low > 0]
    taken = "no normalization" if best.recipe.norm == "none" else name
    sentences = _tie(result, [best, *tied], mean) if tied else [f"Take {taken}: {mean} on average."]
    sentences += [f"{name} is clearly ahead {_listed(ahead)}."] if ahead else []
    return sentences + [_instability(result, arm) for arm in unstable]


def _one_seed(result: "Result", best: Arm, second: Arm, mean: str) -> list[str]:
    apart = fixed(best.accuracy.mean - second.accuracy.mean)
    return [
        f"One seed cannot tell: {_said(result, best)} has {mean}, {_said(result, second)} {apart} points less, and "
        "other seeds may reverse the order.",
        "Train five seeds per arm; the first is kept.",
    ]


def _tie(result: "Result", group: Sequence[Arm], mean: str) -> list[str]:
    """Say which arms cannot be distinguished, which of them has the highest mean, and how many seeds would decide."""
    best, nearest = group[:2]
    tied = {arm.recipe for arm in group}
    hidden = max(max(-lead.low, lead.high) for pair, lead in result.leads.items() if tied.issuperset(pair))
    needed = result.seeds_needed(best.recipe, nearest.recipe)
    what_tells = f"about {roughly(needed)} seeds per arm" if math.isfinite(needed) else "more test images"
    return [
        f"{_listed([_said(result, arm) for arm in group])} cannot be told apart with {len(best.runs)} seeds; "
        f"differences of up to {fixed(hidden)} points between them may be hidden.",
        f"{_said(result, best)} has the highest mean, {mean}, ahead of {_said(result, nearest)} by "
        f"{_points(_lead(result, best, nearest))}.",
        f"If that lead is real, it would take {what_tells} to see it.",
    ]


def _instability(result: "Result", arm: Arm) -> str:
    low, high = fixed(arm.last().min()), fixed(arm.last().max())
    best = result.ranked[0]
    behind = "" if arm is best else f"; its mean is {_points(_lead(result, best, arm))} behind"
    return f"{_said(result, arm)} is unstable: its seeds reach from {low} to {high} %{behind}."


def _unstable(result: "Result") -> list[Arm]:
    spread = {arm: float(np.ptp(arm.last())) for arm in result.ranked}
    middle = sorted(spread.values())[(len(spread) - 1) // 2]
    return [arm for arm, points in spread.items() if points > max(UNSTABLE_POINTS, UNSTABLE_TIMES * middle)]


def _lead(result: "Result", better: Arm, other: Arm) -> Difference:
    return result.leads[better.recipe, other.recipe]


def _said(result: "Result", arm: Arm) -> str:
    return _in_words(result.labels[arm.recipe])


def _in_words(label: str) -> str:
    """Name an arm in a sentence, in which "none" would say something else."""
    return "the network without normalization" if label == "none" else label


def _points(lead: Difference) -> str:
    return f"{fixed(lead.estimate)} points (95 % interval {span(lead)})"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
