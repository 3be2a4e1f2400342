"""What a training costs as the work grows: seconds and memory against batch size, images and width.

    python -m benchmarks.cost [--dataset mnist] [--device cpu]
    python -m benchmarks.cost --draw         draws what was measured last

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
from model import NORMALIZATIONS
from normbench.data import load, title
from normbench.device import choose_device, device_name
from normbench.style import styled
from normbench.train import Config, build

SAVED, DRAWN = Path("results/cost.jsonl"), Path("images/cost.png")
EPOCHS = 20
USUAL = {"batch_size": 128, "images": 60_000, "width": 1}
AXES = {  # what grows while the others are as usual
    "batch_size": (16, 64, 128, 256, 1024),
    "images": (7_500, 15_000, 30_000, 60_000),
    "width": (1, 2, 4),
}
TITLES = {"batch_size": "images in a batch", "images": "training images", "width": "channels, times those in use"}
LOOPS = {"ours": NORMALIZATIONS["BN"].colour, "conventional": NORMALIZATIONS["GN"].colour}


def settings() -> list[dict[str, int]]:
    """What is measured, each once."""
    all_of_them = [USUAL | {axis: value} for axis, values in AXES.items() for value in values]
    return [setting for i, setting in enumerate(all_of_them) if setting not in all_of_them[:i]]


def measure(loop: str, setting: dict[str, int], dataset: str, device: str) -> dict:
    """One epoch in a fresh process: seconds, and the peak memory in MiB."""
    data = load(dataset, device=choose_device(device))
    if setting["images"] > len(data.y_train):
        raise ValueError(f"{setting['images']} images are wanted, {data.name} has {len(data.y_train)}")
    data = replace(data, x_train=data.x_train[: setting["images"]], y_train=data.y_train[: setting["images"]])
    config = Config("GN", epochs=2, batch_size=setting["batch_size"], width=setting["width"])
    if loop == "ours":
        epoch = our_epoch(config, data)
        epoch()  # the library's warm-up, which would be a large share of so short an epoch
    else:
        epoch = conventional_epoch(config, data, build(config, data))
    seconds = timed(epoch, data.device)
    if data.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(data.device) / 2**20
    else:  # macOS counts bytes, Linux KiB
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    where = {"dataset": data.name, "device": device_name(data.device)}
    return {"loop": loop} | setting | {"seconds": seconds, "peak_mib": peak} | where


def along(axis: str, rows: list[dict]) -> list[dict]:
    """The rows in which nothing but `axis` differs from the usual, in its order."""
    others = [key for key in USUAL if key != axis]
    return sorted((row for row in rows if all(row[key] == USUAL[key] for key in others)), key=lambda row: row[axis])


@styled
def plot_cost(rows: list[dict]) -> Figure:
    """Seconds a run above, peak memory below; a column for each thing that grows."""
    figure, grid = plt.subplots(2, len(AXES), figsize=(10, 6.4), sharex="col", sharey="row")
    for column, axis in zip(grid.T, AXES):
        for loop, color in LOOPS.items():
            line = along(axis, [row for row in rows if row["loop"] == loop])
            x = [row[axis] for row in line]
            style = dict(color=color, marker="o", linewidth=2, label=loop)
            column[0].plot(x, [EPOCHS * row["seconds"] for row in line], **style)
            column[1].plot(x, [row["peak_mib"] for row in line], **style)
        column[0].set_yscale("log")
        for axes in column:
            axes.set(xscale="log", xticks=x, xticklabels=[f"{value:,}" for value in x])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter("{x:,.0f}")
        column[1].set(xlabel=TITLES[axis], ylim=(0, 1.1 * max(row["peak_mib"] for row in rows)))
    grid[0, 0].set_ylabel(f"seconds a run of {EPOCHS} epochs")
    grid[1, 0].set_ylabel("peak memory, MiB")
    grid[0, 0].legend(frameon=False)
    figure.suptitle(f"Cost as the work grows: {title(rows[0]['dataset'])}, {rows[0]['device']}", x=0.01, ha="left")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--draw", action="store_true")
    arguments = parser.parse_args()
    if not arguments.draw:
        rows = []
        for setting in settings():
            for loop in LOOPS:
                with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
                    rows.append(fresh.submit(measure, loop, setting, arguments.dataset, arguments.device).result())
                print(rows[-1], flush=True)
        SAVED.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plot_cost([json.loads(line) for line in SAVED.read_text().splitlines()]).savefig(DRAWN)


if __name__ == "__main__":
    main()
