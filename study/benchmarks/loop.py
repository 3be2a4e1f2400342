"""Measure seconds per epoch: a conventional loop, with study A's network and with ours, beside the loop of normbench.

    python -m study.benchmarks.loop [--dataset mnist] [--rounds 3] [--device cpu] [--save]

- study A: the loop of a published course assignment: a DataLoader with 2 workers, PIL transforms image by image,
  loss and accuracy read after every batch; with that study's network;
- our network: the same loop with `model.Net`;
- ours: the loop of `normbench.training`;
- floor: forward, backward and optimizer step of ours on one fixed batch, without data and augmentation.

The four alternate within one process, so that a slow minute of the machine hits all of them; the medians are
compared. With --save they go to study/results/speed.jsonl, from which docs/speed.md is made.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms

from model import normalization
from normbench.data import Dataset, load
from normbench.device import choose_device, device_name
from normbench.training import Recipe, placed, train_epoch
from normbench.training.optimizers import Optimizers
from normbench.training.penalty import Penalty
from normbench.training.step import Step
from study.benchmarks.rows import RESULTS, Row, write
from study.networks import build, study_recipe

SAVED = RESULTS / "speed.jsonl"
LOOPS = ("study A", "our network", "ours", "floor")
NORMS = {"BN": "BN", "GN": "GN:2", "LN": "LN"}  # as rows name them, and as recipes do


def study_a(nm: str) -> nn.Module:
    """Make study A's network, rebuilt to its 8,040 parameters: normalization after the ReLU, dropout after each."""
    layers: list[nn.Module] = []
    for channels, width in ((1, 8), (8, 16), (8, 16), (16, 16), (16, 20)):
        layers += [nn.Conv2d(channels, width, 3, bias=False), nn.ReLU(), normalization(nm, width), nn.Dropout(0.05)]
    layers[8:8] = [nn.Conv2d(16, 8, 1, bias=False), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AvgPool2d(6), nn.Conv2d(20, 10, 1, bias=False), nn.Flatten(), nn.LogSoftmax(1))


class Images(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """The training images one by one, as a conventional loop reads them."""

    def __init__(self, data: Dataset):
        mean, std = (values.flatten().tolist() for values in data.mean_std)
        self.images, self.labels = data.x_train.cpu(), data.y_train.cpu()
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.ColorJitter(brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1),
                transforms.RandomRotation((-7.0, 7.0), fill=1),
                transforms.ToTensor(),
                transforms.Normalize(mean, std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.images[i]), self.labels[i]


def conventional_epoch(recipe: Recipe, data: Dataset, net: nn.Module) -> Callable[[], None]:
    """Make what trains `net` for an epoch in the conventional way."""
    net = net.to(data.device)
    optimizer = torch.optim.SGD(net.parameters(), lr=recipe.lr, momentum=0.9)
    loader = DataLoader(Images(data), batch_size=recipe.batch_size, shuffle=True, num_workers=2)

    def epoch() -> None:
        net.train()
        loss_sum, correct = 0.0, 0
        for x, y in loader:
            x, y = x.to(data.device), y.to(data.device)
            optimizer.zero_grad()
            output = net(x)
            loss = F.nll_loss(output, y)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item()
            correct += int((output.argmax(dim=1) == y).sum())

    return epoch


def optimizers_of(recipe: Recipe, data: Dataset, net: nn.Module) -> Optimizers:
    """Make the optimizers of a training of `net`."""
    steps = recipe.epochs * math.ceil(len(data.y_train) / recipe.batch_size)
    return Optimizers(recipe.optimizer, net, recipe.lr, recipe.weight_decay, steps, recipe.decay_on)


def step_of(recipe: Recipe, data: Dataset, net: nn.Module, recorded: bool = False) -> Step:
    """Make the step of a training of `net`, which lies where it is to be trained."""
    penalty = Penalty(net, recipe.l1, recipe.l2, recipe.proximal)
    return Step(data, net, optimizers_of(recipe, data, net), penalty, recorded)


def our_epoch(recipe: Recipe, data: Dataset, net: nn.Module) -> Callable[[], None]:
    """Make what trains `net` for an epoch with the loop of normbench."""
    step = step_of(recipe, data, placed(net, data.device), recorded=True)
    generator = torch.Generator().manual_seed(0)

    def epoch() -> None:
        train_epoch(recipe, data, step, generator)

    return epoch


def floor_epoch(recipe: Recipe, data: Dataset, net: nn.Module) -> Callable[[], None]:
    """Make what computes the steps of an epoch of `net` alone, all with the same batch."""
    net = placed(net, data.device)
    optimizers = optimizers_of(recipe, data, net)
    x, y = data.standardize(data.x_train[: recipe.batch_size]), data.y_train[: recipe.batch_size]

    def epoch() -> None:
        net.train()
        for _ in range(0, len(data.y_train), recipe.batch_size):
            loss = F.nll_loss(net(x), y)
            net.zero_grad()
            loss.backward()
            optimizers.step(optimizers.next_rate())

    return epoch


def timed(epoch: Callable[[], None], device: torch.device) -> float:
    """Measure how many seconds an epoch takes."""
    start = time.perf_counter()
    epoch()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def compare(nm: str, data: Dataset, rounds: int) -> Row:
    """Measure seconds per epoch of the four loops with one of `NORMS`; the row says what they were measured on, too."""
    recipe = study_recipe(NORMS[nm], epochs=rounds + 1)
    epochs = (
        conventional_epoch(recipe, data, study_a(nm)),
        conventional_epoch(recipe, data, build(recipe, data)),
        our_epoch(recipe, data, build(recipe, data)),
        floor_epoch(recipe, data, build(recipe, data)),
    )
    seconds: dict[str, list[float]] = {name: [] for name in LOOPS}
    timed(epochs[2], data.device)  # warm-up
    for _ in range(rounds):
        for name, epoch in zip(LOOPS, epochs):
            seconds[name].append(timed(epoch, data.device))
    return {
        "nm": nm,
        "dataset": data.name,
        "images": len(data.y_train),
        "batch_size": recipe.batch_size,
        "seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "rounds": rounds,
        "device": device_name(data.device),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--save", action="store_true", help=f"write {SAVED}")
    arguments = parser.parse_args()
    data = load(arguments.dataset, device=choose_device(arguments.device))
    print(f"{data.name}, {len(data.y_train):,} training images, on {device_name(data.device)}; seconds per epoch")
    rows = []
    for nm in NORMS:
        rows.append(compare(nm, data, arguments.rounds))
        a, b, c, d = rows[-1]["seconds"].values()
        print(
            f"{nm}: " + ", ".join(f"{name} {value:.2f}" for name, value in rows[-1]["seconds"].items()),
            f"study A / ours {a / c:.1f}, our network / ours {b / c:.1f}, ours / floor {c / d:.2f}",
            sep="; ",
            flush=True,
        )
    if arguments.save:
        write(rows, SAVED)


if __name__ == "__main__":
    main()
