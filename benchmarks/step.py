"""Where the time of a training step goes: milliseconds by kind of operation, for one network or several.

    python -m benchmarks.step [--dataset mnist] ["8k5v P 16 16 P 16v 12v" …]

profiles steps of `normbench.train` with the networks given in `benchmarks.search`'s notation (by default the one
in use and the one before it), and puts the table into benchmarks/SPEED.md.
"""

import argparse
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.search import network
from normbench.data import Dataset, load
from normbench.device import device_name
from normbench.readme import update
from normbench.train import Config, make_optimizer, train_epoch

SHOWN = Path("benchmarks/SPEED.md")
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


def kind(operation: str) -> str:
    return next((kind for kind, parts in KINDS.items() if any(part in operation for part in parts)), "the rest")


def step_times(layers: str, nm: str, data: Dataset) -> Counter:
    """Milliseconds a step by kind: the profiler's shares of a time taken without it."""
    config = Config(nm, epochs=6)
    data = replace(data, x_train=data.x_train[: STEPS * 128], y_train=data.y_train[: STEPS * 128])
    net = network(layers, nm).to(memory_format=torch.channels_last)
    optimizer, schedule = make_optimizer(config, net, len(data.y_train))
    generator = torch.Generator().manual_seed(0)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        train_epoch(config, data, net, optimizer, schedule, generator)
        seconds.append(time.perf_counter() - start)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        train_epoch(config, data, net, optimizer, schedule, generator)
    times = Counter()
    for event in profiled.key_averages():
        times[kind(event.key)] += event.self_cpu_time_total
    scale = min(seconds) * 1000 / STEPS / times.total()
    return Counter({name: value * scale for name, value in times.items()})


def table(times: dict[tuple[str, str], Counter]) -> str:
    """A Markdown table, a row a network and normalization."""
    kinds = [*KINDS, "the rest"]
    lines = ["| network | normalization | " + " | ".join(kinds) + " | sum |", "|---|---|" + "--:|" * (len(kinds) + 1)]
    for (layers, nm), of_kind in times.items():
        cells = [f"{of_kind[name]:.2f}" for name in kinds]
        lines.append(f"| `{layers}` | {nm} | " + " | ".join(cells) + f" | **{of_kind.total():.2f}** |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--dataset", default="mnist")
    arguments = parser.parse_args()
    data = load(arguments.dataset)
    times = {(layers, nm): step_times(layers, nm, data) for nm in ("BN", "GN", "LN") for layers in arguments.networks}
    where = f"Milliseconds a step of 128 images ({data.name}), on {device_name(data.device)}."
    SHOWN.write_text(update(SHOWN.read_text(), "step", f"{where}\n\n{table(times)}"))
    print(table(times))


if __name__ == "__main__":
    main()
