"""What "none" should leave at the end of a residual branch, decided by training.

    python -m study.benchmarks.without [DATA SET:NETWORK …]

Small networks of torchvision's residual blocks lose their normalization in several ways: with no scale at the end of
a branch; with a trained one that starts at 1/√(branches of a stage), as `swap(net, "none", example)` has it; with one
that starts at 0 (Bachlechner et al. 2021, De & Smith 2020); or with a trained scale at every place where a
normalization was, which starts at 1/σ of what the first batch gives there (Mishkin & Matas 2016). Batch norm stands
beside them. Each way has the same budget for its learning rate: four rates, and further ones while the best lies at
the end, of two seeds each on images held out of the training set. Fresh seeds at that rate are then scored on the test
set. Rows go to study/results/without.jsonl; those that are there already are not run again.
"""

import argparse
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import MobileNetV2
from torchvision.models.resnet import BasicBlock, Bottleneck

from normbench.data import Dataset, load
from normbench.device import seeded
from normbench.layers import Affine
from normbench.swapping import swap
from normbench.training import Recipe, Trainer
from study.benchmarks.rows import RESULTS, Row, append, read

SAVED = RESULTS / "without.jsonl"
WAYS = ("BN", "no scale", "1/√n", "0", "first batch")
RATES = (0.003, 0.01, 0.03, 0.1)
FURTHER = (0.0003, 0.001, *RATES, 0.3, 1.0, 3.0)  # where the best of the four lies at their end
HELD_OUT_SEEDS, SEEDS = (100, 101), range(5)
EPOCHS = {"digits": 10, "cifar10": 10}
IMAGES = {"digits": None, "cifar10": 2500}  # of the training set
BATCH = 64
HELD_OUT = {"digits": 300, "cifar10": 1000}
STAGES = ((16, 1), (32, 2))  # channels and stride
BLOCKS = 3


def residual(block: type[BasicBlock] | type[Bottleneck], channels: int) -> nn.Sequential:
    """Make a small residual network with the first weights that torchvision's have."""
    body: list[nn.Module] = [
        nn.Conv2d(channels, 16, 3, 2, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]
    width = 16
    for out, stride in STAGES:
        planes = out // block.expansion * 2 if block is Bottleneck else out
        for index in range(BLOCKS):
            step = 1 if index else stride
            shortcut = None
            if step != 1 or width != planes * block.expansion:
                wide = planes * block.expansion
                shortcut = nn.Sequential(nn.Conv2d(width, wide, 1, step, bias=False), nn.BatchNorm2d(wide))
            body.append(block(width, planes, step, shortcut))
            width = planes * block.expansion
    net = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return net


def mobile(channels: int) -> nn.Module:
    """Make a small MobileNetV2 with its own first weights."""
    setting = [[1, 8, 1, 1], [4, 16, 3, 2], [4, 24, 3, 2]]  # expansion, channels, blocks, stride
    net = MobileNetV2(num_classes=10, inverted_residual_setting=setting, width_mult=1.0, dropout=0.0)
    net.features[0][0] = nn.Conv2d(channels, 32, 3, 2, 1, bias=False)
    nn.init.kaiming_normal_(net.features[0][0].weight, mode="fan_out")
    net.features[-1][0] = nn.Conv2d(24, 64, 1, bias=False)
    net.features[-1][1] = nn.BatchNorm2d(64)
    nn.init.kaiming_normal_(net.features[-1][0].weight, mode="fan_out")
    net.classifier[1] = nn.Linear(64, 10)
    return net


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "basic blocks": lambda channels: residual(BasicBlock, channels),
    "bottlenecks": lambda channels: residual(Bottleneck, channels),
    "MobileNetV2": mobile,
}


class ScaleOfTheFirstBatch(nn.Module):
    """A trained scale that makes the first batch's deviation 1, and a shift per channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.is_set = False

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) → the same shape."""
        if not self.is_set and self.training:
            self.scale.data = 1 / x.detach().std().clamp(min=1e-12)
            self.is_set = True
        return x * self.scale + self.bias.view(1, -1, 1, 1)


