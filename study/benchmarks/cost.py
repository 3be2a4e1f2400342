"""Measure what a training costs as the work grows: seconds and memory against batch size, images and width.

    python -m study.benchmarks.cost [--dataset mnist] [--device cpu]
    python -m study.benchmarks.cost --draw         draws what was measured last

measures one epoch of our loop and of the conventional one (`study.benchmarks.loop`), both with `model.Net` and group
norm, each in a process of its own; writes study/results/cost.jsonl and draws images/cost.png. Seconds per run are
those of 20 such epochs. Peak memory is that of the training process, with Python and the libraries in it; the two
loading processes of the conventional loop come on top.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from model import COLOUR, WIDTHS, Net
from normbench.data import Dataset, load, title
from normbench.device import choose_device, device_name
from normbench.figures import WIDTH, caption, log_scale, save, styled
from study.benchmarks.loop import conventional_epoch, our_epoch, timed
from study.benchmarks.rows import IMAGES, RESULTS, Row, read, write
from study.networks import study_recipe

SAVED, DRAWN = RESULTS / "cost.jsonl", IMAGES / "cost.png"
EPOCHS = 20
USUAL = {"batch_size": 128, "images": 60_000, "width": 1}
AXES = {  # what grows while the others are as usual
    "batch_size": (16, 64, 128, 256, 1024),
    "images": (7_500, 15_000, 30_000, 60_000),
    "width": (1, 2, 4),
}
TITLES = {"batch_size": "images per batch", "images": "training images", "width": "channels, × those in use"}
LOOPS = {"ours": {"marker": "o", "linestyle": "-"}, "conventional": {"marker": "s", "linestyle": "--"}}


def settings() -> list[dict[str, int]]:
    """List what is measured, each once."""
    all_of_them = [USUAL | {axis: value} for axis, values in AXES.items() for value in values]
    return [setting for i, setting in enumerate(all_of_them) if setting not in all_of_them[:i]]


def network(data: Dataset, width: int = 1) -> Net:
    """Make the network with group norm for images of `data`, with `width` times as many channels as it usually has."""
    channels, *size = data.image_shape
    options: dict[str, Any] = {} if data.is_grey else dict(COLOUR)
    options |= {"in_channels": channels, "size": tuple(size), "classes": len(data.classes)}
    return Net("GN", **options | {"widths": tuple(width * usual for usual in options.get("widths", WIDTHS))})


def measure(loop: str, setting: dict[str, int], dataset: str, device: str) -> Row:
    """Measure one epoch: seconds, and the peak memory of this process in MiB."""
    data = load(dataset, device=choose_device(device)).first(setting["images"])
    recipe = study_recipe("GN:2", epochs=2, batch_size=setting["batch_size"])
    net = network(data, setting["width"])
    if loop == "ours":
        epoch = our_epoch(recipe, data, net)
        epoch()  # the library's warm-up, which would be a large share of so short an epoch
    else:
        epoch = conventional_epoch(recipe, data, net)
    seconds = timed(epoch, data.device)
    where = {"dataset": data.name, "device": device_name(data.device)}
    return {"loop": loop} | setting | {"seconds": seconds, "peak_mib": peak_mib(data.device)} | where


def peak_mib(device: torch.device) -> float:
    """Return the most memory that this process has had: that of its GPU, or its own."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    import resource  # which Windows has not

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes, Linux KiB
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def along(axis: str, rows: list[Row]) -> list[Row]:
    """Select the rows in which nothing but `axis` differs from the usual, in its order."""
    others = [key for key in USUAL if key != axis]
    return sorted((row for row in rows if all(row[key] == USUAL[key] for key in others)), key=lambda row: row[axis])


@styled
def plot_cost(rows: list[Row]) -> Figure:
    """Plot seconds per run at the left, peak memory at the right; a row for each thing that grows."""
    figure, grid = plt.subplots(len(AXES), 2, figsize=(WIDTH, 8), sharey="col")
    for (seconds, memory), axis in zip(grid, AXES):
        for loop, look in LOOPS.items():
            line = along(axis, [row for row in rows if row["loop"] == loop])
            x = [row[axis] for row in line]
            style: dict[str, Any] = look | {"color": plt.rcParams["text.color"], "label": loop}
            seconds.plot(x, [EPOCHS * row["seconds"] for row in line], **style)
            memory.plot(x, [row["peak_mib"] for row in line], **style)
        for axes in (seconds, memory):
            axes.set(xscale="log", xticks=[x[0], x[-1]], xticklabels=[f"{x[0]:,}", f"{x[-1]:,}"], xlabel=TITLES[axis])
            axes.xaxis.set_minor_locator(NullLocator())
        log_scale(seconds.yaxis, subs=(1,))
    grid[0, 0].set_title("Seconds per run")
    grid[0, 1].set_title("Peak memory (MiB)")
    grid[0, 1].set_ylim(0, 1.1 * max(row["peak_mib"] for row in rows))
    grid[0, 1].yaxis.set_major_formatter("{x:,.0f}")
    where = f"{title(rows[0]['dataset'])}, {rows[0]['device']}; runs of {EPOCHS} epochs"
    caption(figure, "What a run costs as the work grows", "Solid, ●: normbench; dashed, ■: a conventional loop", where)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
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
        write(rows, SAVED)
    save(plot_cost(read(SAVED)), DRAWN)


if __name__ == "__main__":
    main()
