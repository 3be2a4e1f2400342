"""What a few single runs show, in sentences composed here: nobody has seen these runs yet, as those of a reader."""

import math
from collections.abc import Sequence

import torch

from normbench import stats
from normbench.data import title
from normbench.training import Run, labels
from normbench.words import count, duration, signed


def result_line(run: Run) -> str:
    """Say in one sentence what a run that came to its end gave."""
    return (
        f"{run.recipe.label} on {title(run.dataset)}: {run.last['test_accuracy']:.2f} % of {len(run.correct):,} test "
        f"images right after {count(run.recipe.epochs, 'epoch')} (seed {run.recipe.seed}), {run.errors:,} wrong; "
        f"{run.parameters:,} parameters, {duration(run.seconds)} on {run.device}"
    )


def findings(trained: Sequence[Run]) -> str:
    """Say what the runs show, as a Markdown list. They differ in their recipes and came to their end."""
    names = labels(run.recipe for run in trained)
    named = [(names[run.recipe], run) for run in trained]
    sentences = [_ranking(named), *_penalty(named), _gaps(named), _shared_errors(trained)]
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _ranking(named: Sequence[tuple[str, Run]]) -> str:
    ranked = sorted(named, key=lambda pair: pair[1].errors)
    first, last = ranked[0][1], ranked[-1][1]
    n, apart = len(first.correct), last.errors - first.errors
    scores = ", ".join(f"{name} {run.last['test_accuracy']:.2f} %" for name, run in ranked)
    share = sum(run.errors for _, run in named) / (n * len(named))
    noise = 100 * math.sqrt(share * (1 - share) / n)
    p = stats.mcnemar(first.correct.numpy(), last.correct.numpy())
    chance = f"p = {p:.2f}" if p >= 0.01 else "p < 0.01"
    return (
        f"**This run's order**: {scores}. First and last are {count(apart, 'image')} apart, {100 * apart / n:.2f} "
        f"points. The sampling error of one such accuracy is {noise:.2f} points; McNemar's exact test, which compares "
        f"these two trained networks and not the two methods, gives {chance}. One seed names no winner: another may "
        f"reverse the order."
    )


def _penalty(named: Sequence[tuple[str, Run]]) -> list[str]:
    """The sentence about the first run with L1, if there is one."""
    name, penalized = next(((name, run) for name, run in named if run.recipe.l1), ("", None))
    if penalized is None:
        return []
    loss, penalty = penalized.last["train_loss"], penalized.last["penalty"]
    others = ", ".join(f"{other} {run.last['train_loss']:.4f}" for other, run in named if not run.recipe.l1)
    return [
        f"**Fit and penalty**: in the last epoch the data term of {name} is {loss:.4f}"
        + (f" (the others: {others})" if others else "")
        + f", and its penalty λ·Σ\\|p\\| is {penalty:.4f}. A curve of their sum, {loss + penalty:.4f}, could not be "
        f"compared with the other curves."
    ]


def _gaps(named: Sequence[tuple[str, Run]]) -> str:
    gaps = ", ".join(f"{name} {signed(run.last['train_accuracy'] - run.last['test_accuracy'])}" for name, run in named)
    return (
        f"**Training accuracy − test accuracy**, in points: {gaps}. Training images are augmented and test images are "
        f"not: where the number is below zero, training is the harder task."
    )


def _shared_errors(trained: Sequence[Run]) -> str:
    wrong = ~torch.stack([run.correct for run in trained])
    by_all, by_any = int(wrong.all(dim=0).sum()), int(wrong.any(dim=0).sum())
    return f"**Shared mistakes**: of {count(by_any, 'test image')} that at least one model gets wrong, {by_all} by all."
