"""Synthetic networks, runs and arms for tests, and a command that is interrupted."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import TensorDataset

from normbench.device import seeded
from normbench.runs import arms
from normbench.swapping import swap
from normbench.training import Recipe, Run, Trainer

ROOT = Path(__file__).parent.parent


def small(num_classes=10, in_channels=1):
    """A network of two convolutions with batch norm, from images of any size to logits."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 4, 5, stride=2, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 8, 3, stride=2, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, num_classes),
    )


def build(recipe, data):
    """`small` with the normalization of the recipe."""
    with seeded(recipe.seed):
        net = small(len(data.classes), data.image_shape[0])
    return swap(net, recipe.norm, example=torch.zeros(1, *data.image_shape))


def trained_for_a_while(net, data):
    """Train `net` by hand on all training images, in random order; return it."""
    x, optimizer = data.standardize(data.x_train), torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)
    for _ in range(5):
        for batch in torch.randperm(len(x)).split(50):
            loss = nn.functional.cross_entropy(net(x[batch]), data.y_train[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net


TRAINER = Trainer("train", build)


def signals(n=96, seed=0, classes=3):
    """Noisy waves (1, 40) of the frequency that is their class."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(classes, (n,), generator=generator)
    x = torch.sin((1 + kind[:, None]) * torch.linspace(0, 6.28, 40)) + 0.3 * torch.randn(n, 40, generator=generator)
    return TensorDataset(x[:, None], kind)


def wave_net(num_classes=3):
    """A network with batch norm, from waves (1, n) to logits."""
    return nn.Sequential(
        nn.Conv1d(1, 6, 5, 2),
        nn.BatchNorm1d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(4),
        nn.Flatten(),
        nn.Linear(24, num_classes),
    )


def linear(classes=10, *last):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, classes), *last)


def made_up_run(norm, errors, l1=0.0, accuracies=(90.0, 99.0, 98.0)):
    """A run over 200 test images of which the first `errors` are wrong."""
    scores = dict(train_loss=0.25, penalty=1000 * l1, train_accuracy=97.5, test_loss=0.125, seconds=1.0)
    history = tuple(dict(epoch=epoch, test_accuracy=accuracy) | scores for epoch, accuracy in enumerate(accuracies, 1))
    correct = torch.arange(200) >= errors
    return Run(Recipe(norm, l1=l1, epochs=3), "made-up", history, correct, parameters=7000, seconds=4.0, device="CPU")


def run_of(recipe, accuracy, dataset="mnist", images=1000, best=None, lag=0.0, **row):
    """A run of `recipe` with that last-epoch test accuracy, wrong on its first test images.

    `best` is the accuracy of its best epoch, where that is another; `lag` what running averages add to the loss.
    """
    correct = torch.arange(images) >= images * (1 - accuracy / 100)
    penalty = 0.03 if recipe.l1 else 0.0
    scores = dict(train_loss=0.02, penalty=penalty, train_accuracy=98.0, test_loss=0.03)
    scores |= dict(l1_norm=1000.0, zeros=0.0, seconds=1.0) | row
    history = [
        scores | dict(epoch=epoch, test_accuracy=accuracy - 0.5 * (recipe.epochs - epoch))
        for epoch in range(1, recipe.epochs + 1)
    ]
    if best is not None:
        history[0]["test_accuracy"] = best
    losses = dict(running=0.1 + lag, precise=0.1, batch=0.1)
    statistics = {kind: dict(test_loss=loss, test_accuracy=accuracy) for kind, loss in losses.items()}
    how = dict(parameters=7000, seconds=4.0, device="CPU", statistics=statistics)
    return Run(recipe, dataset, tuple(history), correct, **how)


def failed_run_of(recipe, failure="diverged", dataset="mnist", images=1000):
    """A run without a result."""
    correct = torch.zeros(images, dtype=torch.bool)
    return Run(recipe, dataset, (), correct, parameters=7000, seconds=0.0, device="CPU", failure=failure)


def noise(recipe, deviation=0.05):
    """What chance adds to a run: the same each time for one recipe and seed, and nothing in common with another."""
    return random.Random(repr(recipe)).gauss(0, deviation)


def made_up_arms(recipes, accuracy, seeds=16, deviation=0.03, dataset="mnist", images=10_000, **row):
    """Arms of synthetic runs: `accuracy(recipe)` is each one's, but for what the seed adds; `row` may be functions."""
    return arms(
        run_of(
            recipe,
            accuracy(recipe) + noise(recipe, deviation),
            dataset,
            images,
            **{key: value(recipe) if callable(value) else value for key, value in row.items()},
        )
        for seed in range(seeds)
        for recipe in (replace(arm, seed=seed) for arm in recipes)
    )


def without_seconds(run):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in run.history]


def interrupted(command, folder, marker, number=signal.SIGINT, kill=os.killpg):
    """Start the command, send it Ctrl-C as soon as the file `marker` is there: exit status and its last words.

    Or another signal, by `os.kill` to the command alone.
    """
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    options = dict(cwd=folder, env=environment, start_new_session=True, text=True)
    # Tests that a shell runs in the background would hand on to the command that Ctrl-C is to be ignored.
    options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)
    try:
        deadline = time.monotonic() + 600
        while not any(path.stat().st_size for path in Path(folder).rglob(marker)):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        kill(process.pid, number)  # as a terminal does: to the command and its workers
        said = process.communicate(timeout=600)[1]
    finally:
        process.kill()
    assert "Traceback" not in said, said
    return process.returncode, said.splitlines()[-1]


class PreNorm(nn.Module):
    """A residual branch that starts with a normalization, as in a transformer; inputs (…, 8)."""

    def __init__(self):
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(8), nn.Linear(8, 8)

    def forward(self, x):
        return x + self.linear(self.norm(x))
