"""Measure milliseconds per step on a GPU: recorded as a CUDA graph or not, in both memory formats.

    python -m study.benchmarks.gpu

trains 100 steps of 128 images at a time, of MNIST and of CIFAR-10 (with synthetic pixels, which take the same time);
the ways alternate within one process. The medians go to study/results/gpu.jsonl, from which docs/speed.md is made.
"""

import statistics
import time
from collections.abc import Callable

import torch

from normbench.data import DATASETS, Dataset, load
from normbench.device import choose_device, device_name
from normbench.training import train_epoch
from study.benchmarks.loop import step_of
from study.benchmarks.rows import RESULTS, write
from study.networks import build, usual_recipe

SAVED = RESULTS / "gpu.jsonl"
IMAGES, ROUNDS = 12_800, 3
FORMATS = {"": torch.contiguous_format, ", channels last": torch.channels_last}
NORMS = {
    "mnist": {"BN": "BN", "GN": "GN:2", "LN": "LN", "IN": "IN", "none": "none"},
    "cifar10": {"BN": "WS+BN", "GN": "WS+GN:2", "LN": "WS+LN", "IN": "WS+IN"},
}


def photographs() -> Dataset:
    """Make a data set of random pixels in the shape of CIFAR-10."""
    x, y = torch.randint(256, (IMAGES, 3, 32, 32), dtype=torch.uint8), torch.randint(10, (IMAGES,))
    return Dataset("cifar10", DATASETS["cifar10"].classes, x, y, x[:100], y[:100])


def timed_steps(norm: str, data: Dataset, recorded: bool, layout: torch.memory_format) -> Callable[[], float]:
    """Make a training, warm, and return what trains an epoch of it: milliseconds per step."""
    recipe = usual_recipe(data, norm)
    net = build(recipe, data).to(data.device).to(memory_format=layout)  # type: ignore[call-overload]
    step = step_of(recipe, data, net, recorded)
    generator = torch.Generator().manual_seed(0)

    def epoch() -> float:
        start = time.perf_counter()
        train_epoch(recipe, data, step, generator)
        torch.cuda.synchronize(data.device)
        return 1000 * (time.perf_counter() - start) / (IMAGES / recipe.batch_size)

    epoch()
    return epoch


def main() -> None:
    device = choose_device("cuda")
    rows = []
    for data in (load("mnist").first(IMAGES).to(device), photographs().to(device)):
        for nm, norm in NORMS[data.name].items():
            ways = {
                ("recorded" if recorded else "eager") + words: timed_steps(norm, data, recorded, layout)
                for recorded in (False, True)
                for words, layout in FORMATS.items()
            }
            rounds = [{way: epoch() for way, epoch in ways.items()} for _ in range(ROUNDS)]
            medians = {way: statistics.median(times[way] for times in rounds) for way in ways}
            rows.append({"dataset": data.name, "nm": nm, "milliseconds": medians, "device": device_name(device)})
            print(rows[-1], flush=True)
    write(rows, SAVED)


if __name__ == "__main__":
    main()
