"""The command line: one model, one experiment, or the README and its figures made anew."""

import sys
import zlib
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from torchsummary import summary

from normbench import experiments, readme, runs
from normbench.config import Config
from normbench.data import load
from normbench.device import choose_device, device_name
from normbench.engines import local, on_ray, usual_workers
from normbench.figures import plot_overview, save
from normbench.pictures import plot_misclassified
from normbench.report import result_line
from normbench.tables import seeds_table
from normbench.train import build
from normbench.train import train as train_one

DataDir = Annotated[str | None, tyro.conf.arg(metavar="FOLDER")]


def train(
    config: Annotated[Config, tyro.conf.arg(name="")],
    dataset: str = "auto",
    data_dir: DataDir = None,
    device: str = "auto",
    output: str = "runs/train",
) -> None:
    """Train one model: its summary, progress, curves, ten mistakes, and a result line.

    Stopped with Ctrl-C, the same command goes on from the last finished epoch.

    Args:
        config: the network and its training.
        dataset: mnist, digits, fashion_mnist, kmnist, cifar10, the name of a file NAME.npz in the data folder,
            or auto: MNIST, and the small digits where it cannot be had.
        data_dir: where data sets lie or are downloaded to; by default the environment's DATA_DIR, else data.
        device: cpu, cuda, …, or auto: a GPU where there is one.
        output: a folder for each training is made there.
    """
    data = load(dataset, data_dir, choose_device(device))
    number = zlib.crc32(f"{config} {data.device}".encode())
    folder = Path(output) / f"{data.name}-{config.nm}-seed{config.seed}-{number:08x}"
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{config.label} on {data.name}, {device_name(data.device)}")
    summary(build(config, data), data.image_shape, device="cpu")
    try:
        run = train_one(config, data, checkpoint=folder / "checkpoint.pt")
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"finished epochs are kept in {folder}; the same command goes on from there") from None
    (folder / "run.jsonl").unlink(missing_ok=True)
    runs.append(run, folder / "run.jsonl")
    save(plot_overview([run]), folder / "curves.png")
    save(plot_misclassified(run, data), folder / "misclassified.png")
    print(f"{result_line(run)}\nCurves, mistakes and result: {folder}/ (delete it to train anew)")


def study(
    name: tyro.conf.Positional[Literal[tuple(experiments.EXPERIMENTS)]],
    /,
    workers: int | None = None,
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
    gpus: float = 0.0,
    validation: bool = False,
    data_dir: DataDir = None,
    device: str = "auto",
    output: str | None = None,
) -> None:
    """Run an experiment: many trainings, of which those already in results/ are not repeated.

    Stopped in whatever way, the same command goes on from the last finished training. Several processes may be at
    work on one experiment.

    Args:
        name: which experiment.
        workers: trainings side by side; by default as many as were measured to be fastest, or as a cluster can hold.
        engine: local for this machine, or ray for a Ray cluster (pip install -r requirements-ray.txt).
        address: of the Ray cluster, or auto for the one that this machine is part of; without it, one of this machine.
        gpus: the share of a GPU that each training on Ray is given.
        validation: score on held-out training images instead of the test set, and keep the results under runs/:
            for whoever changes the network or the recipe.
        data_dir: where data sets lie or are downloaded to; by default the environment's DATA_DIR, else data.
        device: cpu, cuda, …, or auto: a GPU where there is one. On Ray, gpus decides.
        output: the folder of NAME.jsonl, where finished runs are kept; by default results.
    """
    experiment = experiments.EXPERIMENTS[name]
    folder = Path(output or ("runs/validation" if validation else experiments.RESULTS))
    configs = experiment.plan(folder)
    data = load(experiment.dataset, data_dir, choose_device("cpu" if engine == "ray" else device))
    if validation and not experiment.validation:
        data = data.hold_out(experiments.HELD_OUT)
    if engine == "ray":
        how, where = on_ray(workers, address, gpus), "Ray"
    else:
        how, where = local(usual_workers(data) if workers is None else workers), device_name(data.device)
    print(f"Claim: {experiment.claim}.\n{len(configs)} trainings on {data.name}, {where}")
    try:
        found = experiments.run(name, data, folder, engine=how)
    except KeyboardInterrupt:
        kept = folder / f"{name}.jsonl"
        raise KeyboardInterrupt(f"finished trainings are kept in {kept}; the same command goes on from there") from None
    print(seeds_table(found))


def report(data_dir: DataDir = None) -> None:
    """Make the README's tables and the figures of images/ anew from results/.

    Args:
        data_dir: where data sets lie or are downloaded to; figures of images that cannot be had are left as they are.
    """
    for path in readme.write(data_dir):
        print(path)


def main() -> int:
    """Run the command line; returns the exit status, and says what is wrong in one line."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            {"train": train, "study": study, "report": report}, prog="python -m normbench"
        )
    except (ValueError, OSError, FloatingPointError, BrokenProcessPool, torch.OutOfMemoryError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"\nStopped; {stop or 'nothing was being trained'}.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
