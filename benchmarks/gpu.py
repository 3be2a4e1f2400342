"""Milliseconds a step on a GPU: recorded as a CUDA graph or not, in both memory formats.

    python -m benchmarks.gpu

trains 100 steps of 128 images at a time, of MNIST and of CIFAR-10 (its pixels made up, which takes the same time);
the ways alternate within one process. The medians go to results/gpu.jsonl, from which docs/speed.md is made.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from normbench.config import Config
from normbench.data import DATASETS, Dataset, load
from normbench.device import choose_device, device_name
from normbench.optimizers import Optimizers
from normbench.step import Step
from normbench.train import build, train_epoch

SAVED = Path("results/gpu.jsonl")
IMAGES, ROUNDS = 12_800, 3
FORMATS = {"": torch.contiguous_format, ", channels last": torch.channels_last}


def photographs() -> Dataset:
    x, y = torch.randint(256, (IMAGES, 3, 32, 32), dtype=torch.uint8), torch.randint(10, (IMAGES,))
    return Dataset("cifar10", DATASETS["cifar10"].classes, x, y, x[:100], y[:100])


def timed_steps(nm: str, data: Dataset, recorded: bool, layout: torch.memory_format) -> Callable[[], float]:
    """Makes a training, warm, and returns what trains an epoch of it: milliseconds a step."""
    config = Config(nm)
    net = build(config, data).to(data.device, memory_format=layout)
    step = Step(config, data, net, Optimizers(config, net, len(data.y_train)))
    if not recorded:
        step.carry_out = step.move
    generator = torch.Generator().manual_seed(0)

    def epoch() -> float:
        start = time.perf_counter()
        train_epoch(config, data, step, generator)
        torch.cuda.synchronize(data.device)
        return 1000 * (time.perf_counter() - start) / (IMAGES / config.batch_size)

    epoch()
    return epoch


def main() -> None:
    device = choose_device("cuda")
    rows = []
    for data in (load("mnist").first(IMAGES).to(device), photographs().to(device)):
        for nm in ("BN", "GN", "LN", "IN", "none"):
            ways = {
                ("recorded" if recorded else "eager") + words: timed_steps(nm, data, recorded, layout)
                for recorded in (False, True)
                for words, layout in FORMATS.items()
            }
            rounds = [{way: epoch() for way, epoch in ways.items()} for _ in range(ROUNDS)]
            medians = {way: statistics.median(times[way] for times in rounds) for way in ways}
            rows.append({"dataset": data.name, "nm": nm, "milliseconds": medians, "device": device_name(device)})
            print(rows[-1], flush=True)
    SAVED.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
