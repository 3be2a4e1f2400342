"""Finished runs become tables and sentences: what the notebook and the README say of them."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from model import NORMALIZATIONS, Net
from normbench.stats import mcnemar
from normbench.train import Run


def table(runs: Sequence[Run]) -> str:
    """A Markdown table, a row a run: what the last epoch gave, and beside it the best epoch."""
    head = (
        "| model | test accuracy | test errors | test loss | best epoch¹ | train accuracy² | parameters | seconds |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|"
    )
    rows = [_row(run) for run in runs]
    notes = (
        "Scores are those of the last epoch. "
        "¹ The best test accuracy of all epochs: selected on the test set, and therefore flattering. "
        "² During the last epoch, on augmented images."
    )
    return "\n".join([head, *rows]) + f"\n\n{notes}"


def _row(run: Run) -> str:
    last, best = run.history[-1], max(run.history, key=lambda row: row["test_accuracy"])
    cells = [
        run.config.label,
        f"**{last['test_accuracy']:.2f} %**",
        f"{run.errors} of {len(run.correct):,}",
        f"{last['test_loss']:.4f}",
        f"{best['test_accuracy']:.2f} % (epoch {best['epoch']})",
        f"{last['train_accuracy']:.2f} %",
        f"{run.parameters:,}",
        f"{run.seconds:.0f}",
    ]
    no_break = (cell.replace(" ", "\N{NO-BREAK SPACE}") for cell in cells)
    return "| " + " | ".join(no_break) + " |"


def conditions(runs: Sequence[Run]) -> str:
    """What the numbers were measured with, in one sentence."""
    config, seconds = runs[0].config, sum(run.seconds for run in runs)
    epoch = seconds / sum(run.config.epochs for run in runs)
    return (
        f"Data set {runs[0].dataset}, {config.epochs} epochs, batch {config.batch_size}, one run each "
        f"(seed {config.seed}), on {runs[0].device}: {epoch:.1f} s an epoch, {_duration(seconds)} in all."
    )


def result_line(run: Run) -> str:
    """One run in one sentence."""
    return (
        f"{run.config.label} on {run.dataset}: {run.history[-1]['test_accuracy']:.2f} % of {len(run.correct):,} test "
        f"images right after {run.config.epochs} epochs (seed {run.config.seed}), {run.errors:,} wrong; "
        f"{run.parameters:,} parameters, {_duration(run.seconds)} on {run.device}"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"


def findings(runs: Sequence[Run]) -> str:
    """What the runs show, as Markdown; every number is computed from them."""
    parts = (_ranking(runs), _penalty(runs), _gap(runs), _shared_errors(runs))
    return "\n".join(f"- {part}" for part in parts if part)


def _ranking(runs: Sequence[Run]) -> str:
    ranked = sorted(runs, key=lambda run: run.errors)
    first, last, n = ranked[0], ranked[-1], len(runs[0].correct)
    order = ", ".join(f"{run.config.label} {run.history[-1]['test_accuracy']:.2f} %" for run in ranked)
    gap = 100 * (last.errors - first.errors) / n
    share = sum(run.errors for run in runs) / (n * len(runs))
    noise = 100 * math.sqrt(share * (1 - share) / n)
    p = mcnemar(first.correct.numpy(), last.correct.numpy())
    return (
        f"**Ranking of this run**: {order}. First and last are {last.errors - first.errors} images apart, "
        f"{gap:.2f} points; the sampling error of one such accuracy is {noise:.2f} points, and McNemar's exact test "
        f"of these two trained networks gives p = {p:.2f}. "
        f"One seed each names no winner: another seed may turn the order round."
    )


def _penalty(runs: Sequence[Run]) -> str:
    penalized = next((run for run in runs if run.config.l1), None)
    if penalized is None:
        return ""
    last = penalized.history[-1]
    others = ", ".join(f"{r.config.label} {r.history[-1]['train_loss']:.4f}" for r in runs if r is not penalized)
    total = last["train_loss"] + last["penalty"]
    return (
        f"**Fit and penalty are two things**: in the last epoch the data term of {penalized.config.label} is "
        f"{last['train_loss']:.4f} (others: {others}); the penalty λ·Σ\\|p\\| is {last['penalty']:.4f}. "
        f"Plotted as their sum, {total:.4f}, the curve could not be compared with the others."
    )


def _gap(runs: Sequence[Run]) -> str:
    gaps = ", ".join(
        f"{run.config.label} {run.history[-1]['train_accuracy'] - run.history[-1]['test_accuracy']:+.2f}"
        for run in runs
    )
    return (
        f"**Training minus test accuracy**, in points: {gaps}. The training images are distorted and the test "
        f"images are not, so a number below zero says that the training task is the harder one."
    )


def _shared_errors(runs: Sequence[Run]) -> str:
    wrong = ~torch.stack([run.correct for run in runs])
    every, some = int(wrong.all(dim=0).sum()), int(wrong.any(dim=0).sum())
    return f"**Shared mistakes**: {every} test images are wrong in all {len(runs)} models, {some} in at least one."


def parameters_table() -> str:
    """A Markdown table: what each normalization adds to the network, counted from the network itself."""
    head = "| normalization | its γ and β | its running averages | trainable in the whole network |\n|---|--:|--:|--:|"
    rows = [_parameters_row(nm) for nm in NORMALIZATIONS]
    return "\n".join([head, *rows])


def _parameters_row(nm: str) -> str:
    net = Net(nm)
    layers = [layer for layer in net.features if not isinstance(layer, nn.Conv2d)]
    trainable = sum(p.numel() for layer in layers for p in layer.parameters())
    kept = sum(b.numel() for b in net.buffers() if b.ndim)
    total = sum(p.numel() for p in net.parameters())
    return f"| {nm} | {trainable:,} | {kept or '–'} | {total:,} |"
