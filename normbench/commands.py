"""The commands: train one model, compare normalizations, run an experiment, make README, docs and figures anew."""

import shlex
import sys
import zlib
from collections.abc import Iterable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Annotated, Literal

import tyro
from torchsummary import summary

from normbench import compare as comparing
from normbench import experiments, networks, report, runs
from normbench.config import Config
from normbench.data import Dataset, load
from normbench.device import choose_device, device_name, is_out_of_memory
from normbench.engines import Engine, local, on_ray, usual_workers
from normbench.figures import plot_overview
from normbench.findings import result_line
from normbench.pictures import plot_misclassified
from normbench.style import save
from normbench.swap import normalizations
from normbench.train import Run, build
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
    output = _folder(output)
    data = load(dataset, data_dir, choose_device(device))
    number = zlib.crc32(f"{config} {data.device} {data.fingerprint}".encode())
    folder = output / f"{data.name}-{config.nm}-seed{config.seed}-{number:08x}"
    net = build(config, data)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{config.label} on {data.name}, {device_name(data.device)}")
    summary(net, data.image_shape, device="cpu")
    try:
        run = train_one(config, data, checkpoint=folder / "checkpoint.pt")
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"finished epochs are in {folder}; go on with: {_same_command()}") from None
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
        validation: score on held-out training images instead of the test set, and put the results under runs/:
            for whoever changes the network or the recipe.
        data_dir: where data sets lie or are downloaded to; by default the environment's DATA_DIR, else data.
        device: cpu, cuda, …, or auto: a GPU where there is one. On Ray, gpus decides.
        output: the folder of NAME.jsonl, where finished runs are stored; by default results.
    """
    _check_ray(engine, address, gpus)
    usual = "runs/validation" if validation else experiments.RESULTS
    folder = _folder(usual if output is None else output)
    experiment, path = experiments.EXPERIMENTS[name], experiments.path(name, folder)
    plan = experiment.plan(folder)
    data_name = f"{experiment.dataset} (validation)" if validation else experiment.data_name
    stored = experiments.stored(name, folder, data_name)
    print(experiment.question)
    if stored.keys() >= set(plan):
        finished = [stored[config] for config in plan]
        print(
            f"All {len(plan)} trainings are in {path}{_commits(finished)}: nothing is trained. "
            "To train anew, delete that file, or name another folder with --output."
        )
    else:
        data = load(experiment.dataset, data_dir, choose_device("cpu" if engine == "ray" else device))
        if validation and not experiment.validation:
            data = data.hold_out(experiments.HELD_OUT)
        how, where = _engine(engine, workers, address, gpus, data)
        print(f"On {data_name}, {where}:", flush=True)
        try:
            finished = experiments.run(name, data, folder, engine=how)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"finished trainings are in {path}; go on with: {_same_command()}") from None
    print(report.arms_table(runs.arms(finished)))


def compare(
    network: tyro.conf.Positional[str] = networks.OURS,
    /,
    dataset: str = "digits",
    arms: tuple[str, ...] = comparing.ARMS,
    seeds: int = 5,
    epochs: int = 10,
    batch_size: tuple[int, ...] = (128,),
    rates: tuple[float, ...] = comparing.RATES,
    augment: str = "auto",
    weight_decay: float = 5e-4,
    images: int = 0,
    size: int | None = None,
    workers: int | None = None,
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
    gpus: float = 0.0,
    data_dir: DataDir = None,
    device: str = "auto",
    output: str | None = None,
    verbose: bool = False,
) -> None:
    """Which normalization should a network use? Train it with each in turn, with several seeds, and answer.

    Each arm first gets a learning rate of its own, chosen on training images held out. Stopped in whatever way, the
    same command goes on. Without a network this is the study's own on small digits: a few minutes, to see what it does.

    Args:
        network: what makes the network: file.py:function, package.module:function or torchvision:resnet18. It is called
            with num_classes, in_channels and size, (H, W), as far as it takes them.
        dataset: mnist, digits, fashion_mnist, kmnist, cifar10, the name of a file NAME.npz in the data folder, or a
            folder of images, with a slash: photos/, with a folder for each class, or with train/ and test/.
        arms: BN, GN, LN (a set an image), IN, LN_C (over the channels of each pixel), none; GN:8 for eight groups.
        seeds: trainings an arm.
        epochs: how often a training sees every training image.
        batch_size: training images a step; several numbers for an answer by batch size.
        rates: learning rates to try, and more where the best lies at the edge; one is used as it is.
        augment: random changes of training images: affine, crop-flip, none, or auto by the kind of images.
        weight_decay: the pull of all parameters towards 0.
        images: how many of the training images are used, drawn by lot, for an answer sooner; 0 for all.
        size: pixels to which the images of a folder are brought, 32 by default.
        workers: trainings side by side; by default as many as were measured to be fastest, or as a cluster can hold.
        engine: local for this machine, or ray for a Ray cluster (pip install -r requirements-ray.txt).
        address: of the Ray cluster, or auto for the one that this machine is part of; without it, one of this machine.
        gpus: the share of a GPU that each training on Ray is given.
        data_dir: where data sets lie or are downloaded to; by default the environment's DATA_DIR, else data.
        device: cpu, cuda, …, or auto: a GPU where there is one. On Ray, gpus decides.
        output: the folder of the finished trainings and of report.html; by default one in runs/compare.
        verbose: name every layer that is swapped.
    """
    _check_ray(engine, address, gpus)
    data = load(dataset, data_dir, choose_device("cpu" if engine == "ray" else device), size)
    swapped = networks.Swapped(network)
    folder = _folder(f"runs/compare/{swapped.name}-{data.name}" if output is None else output)
    if verbose:
        for path, layer in normalizations(swapped.original(Config(), data)).items():
            print(f"{path}: {layer}")
    try:
        compared = comparing.compare(
            network,
            data,
            arms,
            seeds,
            epochs,
            batch_size,
            folder,
            rates=rates,
            augment=augment,
            weight_decay=weight_decay,
            images=images,
            workers=usual_workers(data) if workers is None else workers,
            engine=on_ray(workers, address, gpus) if engine == "ray" else None,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"finished trainings are in {folder}; go on with: {_same_command()}") from None
    page = folder / "report.html"
    page.write_text(compared.page(_same_command()), encoding="utf-8")
    print(f"\n{compared.answer}\n\nTables and figures: {page}")


def _check_ray(engine: str, address: str | None, gpus: float) -> None:
    if engine != "ray" and (address is not None or gpus):
        raise ValueError("--address and --gpus are for a Ray cluster: give --engine ray too")


def _engine(name: str, workers: int | None, address: str | None, gpus: float, data: Dataset) -> tuple[Engine, str]:
    """What carries the trainings out, and where, in words."""
    if name == "ray":
        return on_ray(workers, address, gpus), "Ray"
    return local(usual_workers(data) if workers is None else workers), device_name(data.device)


def _commits(finished: Iterable[Run]) -> str:
    """The commits of the code that made the runs, where they are known."""
    commits = sorted({run.commit[:7] + run.commit[40:] for run in finished if run.commit})
    return f" (code of commit {', '.join(commits)})" if commits else ""


def _folder(name: str | Path) -> Path:
    if not str(name):
        raise ValueError("--output '' names no folder: . is this one")
    return Path(name)


def _same_command() -> str:
    return shlex.join([*_program().split(), *sys.argv[1:]])


def _program() -> str:
    """How this program was started."""
    return "normbench" if Path(sys.argv[0]).stem == "normbench" else "python -m normbench"


def make_report(data_dir: DataDir = None) -> None:
    """Make README, docs and the figures of images/ anew from results/.

    Args:
        data_dir: where data sets lie or are downloaded to; figures of images that cannot be had are left as they are.
    """
    if not (report.PROJECT / "README.md").exists():
        raise ValueError(
            "report makes the pages of a checkout anew, and this is an installed package: run it in a checkout"
        )
    for path in report.write(data_dir):
        print(path)


def run() -> int:
    """Run the command that `sys.argv` names; returns the exit status, and says what is wrong in one line."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            {"train": train, "compare": compare, "study": study, "report": make_report}, prog=_program()
        )
    except (ValueError, OSError, FloatingPointError, BrokenProcessPool) as error:
        print(error, file=sys.stderr)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        reason = (str(error).strip() or "Python has none left").splitlines()[0]
        print(f"there is not enough memory for this training: {reason}", file=sys.stderr)
    else:
        return 0
    return 2
