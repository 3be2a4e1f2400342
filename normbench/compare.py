"""Which normalization should a network use? Each is swapped in and trained with several seeds; then an answer."""

import base64
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations
from pathlib import Path

import pandas as pd
import torch
from jinja2 import Environment, FileSystemLoader
from matplotlib.figure import Figure
from torch import nn

from normbench import figures, runs
from normbench.config import Config
from normbench.data import Dataset, title
from normbench.device import commit, versions
from normbench.engines import Engine
from normbench.gaps import gap
from normbench.networks import Swapped
from normbench.runs import Arm, Arms
from normbench.stats import Difference, seeds_needed, superiority, winners
from normbench.swap import normalizations, unknown
from normbench.train import Run, check_network, train, train_or_diverge

ARMS = ("BN", "GN", "LN", "IN", "none")
RATES = (0.03, 0.1, 0.3)
WIDENINGS = 4  # how often an arm's rates are widened at most
HELD_OUT = 1 / 6  # the share of the training images on which rates are chosen, up to
MOST_HELD_OUT = 10_000  # images


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare` found.

    Attributes:
        network: its name.
        data: the name of the data set.
        swapped: the types of its own normalization layers, and how many there are of each.
        arms: by batch size, the arms whose trainings all came to their end, each with the rate that was chosen for it.
        failures: by batch size, the arms that have no result, by their label, and why.
        tried: by batch size, the trainings that chose the rates, scored on held-out training images.
    """

    network: str
    data: str
    swapped: Mapping[str, int]
    arms: Mapping[int, Arms]
    failures: Mapping[int, Mapping[str, str]]
    tried: Mapping[int, Arms] = field(default_factory=dict)

    @property
    def chosen(self) -> bool:
        """Whether each arm has a learning rate that was chosen for it."""
        return any(self.tried.values())

    @property
    def answer(self) -> str:
        """What to take, how sure that is, and what would make it surer: a few sentences, a paragraph a batch size."""
        several = len(self.arms) > 1
        return "\n\n".join(
            (f"With batches of {size}: " if several else "") + _answer(arms, self.failures[size])
            for size, arms in self.arms.items()
        )

    @property
    def runs(self) -> list[Run]:
        """The trainings of the arms that have a result."""
        return [run for arms in self.arms.values() for arm in arms.values() for run in arm.runs]

    def frame(self) -> pd.DataFrame:
        """A row a training of an arm that has a result, as `runs.frame` gives it."""
        return runs.frame(self.runs)

    def figures(self) -> dict[str, Figure]:
        """The figures by their titles: accuracies with intervals and curves by batch size, and the rates tried."""
        drawn = {}
        for size, arms in self.arms.items():
            at = f", batches of {size}" if len(self.arms) > 1 else ""
            if arms:
                drawn |= {f"Accuracy{at}": figures.plot_arms(arms), f"Curves{at}": figures.plot_seeds(arms)}
            if len({config.lr for config in self.tried.get(size, {})}) > 1:
                drawn[f"Learning rates tried{at}"] = figures.plot_rates(self.tried[size])
        if len(self.arms) > 1:
            every = {config: arm for arms in self.arms.values() for config, arm in arms.items()}
            drawn = {"Accuracy by batch size": figures.plot_by_batch_size(every)} | drawn
        return drawn

    def page(self, command: str = "") -> str:
        """A page in HTML to send to a colleague, with all figures inside; `command` is what made the comparison."""
        return _template("page.html").render(comparison=self, body=self._body(command))

    def _body(self, command: str = "") -> str:
        return _template("comparison.html").render(
            comparison=self,
            title=title(self.data),
            figures={name: _embedded(figure) for name, figure in self.figures().items()},
            pairs={size: pairs_table(arms) for size, arms in self.arms.items() if len(arms) > 1},
            made_by={
                "Command": command,
                "Device": ", ".join(dict.fromkeys(run.device for run in self.runs)),
                "Versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
                "Code of commit": commit(),
            },
        )

    def __str__(self) -> str:
        return self.answer

    def _repr_html_(self) -> str:
        return self._body()


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
        progress: whether to print what is done.

    Raises ValueError where the network cannot be made, has no normalization or cannot be trained on the images, and
    for options out of range; and as `runs.run_all` does.
    """
    network = Swapped(build)
    sizes = (batch_size,) if isinstance(batch_size, int) else tuple(batch_size)
    wanted = [replace(_arm(name), epochs=epochs, augment=augment, weight_decay=weight_decay) for name in arms]
    images = len(data.y_train)
    n_held_out = max(1, min(MOST_HELD_OUT, round(HELD_OUT * images)))
    _check(wanted, seeds, rates, sizes, images - n_held_out)
    rates, data = sorted(set(rates)), _shuffled(data)
    held_out = data.hold_out(n_held_out)
    network(wanted[0], data)  # raises where there is nothing to swap, which is said before anything else
    original = network.original(wanted[0], data)
    swapped = Counter(type(layer).__name__ for layer in normalizations(original).values())
    check_network(original, data, max(sizes))
    work = _Work(network, Path(folder), workers, engine, progress)
    all_arms, all_failures, all_tried = {}, {}, {}
    plan = {size: _usable([replace(config, batch_size=size) for config in wanted], network, data) for size in sizes}
    if progress:
        work.tell(_preview(network.name, original, data, swapped))
        usable = [config for configs, _ in plan.values() for config in configs]
        work.tell(_estimate(usable, seeds, len(rates), network, data, workers))
    for size, (configs, failures) in plan.items():
        at = f", batches of {size}" if len(sizes) > 1 else ""
        tried = {}
        if len(rates) > 1:
            work.tell(f"Learning rates, on {n_held_out:,} training images held out{at}:")
            tried = work.rates(configs, rates, held_out)
        chosen = {config: best_rate(config, tried) if tried else rates[0] for config in configs}
        failures |= {config.label: _why_no_rate(config, tried) for config, rate in chosen.items() if rate is None}
        usable = [replace(config, lr=rate) for config, rate in chosen.items() if rate is not None]
        work.tell(f"Seeds, on the test images{at}:")
        trained = work.train(usable, range(1, seeds + 1), data)
        failures |= {arm.label: _why_no_result(arm) for arm in trained.values() if any(run.failure for run in arm.runs)}
        all_arms[size] = {config: arm for config, arm in trained.items() if arm.label not in failures}
        all_failures[size], all_tried[size] = failures, tried
    return Comparison(network.name, data.name, swapped, all_arms, all_failures, all_tried)


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
    """How the trainings of a comparison are carried out, and where they are kept."""

    network: Swapped
    folder: Path
    workers: int
    engine: Engine | None
    progress: bool

    def tell(self, line: str) -> None:
        if self.progress:
            print(line, flush=True)

    def train(self, configs: Sequence[Config], seeds: Sequence[int], data: Dataset) -> Arms:
        """The arms of the configs, trained with every seed."""
        planned = [replace(config, seed=seed) for seed in seeds for config in configs]
        trainer = partial(train_or_diverge, build_network=self.network)
        path = self.folder / "runs.jsonl"
        return runs.arms(runs.run_all(planned, data, path, self.workers, self.progress, self.engine, trainer), configs)

    def rates(self, configs: Sequence[Config], rates: Sequence[float], held_out: Dataset) -> Arms:
        """Each config tried with each rate, and with more rates while the best is the lowest or the highest tried."""
        grids = dict.fromkeys(configs, rates)
        for widening in range(WIDENINGS + 1):
            planned = [replace(config, lr=rate) for config, grid in grids.items() for rate in grid]
            tried = self.train(planned, (0,), held_out)
            beyond = {config: _next_rate(grid, best_rate(config, tried)) for config, grid in grids.items()}
            if widening == WIDENINGS or not any(beyond.values()):
                break
            grids = {config: sorted({*grid, beyond[config] or grid[0]}) for config, grid in grids.items()}
        return tried


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


# Words


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


def _estimate(usable: Sequence[Config], seeds: int, rates: int, network: Swapped, data: Dataset, workers: int) -> str:
    """How many trainings there will be, and how long they will take by the first steps of each arm."""
    seconds, trainings = 0.0, 0
    for config in usable:
        times = seeds + (rates if rates > 1 else 0)
        seconds += times * _seconds(config, network, data)
        trainings += times
    more = ", and more where the best rate lies at the edge" if rates > 1 else ""
    time_needed = runs.duration(seconds / workers)
    return f"About {trainings} trainings{more}: about {time_needed}. Stopped, the same command goes on."


def _seconds(config: Config, network: Swapped, data: Dataset) -> float:
    """How long a training will take, from that of a few steps and of a test."""
    steps = math.ceil(len(data.y_train) / config.batch_size)
    few, more = min(steps, 2), min(steps, 6)
    taken = {}
    for n in (few, more):
        images = min(n * config.batch_size, len(data.y_train))
        started = time.perf_counter()
        try:
            train(replace(config, epochs=1, images=images), data, progress=False, net=network(config, data))
        except (FloatingPointError, RuntimeError):  # it will be reported when it is trained
            return 0.0
        taken[n] = time.perf_counter() - started
    a_step = max(0.0, taken[more] - taken[few]) / max(1, more - few)
    return config.epochs * (a_step * (steps - more) + taken[more])


def _why_no_rate(config: Config, tried: Arms) -> str:
    tries = _tries(config, tried)
    rates = sorted(run.config.lr for run in tries)
    failures = ", ".join(f"{n} {failure}" for failure, n in Counter(run.failure for run in tries).items())
    return f"no learning rate from {rates[0]:g} to {rates[-1]:g} could be trained ({failures})"


def _why_no_result(arm: Arm) -> str:
    failed = Counter(run.failure for run in arm.runs if run.failure)
    return ", ".join(f"{n} of {len(arm.runs)} trainings {failure}" for failure, n in failed.items())


def _answer(arms: Arms, failures: Mapping[str, str]) -> str:
    """The answer for one batch size."""
    ranked = sorted(arms.values(), key=lambda arm: -arm.accuracy.mean)
    sentences = [_verdict(arms, ranked)] if ranked else ["No arm could be trained."]
    if len(ranked) > 1:
        shares = sorted(winners({arm.label: arm.last() for arm in ranked}).items(), key=lambda item: -item[1])
        named = ", ".join(f"{label} in {100 * share:.0f} %" for label, share in shares if share >= 0.005)
        sentences.append(f"If each were trained once, the best would be {named} of all cases.")
    sentences += [f"{label} has no result: {reason}." for label, reason in failures.items()]
    return " ".join(sentences)


def _verdict(arms: Arms, ranked: Sequence[Arm]) -> str:
    best, *others = ranked
    mean = f"{best.accuracy.mean:.2f} % of the test images on average"
    if not others:
        return f"{best.label} alone has a result: {mean}."
    if len(best.runs) < 2:
        second = others[0]
        apart = best.accuracy.mean - second.accuracy.mean
        return (
            f"With one training an arm nothing can be told: {best.label} has {mean}, {second.label} {apart:.2f} points "
            "less, and another seed may turn that round. Take five seeds."
        )
    family = len(list(combinations(ranked, 2)))
    leads = {other: gap(arms, best.config, other.config, family) for other in others}
    tied = [other for other, lead in leads.items() if lead.low <= 0]
    behind = [other for other in others if other not in tied]
    clear = ", ".join(f"{other.label} by {_points(leads[other])}" for other in behind)
    if not tied:
        return f"Take {best.label}: {mean}. It is ahead of {clear} (95 % intervals that hold together)."
    most = max(leads[other].high for other in tied)
    names = _listed([best.label, *(other.label for other in tied)])
    nearest = tied[0]
    needed = seeds_to_tell(best, nearest)
    sentence = (
        f"{names} cannot be told apart with {len(best.runs)} seeds. {best.label} has the highest mean, {mean}; "
        f"ahead of {nearest.label} by {_points(leads[nearest])}; were that the true difference, it would take {needed} "
        f"seeds an arm to see it. None of them is behind by more than {most:.2f} points."
    )
    return sentence + (f" Clearly behind is {clear}." if behind else "")


def seeds_to_tell(a: Arm, b: Arm) -> str:
    """About how many seeds an arm would find the measured difference in four of five cases, if it is the true one."""
    distance = abs(a.accuracy.mean - b.accuracy.mean)
    deviation = math.sqrt((a.last().var(ddof=1) + b.last().var(ddof=1)) / 2)
    if len(a.runs) < 2 or distance == 0 or deviation > 30 * distance:
        return "more than 10,000"
    return f"about {seeds_needed(deviation, distance):,}"


def _points(lead: Difference) -> str:
    return f"{lead.estimate:.2f} points ({lead.low:.2f} to {lead.high:.2f})".replace("-", "−")


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def pairs_table(arms: Arms) -> pd.DataFrame:
    """A row a pair of arms: the difference of their means, its interval, and how often the first beats the second.

    The 95 % intervals hold for all pairs together, for new seeds and new test images.
    """
    ranked = sorted(arms.values(), key=lambda arm: -arm.accuracy.mean)
    pairs = list(combinations(ranked, 2))
    rows = []
    for a, b in pairs:
        lead = gap(arms, a.config, b.config, len(pairs))
        rows.append(
            {
                "pair": f"{a.label} − {b.label}",
                "points": lead.estimate,
                "low": lead.low,
                "high": lead.high,
                "first is better in one run": superiority(a.last(), b.last()),
                "seeds to tell": seeds_to_tell(a, b),
            }
        )
    return pd.DataFrame(rows)


def _template(name: str):
    folder = FileSystemLoader(Path(__file__).parent / "templates")
    return Environment(loader=folder, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template(name)


def _embedded(figure: Figure) -> str:
    """The figure as the address of a picture that stands in the address itself."""
    return f"data:image/png;base64,{base64.b64encode(figures.png(figure)).decode()}"
