"""What a training costs as the work grows: seconds and memory against batch size, images and width.

    python -m benchmarks.cost [--dataset mnist] [--device cpu]

measures one epoch of this project's loop and of the conventional one (`benchmarks.loop`), both with
`model.Net` and group norm, each in a process of its own; writes results/cost.jsonl and draws
images/cost.png. Seconds a run are those of 20 such epochs. Peak memory is the training process's own, with
Python and the libraries in it; the conventional loop's two loading processes come on top.
"""

import argparse
import json
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from benchmarks.loop import conventional_epoch, our_epoch, timed
from normbench.data import load
from normbench.device import choose_device, device_name
from normbench.figures import STYLE
from normbench.train import Config, build

SAVED, DRAWN = Path("results/cost.jsonl"), Path("images/cost.png")
EPOCHS = 20
AXES = {  # what grows, by which values; the others stay at 128, all of them, and 1
    "batch_size": (16, 32, 64, 128, 256, 512, 1024),
    "images": (7_500, 15_000, 30_000, 60_000),
    "width": (1, 2, 4),
}
TITLES = {"batch_size": "images in a batch", "images": "training images", "width": "width, times the channels"}
LOOPS = {"ours": "#0072B2", "conventional": "#D55E00"}


def measure(loop: str, axis: str, value: int, dataset: str, device: str) -> dict:
    """One epoch in a fresh process: seconds, and the peak memory in MiB."""
    data = load(dataset, device=choose_device(device))
    images = min(value if axis == "images" else 60_000, len(data.y_train))
    data = replace(data, x_train=data.x_train[:images], y_train=data.y_train[:images])
    config = Config("GN", epochs=2, **({axis: value} if axis != "images" else {}))
    epoch = our_epoch(config, data) if loop == "ours" else conventional_epoch(config, data, build(config, data))
    if loop == "ours":  # its first epoch is also the library's warm-up
        epoch()
    seconds = timed(epoch, data.device)
    if data.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(data.device) / 2**20
    else:  # macOS counts bytes, Linux KiB
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    where = {"dataset": data.name, "device": device_name(data.device)}
    return {"loop": loop, "axis": axis, "value": value, "seconds": seconds, "peak_mib": peak} | where


def plot_cost(rows: list[dict]) -> Figure:
    """Seconds a run above, peak memory below; a column for each thing that grows."""
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(2, len(AXES), figsize=(13, 7), layout="constrained", sharex="col", sharey="row")
        for column, axis in zip(grid.T, AXES):
            for loop, color in LOOPS.items():
                line = [row for row in rows if (row["loop"], row["axis"]) == (loop, axis)]
                x = [row["value"] for row in line]
                style = dict(color=color, marker="o", linewidth=2, label=loop)
                column[0].plot(x, [EPOCHS * row["seconds"] for row in line], **style)
                column[1].plot(x, [row["peak_mib"] for row in line], **style)
            for axes in column:
                axes.set(xscale="log", yscale="log", xticks=x, xticklabels=[f"{value:,}" for value in x])
                axes.xaxis.set_minor_locator(NullLocator())
                axes.yaxis.set_major_formatter("{x:,.0f}")
            column[1].set_xlabel(TITLES[axis])
        grid[0, 0].set_ylabel(f"seconds a run of {EPOCHS} epochs")
        grid[1, 0].set_ylabel("peak memory, MiB")
        grid[0, 0].legend(frameon=False)
        figure.suptitle(f"Cost as the work grows: {rows[0]['dataset']}, {rows[0]['device']}", x=0.01, ha="left")
    plt.close(figure)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    rows = []
    for axis, values in AXES.items():
        for value in values:
            for loop in LOOPS:
                with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
                    rows.append(fresh.submit(measure, loop, axis, value, arguments.dataset, arguments.device).result())
                print(rows[-1], flush=True)
    SAVED.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plot_cost(rows).savefig(DRAWN)


if __name__ == "__main__":
    main()
