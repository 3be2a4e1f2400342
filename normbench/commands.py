"""The command line of `normbench`. Nothing heavy is imported before the options are read, so that --help is quick."""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from normbench import defaults
from normbench.files import write_whole
from normbench.program import output_folder, run, same_command, stopped

if TYPE_CHECKING:
    from normbench.data import Dataset, Samples
    from normbench.runs import Engine


@dataclass(frozen=True)
class Where:
    """Where runs take place: how many at once, on which machines, with data from which folder.

    Attributes:
        workers: runs side by side; by default as many as were measured to be fastest, or as a cluster has room for.
        engine: local for this machine, or ray for a Ray cluster (pip install "normbench[ray]").
        address: address of the Ray cluster, or auto for the one that this machine is part of; by default a cluster of
            this machine alone.
        gpus: the share of a GPU that each run on Ray is given.
        data_dir: where data sets lie or are downloaded to; by default the environment's DATA_DIR, else data.
        device: cpu, cuda, …, or auto: a GPU if there is one. On Ray, gpus decides.
    """

    workers: int | None = None
    engine: Literal["local", "ray"] = "local"
    address: str | None = None
    gpus: float = 0.0
    data_dir: Annotated[str | None, tyro.conf.arg(metavar="FOLDER")] = None
    device: str = "auto"

    def load(self, dataset: str, size: int | None = None) -> "Dataset":
        """Load a data set on the device where runs take place.

        Raises ValueError for options that contradict each other, and as `choose_device` and `load` do.
        """
        from normbench.data import load
        from normbench.device import choose_device

        if self.engine != "ray" and (self.address is not None or self.gpus):
            raise ValueError("--address and --gpus are for a Ray cluster: give --engine ray too")
        return load(dataset, self.data_dir, choose_device("cpu" if self.engine == "ray" else self.device), size)


def workers_for(where: Where, data: "Dataset | Samples | None") -> int:
    """Return how many runs take place side by side on this machine; of a training function's own, one."""
    from normbench.runs import usual_workers

    if where.workers is not None:
        return where.workers
    return usual_workers(data) if data is not None else 1


def engine_for(where: Where, data: "Dataset | Samples | None", modules: Sequence[ModuleType] = ()) -> "Engine":
    """Return what carries the runs out; on Ray, `modules` are sent to the nodes besides normbench.

    Raises ValueError for numbers out of range.
    """
    from normbench.runs import local, on_ray

    if where.engine == "ray":
        return on_ray(where.workers, where.address, where.gpus, modules=modules)
    return local(workers_for(where, data))


