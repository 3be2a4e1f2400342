"""What a few single runs show, in sentences put together here: nobody has seen these runs yet, as a reader's own."""

import math
from collections.abc import Sequence

import torch

from normbench import stats
from normbench.data import title
from normbench.train import Run
from normbench.words import count, duration, signed


def result_line(run: Run) -> str:
    """One run in one sentence."""
    return (
        f"{run.config.label} on {title(run.dataset)}: {run.last['test_accuracy']:.2f} % of {len(run.correct):,} test "
        f"images right after {count(run.config.epochs, 'epoch')} (seed {run.config.seed}), {run.errors:,} wrong; "
        f"{run.parameters:,} parameters, {duration(run.seconds)} on {run.device}"
    )


def findings(trained: Sequence[Run]) -> str:
    """What the runs show, as a Markdown list."""
    sentences = [_ranking(trained), _gaps(trained), _shared_errors(trained)]
    if any(run.config.l1 for run in trained):
        sentences.insert(1, _penalty(trained))
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _ranking(trained: Sequence[Run]) -> str:
    ranked = sorted(trained, key=lambda run: run.errors)
    first, last, n = ranked[0], ranked[-1], len(ranked[0].correct)
    scores = ", ".join(f"{run.config.label} {run.last['test_accuracy']:.2f} %" for run in ranked)
    share = sum(run.errors for run in trained) / (n * len(trained))
    noise = 100 * math.sqrt(share * (1 - share) / n)
    p = stats.mcnemar(first.correct.numpy(), last.correct.numpy())
    chance = f"p = {p:.2f}" if p >= 0.01 else "p < 0.01"
    return (
        f"**This run's order**: {scores}. First and last are {count(last.errors - first.errors, 'image')} apart, "
        f"{100 * (last.errors - first.errors) / n:.2f} points. The sampling error of one such accuracy is {noise:.2f} "
        f"points; McNemar's exact test, which compares these two trained networks and not the two methods, gives "
        f"{chance}. One seed names no winner: another may turn the order round."
    )


def _penalty(trained: Sequence[Run]) -> str:
    penalized = next(run for run in trained if run.config.l1)
    loss, penalty = penalized.last["train_loss"], penalized.last["penalty"]
    others = ", ".join(f"{run.config.label} {run.last['train_loss']:.4f}" for run in trained if not run.config.l1)
    return (
        f"**Fit and penalty**: in the last epoch the data term of {penalized.config.label} is {loss:.4f} (the others: "
        f"{others}), and its penalty λ·Σ\\|p\\| is {penalty:.4f}. A curve of their sum, {loss + penalty:.4f}, could "
        f"not be compared with the other curves."
    )


def _gaps(trained: Sequence[Run]) -> str:
    gaps = ", ".join(
        f"{run.config.label} {signed(run.last['train_accuracy'] - run.last['test_accuracy'])}" for run in trained
    )
    return (
        f"**Training accuracy − test accuracy**, in points: {gaps}. Training images are distorted and test images are "
        f"not: where the number is below zero, training is the harder task."
    )


def _shared_errors(trained: Sequence[Run]) -> str:
    wrong = ~torch.stack([run.correct for run in trained])
    by_all, by_any = int(wrong.all(dim=0).sum()), int(wrong.any(dim=0).sum())
    return f"**Shared mistakes**: of {count(by_any, 'test image')} that at least one model gets wrong, {by_all} by all."
