"""Which normalization should a network use? Each is swapped in and trained with several seeds; then an answer."""

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from normbench import runs
from normbench.comparison import Comparison, Result
from normbench.config import Config
from normbench.data import Dataset, title
from normbench.engines import Engine, local, threads_of_a_worker
from normbench.networks import Swapped
from normbench.runs import Arm, Arms
from normbench.swap import normalizations, unknown
from normbench.train import Run, check_network, train, train_or_diverge
from normbench.words import duration

ARMS = ("BN", "GN", "LN", "IN", "none")
RATES = (0.03, 0.1, 0.3)
WIDENINGS = 4  # how often an arm's rates are widened at most
HELD_OUT = 1 / 6  # the share of the training images on which rates are chosen, up to
MOST_HELD_OUT = 10_000  # images
WORKERS_START = 6  # seconds until processes have imported PyTorch and begin; measured: 4 to 8


def compare(
    build: str | Callable[..., nn.Module],
    data: Dataset,
    arms: Sequence[str] = ARMS,
    seeds: int = 5,
    epochs: int = 10,
    batch_size: int | Sequence[int] = 128,
    folder: str | os.PathLike = "runs/compare",
    *,
    rates: Sequence[float] = RATES,
    augment: str = "auto",
    weight_decay: float = 5e-4,
    workers: int = 1,
    engine: Engine | None = None,
    images: int = 0,
    progress: bool = True,
) -> Comparison:
    """Train a network with each normalization in the place of its own, on equal terms, and say which is best.

    First each arm's learning rate is chosen: trainings with each of `rates`, scored on training images held out (a
    sixth, at most 10,000), where the lowest or highest tried is best with another beyond it, too. Then each arm is
    trained with that rate and `seeds` seeds on all training images, and scored on the test images after the last epoch.
    That is done for each batch size by itself. The arms share seeds: same first weights, order and changes of images.

    Finished trainings are kept in `folder`; after a stop the same call goes on. They are known by the network and the
    data that they were made with, so that others never mix in.

    Args:
        build: the network, or rather what makes it, as `networks.Swapped` takes it.
        data: what to train and test on.
        arms: normalizations as `swap` takes them: BN, GN, LN, IN, LN_C, none; "GN:8" for eight groups.
        seeds: trainings an arm; two give an interval, five a useful one.
        epochs: how often a training sees every training image.
        batch_size: training images a step; several for an answer by batch size.
        folder: where finished trainings are kept.
        rates: the learning rates to try. A single one is used as it is.
        augment: the random changes of training images, as in `Config`.
        weight_decay: the optimizer's pull of all parameters towards 0.
        workers: trainings side by side on this machine.
        engine: carries the trainings out in another way, as `engines.on_ray` does.
        images: how many of the training images are used, drawn by lot; 0 for all.
        progress: whether to print what is done.

    Raises ValueError where the network cannot be made, has no normalization or cannot be trained on the images, and
    for options out of range; and as `runs.run_all` does.
    """
    network = Swapped(build)
    sizes = (batch_size,) if isinstance(batch_size, int) else tuple(batch_size)
    wanted = [replace(_arm(name), epochs=epochs, augment=augment, weight_decay=weight_decay) for name in arms]
    data = _shuffled(data).first(images)
    n_held_out = max(1, min(MOST_HELD_OUT, round(HELD_OUT * len(data.y_train))))
    _check(wanted, seeds, rates, sizes, len(data.y_train) - n_held_out)
    engine_here = local(workers)  # raises for a wrong number
    network(wanted[0], data)  # raises where there is nothing to swap, which is said before anything else
    original = network.original(wanted[0], data)
    swapped = Counter(type(layer).__name__ for layer in normalizations(original).values())
    check_network(original, data, max(sizes))
    plan = [_usable([replace(config, batch_size=size) for config in wanted], network, data) for size in sizes]
    grid = sorted(set(rates))
    held_out = data.hold_out(n_held_out)
    work = _Work(network, data, held_out, grid, seeds, Path(folder), engine or engine_here, progress)
    work.tell(_preview(network.name, original, data, swapped))
    if progress:
        work.estimate([config for configs, _ in plan for config in configs], 1 if engine else workers)
    results = [
        work.result(configs, failures, f", batches of {size}" if len(sizes) > 1 else "")
        for size, (configs, failures) in zip(sizes, plan)
    ]
    counts = len(data.y_train), len(data.y_test)
    return Comparison(network.name, data.name, counts, swapped, results)


def _arm(name: str) -> Config:
    """Raises ValueError for what is no normalization."""
    nm, colon, groups = name.partition(":")
    if colon and not (nm == "GN" and groups.isdigit()):
        raise ValueError(f"{name!r} is no arm; a number of groups goes with GN alone, as in GN:8")
    return Config(nm, gp=int(groups) if colon else 0)


