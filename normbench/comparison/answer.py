"""The answer in words, made from the verdict."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from normbench.comparison.verdict import Kind
from normbench.layers import OWN
from normbench.layers import label as label_of
from normbench.runs import Arm
from normbench.stats import Difference, winners
from normbench.training import Recipe
from normbench.words import count, fixed, percent, roughly, span

if TYPE_CHECKING:
    from normbench.comparison.result import Result

UNSTABLE_POINTS = 5  # that runs lie apart at least, besides scattering far more than those of others
SELDOM = 0.005  # who wins less often is not named
DEARER = 1.1  # times the price: what is no more is the same
IN_WORDS = {"none": "the network without normalization", OWN: "the unchanged network"}


def answer(result: "Result") -> str:
    """Say what to take, how sure that is, and what would make it surer."""
    sentences = [
        headline(result),
        *_more_of_the_best(result),
        *_behind(result),
        *_failures(result),
        *_losses(result),
        *_in_one_run(result),
        *_twins(result),
    ]
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences if sentence)


def headline(result: "Result") -> str:
    """Say in one sentence what is known."""
    found = result.verdict
    if found.kind is Kind.FAILED:
        return "No arm learns reliably: there is no winner." if result.arms else "No arm could be trained."
    best = result.arms[found.best[0]]
    if found.kind is Kind.TAKE and not found.behind:
        alone = "learns reliably" if found.fails else "has a result"
        return f"{_said(result, best.recipe)} alone {alone}: {_mean(result, best)} on average."
    if found.kind is Kind.TAKE:
        taken = "no normalization" if best.recipe.norm == "none" else _said(result, best.recipe)
        return f"{'Keep' if best.recipe.norm == result.yours else 'Take'} {taken}: {_mean(result, best)} on average."
    listed = _listed([_said(result, arm) for arm in found.best])
    if found.kind is Kind.EQUAL:
        return f"{listed} are equally good, within {_distance(result, found.margin or 0.0)}."
    if found.kind is Kind.ONE_SEED:
        return f"One seed cannot tell which of {listed} is best."
    return f"{listed} cannot be told apart with {count(found.seeds, 'seed')}."


def _more_of_the_best(result: "Result") -> list[str]:
    """Say more of the arm to take, or of those that are equal or not told apart."""
    found = result.verdict
    if found.kind is Kind.FAILED:
        return []
    if found.kind is Kind.TAKE:
        return _small_lead(result)
    best = result.arms[found.best[0]]
    if found.kind is Kind.ONE_SEED:
        others = [f"{_said(result, arm)} {_mean(result, result.arms[arm])}" for arm in found.best[1:]]
        return [
            f"{_said(result, best.recipe)} has {_mean(result, best)}, {_listed(others)}; other seeds may differ.",
            "Train five seeds per arm or more; the first is kept.",
        ]
    highest = "highest" if result.higher_is_better else "lowest"
    sentences = [f"{_said(result, best.recipe)} has the {highest} mean, {_mean(result, best)}{_over_the_next(result)}."]
    if found.kind is Kind.OPEN:
        sentences += _open(result)
    return [*sentences, *_cheapest(result, [result.arms[arm] for arm in found.best])]


def _over_the_next(result: "Result") -> str:
    for arm, lead in result.verdict.level.items():
        if lead.estimate >= 0:
            return f", ahead of {_said(result, arm)} by {_points(result, lead)}"
    return ""


def _small_lead(result: "Result") -> list[str]:
    """Where a margin was stated, say which arms are behind by less than that."""
    found = result.verdict
    near = [arm for arm, lead in found.behind.items() if found.margin is not None and lead.high <= found.margin]
    if not near:
        return []
    named = _listed([_said(result, arm) for arm in near])
    return [f"Its lead over {named} is below the {_distance(result, found.margin or 0.0)} that matter to you."]


def _open(result: "Result") -> list[str]:
    """Say how large a difference may be hidden, and what would show it."""
    found = result.verdict
    sentences = [f"Differences of up to {_distance(result, found.hidden)} from it may be hidden."]
    if found.seeds_needed is not None and found.seeds_needed > found.seeds:
        sentences.append(f"If its lead is real, about {roughly(found.seeds_needed)} seeds per arm would show it.")
    elif found.seeds_needed is None:
        things = result.arms[found.best[0]].runs[0].things
        needed = f"more test {things}" if result.has_examples else "far more seeds"
        sentences.append(f"If its lead is real, only {needed} would show it.")
    if found.stopped:
        sentences.append("The race ended there, because the seeds that were planned would hardly have shown it.")
    if found.out_of_time:
        sentences.append("Time ended the race; the same command with a larger budget goes on.")
    if any(arm.norm == result.yours for arm in found.best):
        sentences.append("So no change is shown to be a gain.")
    return sentences


def _behind(result: "Result") -> list[str]:
    """Say how far ahead the first of the best is of those that are behind."""
    found = result.verdict
    if not found.behind:
        return []
    ahead = [
        f"of {_said(result, arm)}{_after(result, arm)} by {_points(result, lead)}"
        if lead.low > 0
        else f"of {_said(result, arm)}, which was behind after {count(result.standing.out[arm].round, 'seed')}"
        for arm, lead in found.behind.items()
    ]
    return [f"{_said(result, found.best[0])} is clearly ahead {_listed(ahead)}."]


def _after(result: "Result", arm: Recipe) -> str:
    """Say what an arm's mean leaves out."""
    learned, runs = result.standing.learned[arm]
    return f" ({runs - learned} of {runs} runs did not learn)" if learned < runs else ""