def network(name: str, way: str, seed: int, data: Dataset) -> nn.Module:
    """Make a network without its normalization, in one of the ways."""
    images = data.standardize(data.x_train[:128])
    with seeded(seed):
        net = NETWORKS[name](data.image_shape[0])
    if way == "BN":
        return net
    if way == "first batch":
        with seeded(0):
            new = swap(net, ScaleOfTheFirstBatch)
            with torch.no_grad():
                new.train()(images)
            return new
    new = swap(net, "none", images)
    for layer in new.modules():
        if isinstance(layer, Affine) and layer.scale is not None:
            if way == "no scale":
                layer.scale = None
            elif way == "0":
                nn.init.zeros_(layer.scale)
    return new


def trained(dataset: str, name: str, way: str, rate: float, seed: int, data: Dataset, part: str) -> Row:
    """Train and score a network once."""
    norm = "BN" if way == "BN" else "none"
    recipe = Recipe(norm, epochs=EPOCHS[dataset], batch_size=BATCH, lr=rate, augment="none", seed=seed)
    nets: list[nn.Module] = []

    def build(recipe: Recipe, data: Any) -> nn.Module:
        nets.append(network(name, way, seed, data))
        return nets[0]

    with torch.no_grad():
        start = network(name, way, seed, data).train()(data.standardize(data.x_train[:128]))
    run = Trainer("without", build)(recipe, data, progress=False)
    figures = {"start": float(start.std(dim=0).mean()), "accuracy": run.score, "loss": run.last.get("test_loss")}
    rounded = {key: None if v is None or not math.isfinite(v) else float(f"{v:.4g}") for key, v in figures.items()}
    row = {"dataset": dataset, "network": name, "way": way, "rate": rate, "seed": seed, "part": part}
    return row | rounded | {"seconds": round(run.seconds, 1)}


def score(rows: list[Row], rate: float) -> float:
    """The mean accuracy at a rate; a failed training counts as none right."""
    accuracies = [row["accuracy"] or 0.0 for row in rows if row["rate"] == rate]
    return sum(accuracies) / len(accuracies) if accuracies else -math.inf


def next_rate(rows: list[Row]) -> float | None:
    """The rate that is to be tried next: one of the four, or the neighbour of a best one at the end; None if done."""
    tried = sorted({row["rate"] for row in rows})
    if missing := [rate for rate in RATES if rate not in tried]:
        return missing[0]
    best = max(tried, key=lambda rate: score(rows, rate))
    place = FURTHER.index(best)
    beside = [FURTHER[i] for i in (place - 1, place + 1) if 0 <= i < len(FURTHER)]
    return next((rate for rate in beside if rate not in tried), None)


def tune_and_score(dataset: str, name: str, way: str, rows: list[Row]) -> None:
    """Choose a learning rate for a way, then run its fresh seeds; add to the rows, and to the file."""
    data = load(dataset)
    data = data.first(IMAGES[dataset])
    held_out = data.hold_out(HELD_OUT[dataset])

    def run(rate: float, seed: int, part: str) -> None:
        if any((row["rate"], row["seed"], row["part"]) == (rate, seed, part) for row in mine()):
            return
        row = trained(dataset, name, way, rate, seed, data if part == "test" else held_out, part)
        rows.append(row)
        append(row, SAVED)
        print(row, flush=True)

    def mine(part: str = "") -> list[Row]:
        which = (dataset, name, way)
        of_way = [row for row in rows if (row["dataset"], row["network"], row["way"]) == which]
        return [row for row in of_way if not part or row["part"] == part]

    for rate in RATES:
        for seed in HELD_OUT_SEEDS:
            run(rate, seed, "held out")
    while (further := next_rate(mine("held out"))) is not None:
        for seed in HELD_OUT_SEEDS:
            run(further, seed, "held out")
    best = max({row["rate"] for row in mine("held out")}, key=lambda rate: score(mine("held out"), rate))
    for seed in SEEDS:
        run(best, seed, "test")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", default=[f"digits:{name}" for name in NETWORKS])
    torch.set_num_threads(1)
    rows = read(SAVED) if SAVED.exists() else []
    for wanted in parser.parse_args().networks:
        dataset, _, name = wanted.partition(":")
        for way in WAYS:
            started = time.perf_counter()
            tune_and_score(dataset, name, way, rows)
            print(f"{wanted}, {way}: {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