def _check(wanted: Sequence[Config], seeds: int, rates: Sequence[float], sizes: Sequence[int], left: int) -> None:
    if len(set(wanted)) < len(wanted) or len(wanted) < 2:
        raise ValueError("give two or more arms, each once, such as BN GN none")
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {seeds}")
    if not rates or not all(0 < rate < math.inf for rate in rates):
        raise ValueError(f"rates must be above 0 and finite, got {list(rates)}")
    if not sizes or len(set(sizes)) < len(sizes):
        raise ValueError(f"give one or more batch sizes, each once, got {list(sizes)}")
    if max(sizes) > left:
        raise ValueError(f"batch size {max(sizes)} is above the {left} training images that are not held out")


def _shuffled(data: Dataset) -> Dataset:
    """`data` with its training images in another order: in files they are often sorted by class."""
    order = torch.randperm(len(data.y_train), generator=torch.Generator().manual_seed(0)).to(data.device)
    return replace(data, x_train=data.x_train[order], y_train=data.y_train[order])


def _usable(configs: Sequence[Config], network: Swapped, data: Dataset) -> tuple[list[Config], dict[str, str]]:
    """The configs whose networks can be trained, and of the others why not."""
    usable, failures = [], {}
    for config in configs:
        try:
            check_network(network(config, data), data, config.batch_size)
            usable.append(config)
        except ValueError as error:
            failures[config.label] = str(error)
    if not usable:
        raise ValueError(f"no arm can be trained: {next(iter(failures.values()))}")
    return usable, failures


@dataclass(frozen=True)
class _Work:
    """What the trainings of a comparison have in common, how they are carried out, and where they are kept."""

    network: Swapped
    data: Dataset
    held_out: Dataset
    grid: Sequence[float]
    seeds: int
    folder: Path
    engine: Engine
    progress: bool

    def tell(self, line: str) -> None:
        if self.progress:
            print(line, flush=True)

    @property
    def _chooses(self) -> bool:
        """Whether rates are tried first."""
        return len(self.grid) > 1

    @property
    def _stored(self) -> dict:
        """What `runs` needs to know in order to find the finished trainings."""
        trainer = partial(train_or_diverge, build_network=self.network)
        return {"path": self.folder / "runs.jsonl", "trainer": trainer}

    def result(self, configs: Sequence[Config], failures: Mapping[str, str], at: str) -> Result:
        """What comes out for configs of one batch size, which is said as `at`; others of that size have failed."""
        tried = {}
        if self._chooses:
            self.tell(f"Learning rates, on {len(self.held_out.y_test):,} training images held out{at}:")
            tried = self._tries(configs)
        chosen = {config: best_rate(config, tried) if tried else self.grid[0] for config in configs}
        failures = failures | {config.label: _why_no_rate(config, tried) for config in configs if not chosen[config]}
        self.tell(f"Seeds, on the test images{at}:")
        usable = [replace(config, lr=rate) for config, rate in chosen.items() if rate]
        trained = self._train(usable, range(1, self.seeds + 1), self.data)
        failures |= {arm.label: _why_no_result(arm) for arm in trained.values() if any(run.failure for run in arm.runs)}
        arms = {config: arm for config, arm in trained.items() if arm.label not in failures}
        return Result(configs[0].batch_size, arms, failures, tried)

    def _train(self, configs: Sequence[Config], seeds: Sequence[int], data: Dataset) -> Arms:
        """The arms of the configs, trained with every seed."""
        planned = [replace(config, seed=seed) for seed in seeds for config in configs]
        return runs.arms(
            runs.run_all(planned, data, progress=self.progress, engine=self.engine, **self._stored), configs
        )

    def _tries(self, configs: Sequence[Config]) -> Arms:
        """Each config tried with each rate, and with more rates while the best is the lowest or the highest tried."""
        grids = dict.fromkeys(configs, self.grid)
        for widening in range(WIDENINGS + 1):
            planned = [replace(config, lr=rate) for config, grid in grids.items() for rate in grid]
            tried = self._train(planned, (0,), self.held_out)
            beyond = {config: _next_rate(grid, best_rate(config, tried)) for config, grid in grids.items()}
            if widening == WIDENINGS or not any(beyond.values()):
                break
            grids = {config: sorted({*grid, beyond[config] or grid[0]}) for config, grid in grids.items()}
        return tried

    def estimate(self, configs: Sequence[Config], workers: int) -> None:
        """Tell how many trainings are left and how long they will take, by a few steps of each arm; if any is left."""
        left = {config: self._left(config) for config in configs}
        if not any(map(sum, left.values())):
            return
        with threads_of_a_worker(workers):
            seconds = sum(sum(n) * _seconds(config, self.network, self.data) for config, n in left.items() if any(n))
        rounds = {(config.batch_size, part) for config, n in left.items() for part in range(2) if n[part]}
        time_needed = duration(seconds / workers + (WORKERS_START * len(rounds) if workers > 1 else 0))
        more, word = (", and more where the best rate lies at the edge", "at least") if self._chooses else ("", "about")
        self.tell(
            f"Trainings that are left: {sum(map(sum, left.values()))}{more}. They take {word} {time_needed} here, "
            f"{workers} at a time. Stopped, the same command goes on."
        )

    def _left(self, config: Config) -> tuple[int, int]:
        """How many trainings of an arm are missing: those of the rates first tried, and those of the seeds.

        Which rate will be chosen is not known yet: seeds with any are taken for those that are wanted.
        """
        path = self._stored["path"]
        rated = {replace(config, lr=rate) for rate in self.grid}
        others = {replace(run.config, seed=0) for run in runs.read(path)} if self._chooses and path.exists() else set()
        kin = rated | {other for other in others if replace(other, lr=config.lr) == config}
        seeded = [replace(arm, seed=seed) for arm in kin for seed in range(1, self.seeds + 1)]
        seeds = {run.config.seed for run in runs.stored(seeded, self.data, **self._stored)}
        tried = runs.stored(rated, self.held_out, **self._stored)
        return len(rated) - len(tried) if self._chooses else 0, self.seeds - len(seeds)