def _failures(result: "Result") -> list[str]:
    """Say which arms did not learn, or only at times, which scatter far more than others, and which have no result."""
    standing, sentences = result.standing, []
    for arm in result.verdict.fails:
        sentences.append(f"{_said(result, arm)} is out: {why_it_fails(result, arm)}.")
    for arm in result.verdict.best:
        learned, runs = standing.learned[arm]
        if learned < runs:
            failed = f"{runs - learned} of {runs} runs"
            sentences.append(f"{_said(result, arm)} did not learn in {failed}; its mean is that of the others.")
    least, unit = (UNSTABLE_POINTS, " %") if result.measure.unit else (0.0, "")
    for arm in standing.apart & {*standing.racing, *result.verdict.behind}:
        values = result.learned(result.arms[arm])
        if np.ptp(values) > least:
            low, high = (fixed(end, result.measure.digits) for end in (values.min(), values.max()))
            sentences.append(f"{_said(result, arm)} is unstable: its runs reach from {low} to {high}{unit}.")
    for recipe, reason in result.failures.items():
        sentences.append(f"{_said(result, recipe)} has no result: {reason.rstrip('.')}.")
    return sentences


def why_it_fails(result: "Result", arm: Recipe) -> str:
    """Say how many of an arm's runs failed, and how."""
    learned, runs = result.standing.learned[arm]
    reasons = result.arms[arm].failures
    rest = runs - learned - sum(reasons.values())
    parts = [f"{n} {reason}" for reason, n in reasons.items()] + ([f"{rest} did not learn"] if rest else [])
    return f"of {count(runs, 'run')}, {_listed(parts)}"


def _losses(result: "Result") -> list[str]:
    """Say the test losses, which often tell apart what accuracies do not."""
    known = {arm.recipe: loss for arm in result.ranked if (loss := result.loss(arm)) is not None}
    if len(known) < 2:
        return []
    return [f"Mean test loss: {', '.join(f'{_said(result, arm)} {fixed(loss, 3)}' for arm, loss in known.items())}."]


def _in_one_run(result: "Result") -> list[str]:
    """Say how often each would come out best in a single run; nothing if it is always the same one."""
    steady = [arm for arm in result.ranked if arm.recipe not in result.verdict.fails]
    scores = {_said(result, arm.recipe): result.measure.sign * result.learned(arm) for arm in steady}
    compared = {name: values for name, values in scores.items() if len(values) > 1}
    if len(compared) < 2:
        return []
    likeliest = sorted(winners(compared).items(), key=lambda item: -item[1])
    (first, most), *others = [(name, percent(share)) for name, share in likeliest if share >= SELDOM]
    if not others:
        return []
    more = "".join(f", {name} {share}" for name, share in others)
    return [f"In a single run of each, {first} would come out best {most} of the time{more}."]


def _twins(result: "Result") -> Iterable[str]:
    trained = {recipe.norm: result.labels[recipe] for recipe in (*result.arms, *result.failures)}
    for norm, twin in result.twins.items():
        if norm != OWN and twin in trained:
            yield f"{label_of(norm)} is the same network as {trained[twin]} here."


def _cheapest(result: "Result", tied: Sequence[Arm]) -> list[str]:
    """Say which of several arms costs least time in training, if that was measured and differs by a tenth or more."""
    seconds = {arm: cost for arm in tied if (cost := result.step_seconds.get(arm.recipe.norm)) is not None}
    if len(seconds) < len(tied):
        return []
    cheapest, dearest = min(seconds, key=seconds.__getitem__), max(seconds, key=seconds.__getitem__)
    if seconds[dearest] < DEARER * seconds[cheapest]:
        return []
    digits = 1 if seconds[cheapest] > 0.01 else 2
    return [
        f"Of these, {_said(result, cheapest.recipe)} trains fastest: {fixed(1000 * seconds[cheapest], digits)} ms per "
        f"step, {_said(result, dearest.recipe)} takes {fixed(1000 * seconds[dearest], digits)}."
    ]


def _said(result: "Result", recipe: Recipe) -> str:
    """Name an arm in a sentence, in which "none" would say something else."""
    label = result.named(recipe)
    return IN_WORDS.get(label, label) if label == recipe.norm else label


def _mean(result: "Result", arm: Arm) -> str:
    mean = result.mean(arm)
    built_in = result.measure.unit and arm.runs[0].is_built_in
    of_what = f" of the test {arm.runs[0].things} right" if built_in else ""
    return (result.measure.amount(mean.estimate) if mean else "no score") + of_what


def _points(result: "Result", lead: Difference) -> str:
    return f"{_distance(result, lead.estimate)} (95 % interval {span(result.possible(lead), result.measure.digits)})"


def _distance(result: "Result", value: float) -> str:
    low, high = result.measure.bounds
    return result.measure.distance(min(abs(value), high - low))


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
