"""Seconds an epoch: a conventional loop, with study A's network and with ours, beside this project's loop.

    python -m benchmarks.loop [--dataset mnist] [--rounds 3] [--device cpu] [--save]

- study A: the loop of a published coursework: DataLoader with 2 workers, PIL transforms image by image,
  loss and accuracy read after every batch; with that study's network;
- our network: the same loop with `model.Net`;
- ours: `normbench.train`;
- floor: forward, backward and optimizer step of ours on one fixed batch, no data, no augmentation.

The four alternate within one process, so that a slow minute of the machine hits all of them; the medians
are compared. With --save they go to results/speed.jsonl, from which the README's table is made.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms

from model import normalization
from normbench.data import Dataset, load
from normbench.device import choose_device, device_name
from normbench.optimizers import Optimizers
from normbench.step import Step
from normbench.train import Config, build, placed, train_epoch

SAVED = Path("results/speed.jsonl")
LOOPS = ("study A", "our network", "ours", "floor")


def study_a(nm: str) -> nn.Module:
    """Study A's network, rebuilt to its 8,040 parameters: normalization after the ReLU, dropout after each."""
    layers = []
    for channels, width in ((1, 8), (8, 16), (8, 16), (16, 16), (16, 20)):
        layers += [nn.Conv2d(channels, width, 3, bias=False), nn.ReLU(), normalization(nm, width), nn.Dropout(0.05)]
    layers[8:8] = [nn.Conv2d(16, 8, 1, bias=False), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AvgPool2d(6), nn.Conv2d(20, 10, 1, bias=False), nn.Flatten(), nn.LogSoftmax(1))


class Images(torch.utils.data.Dataset):
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

    def __getitem__(self, i: int):
        return self.transform(self.images[i]), self.labels[i]


def conventional_epoch(config: Config, data: Dataset, net: nn.Module) -> Callable[[], None]:
    net = net.to(data.device)
    optimizer = torch.optim.SGD(net.parameters(), lr=config.lr, momentum=0.9)
    loader = DataLoader(Images(data), batch_size=config.batch_size, shuffle=True, num_workers=2)

    def epoch():
        net.train()
        loss_sum = correct = 0
        for x, y in loader:
            x, y = x.to(data.device), y.to(data.device)
            optimizer.zero_grad()
            output = net(x)
            loss = F.nll_loss(output, y)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item()
            correct += (output.argmax(dim=1) == y).sum().item()

    return epoch


def our_epoch(config: Config, data: Dataset) -> Callable[[], None]:
    net = placed(build(config, data), data.device)
    step = Step(config, data, net, Optimizers(config, net, len(data.y_train)))
    generator = torch.Generator().manual_seed(0)
    return lambda: train_epoch(config, data, step, generator)


def floor_epoch(config: Config, data: Dataset) -> Callable[[], None]:
    net = placed(build(config, data), data.device)
    optimizers = Optimizers(config, net, len(data.y_train))
    x, y = data.standardize(data.x_train[: config.batch_size]), data.y_train[: config.batch_size]

    def epoch():
        net.train()
        for _ in range(0, len(data.y_train), config.batch_size):
            loss = F.nll_loss(net(x), y)
            net.zero_grad()
            loss.backward()
            optimizers.step(optimizers.next_rate())

    return epoch


def timed(epoch: Callable[[], None], device: torch.device) -> float:
    start = time.perf_counter()
    epoch()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def compare(nm: str, data: Dataset, rounds: int) -> dict:
    """Seconds an epoch of the four loops with normalization `nm`, and what they were measured on."""
    config = Config(nm, epochs=rounds + 1)
    epochs = (
        conventional_epoch(config, data, study_a(nm)),
        conventional_epoch(config, data, build(config, data)),
        our_epoch(config, data),
        floor_epoch(config, data),
    )
    seconds = {name: [] for name in LOOPS}
    timed(epochs[2], data.device)  # warm-up
    for _ in range(rounds):
        for name, epoch in zip(LOOPS, epochs):
            seconds[name].append(timed(epoch, data.device))
    return {
        "nm": nm,
        "dataset": data.name,
        "images": len(data.y_train),
        "batch_size": config.batch_size,
        "seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "rounds": rounds,
        "device": device_name(data.device),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--save", action="store_true", help=f"write {SAVED}")
    arguments = parser.parse_args()
    data = load(arguments.dataset, device=choose_device(arguments.device))
    print(f"{data.name}, {len(data.y_train):,} training images, on {device_name(data.device)}; seconds an epoch")
    rows = []
    for nm in ("BN", "GN", "LN"):
        rows.append(compare(nm, data, arguments.rounds))
        a, b, c, d = rows[-1]["seconds"].values()
        print(
            f"{nm}: " + ", ".join(f"{name} {value:.2f}" for name, value in rows[-1]["seconds"].items()),
            f"study A / ours {a / c:.1f}, our network / ours {b / c:.1f}, ours / floor {c / d:.2f}",
            sep="; ",
            flush=True,
        )
    if arguments.save:
        SAVED.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
