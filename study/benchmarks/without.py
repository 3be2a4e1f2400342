"""What "none" should leave of a normalization, decided by training.

    python -m study.benchmarks.without [NETWORK …]

Small networks of torchvision's blocks lose their normalization in several ways:

- bare: nothing is left but β.
- ends 1/√n, ends 0: a trained scale at the end of each residual branch, which starts at 1/√(branches that are added up)
  or at 0 (Bachlechner et al. 2021, De & Smith 2020).
- first batch: a trained scale at every place, which starts at 1/σ of what the first batch gives there (Mishkin &
  Matas 2016).
- first batch, ends 1/√n, and first batch, ends 0: both together. The last is what `swap` leaves.
- first 16 images, ends 0, and first 2 images, ends 0: the same, from smaller batches. `compare` takes 16.

Batch norm stands beside them. Each way tries the same learning rates with the same seeds on images held out of the
training set; fresh seeds at its best rate are then scored on the test set. Rows go to study/results/without.jsonl;
those that are there already are not run again.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import nn
from torchvision.models import MobileNetV2
from torchvision.models.resnet import BasicBlock, Bottleneck

from normbench.data import Dataset, load
from normbench.device import seeded
from normbench.layers import Affine
from normbench.swapping import swap
from normbench.swapping.starting import scale_by_first_batch
from normbench.training import Recipe, Trainer
from study.benchmarks.rows import RESULTS, Row, append, read

SAVED = RESULTS / "without.jsonl"
WAYS = (
    *("BN", "bare", "ends 1/√n", "ends 0"),
    *("first batch", "first batch, ends 1/√n", "first batch, ends 0"),
    *("first 16 images, ends 0", "first 2 images, ends 0"),
)
RATES = (0.003, 0.01, 0.03, 0.1, 0.3)
HELD_OUT_SEEDS, SEEDS = (100, 101, 102), range(5)
DATA, EPOCHS, BATCH, HELD_OUT = "digits", 10, 64, 300
STAGES = ((16, 1), (32, 2))  # channels and stride
BLOCKS = 3
FIRST = {"first batch": 128, "first 16 images": 16, "first 2 images": 2}
ADDED = {"basic blocks": 3, "bottlenecks": 3, "MobileNetV2": 2}  # branches between two normalizations of their sum


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


def plain(channels: int) -> nn.Module:
    """Make six convolutions, each with its batch norm, in a row."""
    layers: list[nn.Module] = []
    for width, stride in ((16, 2), (16, 1), (32, 2), (32, 1), (32, 1), (32, 1)):
        layers += [nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "plain": plain,
    "basic blocks": lambda channels: residual(BasicBlock, channels),
    "bottlenecks": lambda channels: residual(Bottleneck, channels),
    "MobileNetV2": mobile,
}


def network(name: str, way: str, seed: int, data: Dataset) -> nn.Module:
    """Make a network without its normalization, in one of the ways."""
    images = data.standardize(data.x_train[: max(FIRST.values())])
    with seeded(seed):
        net = NETWORKS[name](data.image_shape[0])
    if way == "BN":
        return net
    if way == "bare":
        return swap(net, "none")
    end = way.rpartition("ends ")[2]
    without = swap(net, "none", images)
    for layer in without.modules():
        if isinstance(layer, Affine) and layer.scale is not None:
            is_end = not layer.scale.any()
            nn.init.constant_(layer.scale, {"1/√n": ADDED[name] ** -0.5, "0": 0.0}.get(end, 1.0) if is_end else 1.0)
    for first, number in FIRST.items():
        if way.startswith(first):
            scale_by_first_batch(without, images[:number])
    return without


def trained(name: str, way: str, rate: float, seed: int, data: Dataset, part: str) -> Row:
    """Train and score a network once."""
    norm = "BN" if way == "BN" else "none"
    recipe = Recipe(norm, epochs=EPOCHS, batch_size=BATCH, lr=rate, augment="none", seed=seed)
    with torch.no_grad():
        start = network(name, way, seed, data).train()(data.standardize(data.x_train[:128]))
    run = Trainer("without", lambda recipe, data: network(name, way, seed, data))(recipe, data, progress=False)
    figures = {"start": float(start.std(dim=0).mean()), "accuracy": run.score, "loss": run.last.get("test_loss")}
    rounded = {key: None if v is None or not math.isfinite(v) else float(f"{v:.4g}") for key, v in figures.items()}
    row = {"network": name, "way": way, "rate": rate, "seed": seed, "part": part}
    return row | rounded | {"seconds": round(run.seconds, 1)}


def score(rows: Iterable[Row], rate: float) -> float:
    """The mean accuracy at a rate; a failed training counts as none right."""
    return float(np.mean([row["accuracy"] or 0.0 for row in rows if row["rate"] == rate]))


def tune_and_score(name: str, way: str, rows: list[Row]) -> None:
    """Choose a learning rate for a way, then run its fresh seeds; add to the rows, and to the file."""
    data = load(DATA)
    held_out = data.hold_out(HELD_OUT)

    def run(rate: float, seed: int, part: str) -> None:
        wanted = {"network": name, "way": way, "rate": rate, "seed": seed, "part": part}
        if any(wanted.items() <= row.items() for row in rows):
            return
        row = trained(name, way, rate, seed, data if part == "test" else held_out, part)
        rows.append(row)
        append(row, SAVED)
        print(row, flush=True)

    for rate in RATES:
        for seed in HELD_OUT_SEEDS:
            run(rate, seed, "held out")
    for seed in SEEDS:
        run(best_rate(rows, name, way), seed, "test")


def best_rate(rows: Iterable[Row], name: str, way: str) -> float:
    """The rate of a way with the best mean on held-out images; the lower of two that are equal."""
    tuned = [row for row in rows if (row["network"], row["way"], row["part"]) == (name, way, "held out")]
    return max(RATES, key=lambda rate: score(tuned, rate))


def table(rows: Sequence[Row]) -> list[str]:
    """The lines of a Markdown table: the mean test accuracy of each way in each network, and the mean of all."""
    lines = [f"| left | {' | '.join(NETWORKS)} | mean |", f"|---|{'--:|' * (len(NETWORKS) + 1)}"]
    for way in WAYS:
        rates = {name: best_rate(rows, name, way) for name in NETWORKS}
        means = [score((row for row in rows if is_test(row, name, way)), rate) for name, rate in rates.items()]
        lines.append(f"| {way} | {' | '.join(f'{mean:.1f}' for mean in means)} | {np.mean(means):.1f} |")
    return lines


def is_test(row: Row, name: str, way: str) -> bool:
    return (row["network"], row["way"], row["part"]) == (name, way, "test")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    torch.set_num_threads(1)
    rows = read(SAVED) if SAVED.exists() else []
    for name in parser.parse_args().networks:
        for way in WAYS:
            started = time.perf_counter()
            tune_and_score(name, way, rows)
            print(f"{name}, {way}: {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