@dataclass(frozen=True)
class Options:
    """What is compared, and how it is trained.

    Attributes:
        network: what makes the network: file.py:function, package.module:function or torchvision:resnet18. It is called
            with whichever of num_classes, in_channels and size, (H, W), it accepts.
        train: a training function of your own, my_project.py:train, in the place of a data set and the built-in
            training: called as train(net, lr=…, seed=…), it returns a score, or one score per test example.
        higher_is_better: whether the best score is the highest: by default as the metric has it, and True for a
            function of your own.
        version: stands for the source of train, or of a data set of your own, in what finished runs are known by: an
            edit then trains nothing anew.
        dataset: mnist, digits (the default), fashion_mnist, kmnist, cifar10, the name of a file NAME.npz in the data
            folder, or a folder of images, with a slash: photos/, with a folder for each class, or with train/ and
            test/. Or a function of your own, my_data.py:sets, that returns torch data sets (train, test).
        loss: for such a function: cross_entropy, mse, bce, or my_data.py:loss, a function of outputs and targets.
        metric: for such a function: accuracy, mse, mae, loss, or my_data.py:dice; by default that of the loss.
        arms: BN, GN (each layer gets a number of groups that fits), GN:8 (eight groups), LN (all channels of an image),
            IN, LN_C (the channels of each pixel), LN_CHW (with a weight per element), BN:16 (16 images per statistic),
            RMS, DyT, Derf, BRN (batch renorm), FrozenBN, none; WS+GN standardizes the weights of the convolutions, too;
            own is the network as it is; my_norms.py:MyNorm is a layer of your own.
        seeds: runs per arm, at most: an arm drops out as soon as it is reliably behind. More later, with the same
            output, go on from those that are finished.
        margin: a difference that does not matter to you, in percentage points; the race also ends when the arms that
            are left differ by less.
        budget: how long it may take, such as 90m or 2h; then it says what is undecided.
        fixed: train all arms with all seeds, without a race.
        epochs: how often a run sees every training image, by default 10.
        batch_size: training images per step, by default 128; several numbers for an answer by batch size.
        optimizer: sgd (with Nesterov momentum), adamw, or muon (for the filters of convolutions, SGD for the rest).
        rates: learning rates to try, and more if the best lies at the edge; a single one is used as it is. By default
            those of the optimizer: 0.03 0.1 0.3 for sgd. A training function that takes lr needs them.
        augment: random changes of training images: affine, crop-flip, crop-turn (mirrored in every other
            epoch), none, or auto by the kind of images.
        weight_decay: by default that of the optimizer: 5e-4 for sgd, 0.05 for adamw. Of several numbers each arm is
            given the best, with the same number of tries for every arm.
        decay_on: what weight decay falls on: weights, which leaves out biases and what normalizations train; or all.
        amp: bf16 for automatic mixed precision in bfloat16.
        pretrained: whether the network comes with trained weights, which new layers then follow.
        images: how many training images are used, a random subset, for a faster and rougher answer; by default all.
        size: pixels to which the images of a folder are brought; by default 32.
        price: whether to measure what each arm costs in time and memory.
        output: the folder of the finished runs and of report.html; by default one in runs/compare.
        verbose: name every layer that is replaced.
    """

    network: tyro.conf.Positional[str] = defaults.NETWORK
    train: str | None = None
    higher_is_better: bool | None = None
    version: str = ""
    dataset: str | None = None
    loss: str = "cross_entropy"
    metric: str | None = None
    arms: tuple[str, ...] = defaults.ARMS
    seeds: int = defaults.SEEDS
    margin: float | None = None
    budget: Annotated[str | None, tyro.conf.arg(metavar="TIME")] = None
    fixed: bool = False
    epochs: int | None = None
    batch_size: tuple[int, ...] | None = None
    optimizer: str = defaults.OPTIMIZER
    rates: tuple[float, ...] | None = None
    augment: str = "auto"
    weight_decay: tuple[float, ...] | None = None
    decay_on: Literal["weights", "all"] = "weights"
    amp: str | None = None
    pretrained: bool = False
    images: int | None = None
    size: int | None = None
    price: bool = True
    output: str | None = None
    verbose: bool = False


def compare(
    options: Annotated[Options, tyro.conf.arg(name="")], where: Annotated[Where, tyro.conf.arg(name="")]
) -> None:
    """Which normalization should a network use? Train it with each in turn, with several seeds, and answer.

    Each normalization, an arm of the comparison, first gets a learning rate of its own, chosen on held-out training
    images. If you stop it, the same command resumes. Without a network it shows what it does in a few minutes, with a
    small network on small digits.
    """
    from normbench import comparison, networks
    from normbench.checking import price_text

    network = networks.Swapped(options.network)
    if options.train is not None and options.dataset is not None:
        raise ValueError("--dataset and --train exclude each other: a training function has its own data")
    data = _data(options, where) if options.train is None else None
    trained_on = data.name if data else networks.Named(options.train or "").name
    folder = output_folder(options.output, f"runs/compare/{network.name}-{trained_on}")
    if options.verbose and data:
        for path, layer in network.layers(data).items():
            print(f"{path}: {layer}")
    given = asdict(options)
    for name in ("network", "arms", "dataset", "size", "output", "verbose"):
        del given[name]
    if is_function(options.dataset or ""):  # whose data have these
        given |= {"loss": "cross_entropy", "metric": None, "version": ""}
    try:
        compared = comparison.compare(
            options.network,
            data,
            options.arms,
            folder=folder,
            device=where.device,
            workers=workers_for(where, data),
            engine=engine_for(where, data) if where.engine == "ray" else None,
            **given,
        )
    except KeyboardInterrupt:
        raise stopped(folder, same_command("normbench")) from None
    print(f"\n{compared.answer}\n")  # before anything is written, which a full disk would prevent
    if compared.price is not None:
        print(f"{price_text(compared.price)}\n", flush=True)
    page = folder / "report.html"
    write_whole(page, compared.page(same_command("normbench")))
    print(f"Tables and figures: {page}")


def is_function(name: str) -> bool:
    """Tell whether a text names a function: file.py:function or package.module:function."""
    source, colon, function = name.rpartition(":")
    return bool(colon) and function.isidentifier() and not {"/", os.sep} & set(function) and len(source) > 1


