"""Measure where the time of a training step goes: milliseconds by kind of operation, for one network or several.

    python -m study.benchmarks.step [--dataset mnist] ["8k5v P 16 16 P 16v 12v" …]

profiles steps of `normbench.training` with the networks given in the notation of `study.benchmarks.search` (by default
the one in use and the one before it). The times go to study/results/step.jsonl, from which docs/speed.md is made.
"""

import argparse
import time
from collections import Counter

import torch
from torch.profiler import ProfilerActivity, profile

from normbench.data import Dataset, load
from normbench.device import device_name
from normbench.training import train_epoch
from study.benchmarks.loop import NORMS, step_of
from study.benchmarks.rows import RESULTS, write
from study.benchmarks.search import network
from study.networks import study_recipe

SAVED = RESULTS / "step.jsonl"
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
    """Return which of `COLUMNS` an operation of the profiler belongs to."""
    return next((kind for kind, names in KINDS.items() if any(name in operation for name in names)), "the rest")


def step_times(layers: str, nm: str, data: Dataset, steps: int = STEPS) -> dict[str, float]:
    """Measure milliseconds per step by kind: the profiler's shares of a time taken without it."""
    recipe = study_recipe(NORMS[nm], epochs=6)
    data = data.first(steps * recipe.batch_size)
    net = network(layers, nm).to(memory_format=torch.channels_last)
    step = step_of(recipe, data, net)
    generator = torch.Generator().manual_seed(0)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        train_epoch(recipe, data, step, generator)
        seconds.append(time.perf_counter() - start)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        train_epoch(recipe, data, step, generator)
    times: Counter[str] = Counter()
    for event in profiled.key_averages():
        times[kind(event.key)] += event.self_cpu_time_total
    scale = min(seconds) * 1000 / steps / times.total()
    return {name: times[name] * scale for name in COLUMNS}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--dataset", default="mnist")
    arguments = parser.parse_args()
    data, rows = load(arguments.dataset), []
    where = {"dataset": data.name, "batch_size": study_recipe().batch_size, "device": device_name(data.device)}
    for nm in NORMS:
        for layers in arguments.networks:
            rows.append({"layers": layers, "nm": nm, "milliseconds": step_times(layers, nm, data)} | where)
            print(rows[-1], flush=True)
    write(rows, SAVED)


if __name__ == "__main__":
    main()
