"""Where the time of a training step goes: milliseconds by kind of operation, for one network or several.

    python -m benchmarks.step [--dataset mnist] ["8k5v P 16 16 P 16v 12v" …]

profiles steps of `normbench.train` with the networks given in `benchmarks.search`'s notation (by default the one
in use and the one before it). The times go to results/step.jsonl, from which docs/speed.md is made.
"""

import argparse
import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.search import network
from normbench.data import Dataset, load
from normbench.device import device_name
from normbench.optimizers import Optimizers
from normbench.step import Step
from normbench.train import Config, train_epoch

SAVED = Path("results/step.jsonl")
NETWORKS = ("8k5v P 16 16 P 16v 12v", "8k5v P 8 16 P 16 16 H")
STEPS = 100
KINDS = {  # what the name of an operation holds; the first that fits
    "optimizer": ("SGD", "sgd"),
    "convolution": ("conv",),
    "normalization": ("norm",),
    "pooling": ("pool", "fill_", "zero_"),
    "ReLU": ("relu", "clamp", "threshold"),
    "distortion": ("grid", "mul", "sub"),
}

COLUMNS = (*KINDS, "the rest")


def kind(operation: str) -> str:
    return next((kind for kind, names in KINDS.items() if any(name in operation for name in names)), "the rest")


def step_times(layers: str, nm: str, data: Dataset) -> Counter:
    """Milliseconds a step by kind: the profiler's shares of a time taken without it."""
    config = Config(nm, epochs=6)
    data = replace(data, x_train=data.x_train[: STEPS * 128], y_train=data.y_train[: STEPS * 128])
    net = network(layers, nm).to(memory_format=torch.channels_last)
    step = Step(config, data, net, Optimizers(config, net, len(data.y_train)))
    generator = torch.Generator().manual_seed(0)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        train_epoch(config, data, step, generator)
        seconds.append(time.perf_counter() - start)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        train_epoch(config, data, step, generator)
    times = Counter()
    for event in profiled.key_averages():
        times[kind(event.key)] += event.self_cpu_time_total
    scale = min(seconds) * 1000 / STEPS / times.total()
    return Counter({name: value * scale for name, value in times.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--dataset", default="mnist")
    arguments = parser.parse_args()
    data, rows = load(arguments.dataset), []
    where = {"dataset": data.name, "batch_size": Config().batch_size, "device": device_name(data.device)}
    for nm in ("BN", "GN", "LN"):
        for layers in arguments.networks:
            times = step_times(layers, nm, data)
            rows.append({"layers": layers, "nm": nm, "milliseconds": {name: times[name] for name in COLUMNS}} | where)
            print(rows[-1], flush=True)
    SAVED.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