def best_rate(config: Config, tried: Arms) -> float | None:
    """The rate of `config` that scored best, by accuracy and then by loss; None where each training failed."""
    learned = [run for run in _tries(config, tried) if not run.failure]
    if not learned:
        return None
    return max(learned, key=lambda run: (run.last["test_accuracy"], -run.last["test_loss"])).config.lr


def _tries(config: Config, tried: Arms) -> list[Run]:
    """The trainings of `config` with other rates."""
    return [arm.runs[0] for key, arm in tried.items() if replace(key, lr=config.lr) == config]


def _next_rate(grid: Sequence[float], best: float | None) -> float | None:
    """The rate to try beyond the best where that is at an edge of the sorted grid; None where it lies inside."""
    if best is None or best == grid[0]:
        return float(f"{grid[0] ** 2 / grid[1]:.1g}")
    return float(f"{grid[-1] ** 2 / grid[-2]:.1g}") if best == grid[-1] else None


def _preview(name: str, original: nn.Module, data: Dataset, swapped: Mapping[str, int]) -> str:
    """What is compared: the network, the data, and which layers are swapped."""
    layers = ", ".join(f"{n} {kind}" for kind, n in swapped.items())
    numbers = sum(p.numel() for p in original.parameters())
    lines = [
        f"{name} ({numbers:,} parameters) on {title(data.name)}: {len(data.classes)} classes, {len(data.y_train):,} "
        f"training and {len(data.y_test):,} test images {data.image_shape}.",
        f"Normalizations that are swapped: {layers}.",
    ]
    if others := unknown(original):
        paths = ", ".join(f"{path} ({type(layer).__name__})" for path, layer in others.items())
        lines.append(f"Left as they are, for their kind is not known: {paths}.")
    return "\n".join(lines)


def _seconds(config: Config, network: Swapped, data: Dataset) -> float:
    """How long a training will take, from two epochs of few images, of which the first is to warm up."""
    images, tests = len(data.y_train), len(data.y_test)
    few = min(images, max(4 * config.batch_size, 128))
    part = data.first(few)
    n_tests = math.ceil(tests * few / images)
    part = replace(part, x_test=data.x_test[:n_tests], y_test=data.y_test[:n_tests])
    started = time.perf_counter()
    try:
        run = train(replace(config, epochs=2), part, progress=False, net=network(config, part))
    except (FloatingPointError, MemoryError, RuntimeError):  # it will be reported when it is trained
        return 0.0
    around = time.perf_counter() - started - sum(row["seconds"] for row in run.history)
    return around + config.epochs * run.last["seconds"] * images / few


def _why_no_rate(config: Config, tried: Arms) -> str:
    tries = _tries(config, tried)
    rates = sorted(run.config.lr for run in tries)
    failures = ", ".join(f"{n} {failure}" for failure, n in Counter(run.failure for run in tries).items())
    return f"no learning rate from {rates[0]:g} to {rates[-1]:g} could be trained ({failures})"


def _why_no_result(arm: Arm) -> str:
    failed = Counter(run.failure for run in arm.runs if run.failure)
    return ", ".join(f"{n} of {len(arm.runs)} trainings {failure}" for failure, n in failed.items())