def _data(options: Options, where: Where) -> "Dataset | Samples":
    """Load what is trained on: a data set by its name, or what a function of the user's own returns."""
    name = options.dataset or "digits"
    if not is_function(name):
        return where.load(name, options.size)
    from dataclasses import replace

    from normbench.comparison import samples_of
    from normbench.data import Goal, Samples
    from normbench.networks import Named

    if options.size is not None:
        raise ValueError(f"--size is for folders of images, got {options.size}")
    goal = Goal(_function(options.loss), None if options.metric is None else _function(options.metric))
    with Named(name).found() as make:
        try:
            made = make()
        except Exception as error:  # a function of the user's own can raise anything
            raise ValueError(f"{name} cannot make data sets: {type(error).__name__}: {error}") from error
    samples = made if isinstance(made, Samples) else samples_of(made, goal, options.version, where.device)
    return replace(samples, name=Named(name).name)


def _function(name: str) -> Any:
    """The function that a text names, or the text itself where it names none."""
    from normbench.networks import Named

    if not is_function(name):
        return name
    with Named(name).found() as function:
        return function


@dataclass(frozen=True)
class DecideOptions:
    """Which table, and what its columns are.

    Attributes:
        table: a file of finished runs, .csv, .tsv or .jsonl, with a row per run.
        arm: the column that names the normalization, or whatever is compared.
        score: the columns of the scores, of which the first decides; a row without one has failed.
        seed: the column of the seeds; none if there is none.
        higher_is_better: whether the best arm is the one with the highest score.
        network: what the page calls the network.
        output: the folder of report.html; by default one in runs/decide.
    """

    table: tyro.conf.Positional[Path]
    arm: str = "arm"
    score: tuple[str, ...] = ("score",)
    seed: str = "seed"
    higher_is_better: bool = True
    network: str = "your network"
    output: str | None = None


def decide(options: Annotated[DecideOptions, tyro.conf.arg(name="")]) -> None:
    """Compare runs that are finished already, made by any tool, from a table with a row for each."""
    from normbench.comparison import Comparison, read_table

    compared = Comparison.from_frame(
        read_table(options.table),
        options.arm,
        options.score,
        None if options.seed == "none" else options.seed,
        higher_is_better=options.higher_is_better,
        network=options.network,
        data=options.table.stem,
    )
    folder = output_folder(options.output, f"runs/decide/{options.table.stem}")
    print(compared.answer)
    page = folder / "report.html"
    write_whole(page, compared.page(same_command("normbench")))
    print(f"\nTables and figures: {page}")


@dataclass(frozen=True)
class CheckOptions:
    """What is looked at.

    Attributes:
        network: what makes the network: file.py:function, package.module:function or torchvision:resnet18. It is called
            with whichever of num_classes, in_channels and size, (H, W), it accepts.
        size: of an input, channels first: 3x224x224 for images, 1x16000 for a signal, 1x32x64x64 for a volume.
        batch_size: inputs per training step; on it depends how many numbers share a statistic of batch norm.
        num_classes: of the network, if its function asks for them.
        arms: the normalizations whose price is asked for: BN, GN, GN:8, LN, IN, LN_C, RMS, none, WS+GN, …
        price: whether to measure what each arm costs.
        device: cpu, cuda, …, or auto: a GPU if there is one.
        verbose: a row for each layer, also in long tables.
    """

    network: tyro.conf.Positional[str]
    size: Annotated[str, tyro.conf.arg(metavar="CxHxW")]
    batch_size: int
    num_classes: int = 10
    arms: tuple[str, ...] = defaults.ARMS
    price: bool = True
    device: str = "auto"
    verbose: bool = False


def check(options: Annotated[CheckOptions, tyro.conf.arg(name="")]) -> None:
    """Look at a network before training: its normalizations, what is dangerous about them, what others would cost.

    Takes seconds and trains nothing.
    """
    from normbench import checking
    from normbench.device import choose_device
    from normbench.networks import Swapped, is_of_a_user

    if options.batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, got {options.batch_size}")
    shape, device = checking.size(options.size), choose_device(options.device)
    network = Swapped(options.network, {norm: norm for norm in options.arms if is_of_a_user(norm)})
    arms = network.priced(options.arms)
    offers = {"num_classes": options.num_classes, "in_channels": shape[0], "size": shape[1:]}
    net = network.built(offers).to(device)
    example = checking.inputs(shape, options.batch_size, device)
    found = checking.check(net, example, arms=arms, price=options.price)
    print(found.to_text(every_row=options.verbose))


def main() -> int:
    """Run `normbench`."""
    if sys.argv[1:] == ["--version"]:
        from normbench import __version__

        print(f"normbench {__version__}")
        return 0
    about = "Which normalization layer should a network use? (--version says which normbench this is.)"
    return run({"compare": compare, "check": check, "decide": decide}, "normbench", about)
