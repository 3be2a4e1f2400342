"""Which normalization should a network use? Each is swapped in and trained with several seeds; then an answer."""

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from normbench import defaults
from normbench.comparison.candidates import Candidate, Original, candidates, groups, original, preview, without_twins
from normbench.comparison.export import save
from normbench.comparison.own import own_training, rates_of
from normbench.comparison.race import Rules
from normbench.comparison.racing import Course, hold
from normbench.comparison.rates import choose_decays, choose_rates
from normbench.comparison.remaining import estimate, missing
from normbench.comparison.result import Comparison, Result, why_no_result
from normbench.comparison.tasks import chance_of, data_of, for_rates, scored_on, sizes_of, trainer_of
from normbench.comparison.trainings import Trainings
from normbench.data import Dataset, Function, Goal, Samples, Task
from normbench.device import choose_device
from normbench.networks import Swapped, is_of_a_user
from normbench.runs import Engine, local, opened
from normbench.swapping import Make
from normbench.training import OPTIMIZERS, Recipe
from normbench.words import seconds_of


def compare(
    build: str | Callable[..., nn.Module],
    data: Dataset | Samples | Sequence[Any] | None = None,
    arms: Sequence[str | Make] | Mapping[str, str | Make] = defaults.ARMS,
    seeds: int = defaults.SEEDS,
    epochs: int | None = None,
    batch_size: int | Sequence[int] | None = None,
    folder: str | os.PathLike[str] = "runs/compare",
    *,
    train: str | Callable[..., Any] | None = None,
    loss: str | Function = "cross_entropy",
    metric: str | Function | None = None,
    higher_is_better: bool | None = None,
    version: str = "",
    inputs: Tensor | None = None,
    device: str | torch.device = "auto",
    optimizer: str = defaults.OPTIMIZER,
    margin: float | None = None,
    budget: float | str | None = None,
    fixed: bool = False,
    rates: Sequence[float] | None = None,
    augment: str = "auto",
    weight_decay: float | Sequence[float] | None = None,
    decay_on: str = "weights",
    amp: str | None = None,
    pretrained: bool = False,
    workers: int = 1,
    engine: Engine | None = None,
    images: int | None = None,
    price: bool = True,
    progress: bool = True,
) -> Comparison:
    """Train a network with each normalization in the place of its own, on equal terms, and say which is best.

    The training is the built-in one on `data`, or a function of your own, `train`. First each arm's learning rate is
    chosen, by complete runs scored on held-out training images (a sixth, at most 10,000): all of `rates`, or of more
    than three a likely one and then the better neighbour, until both neighbours of the best are worse, if need be
    beyond `rates`; two that are close get a second run, and of two that tie the lower is taken. Then the race begins:
    on all training images the arms are trained seed by seed, and scored on the test images after the last epoch. An arm
    is out as soon as it is behind for certain. The race is over when one arm is left, when those left are equal within
    `margin`, when the planned seeds would hardly tell more, or after `seeds` seeds; it allows for every look at the
    scores. Each batch size has rates and a race of its own. The arms share seeds: the same initial weights, order and
    augmentation of images.

    Finished runs are kept in `folder`; after a stop the same call resumes. They are known by the network and the data
    that they were made with, so that others never mix in.

    A function of your own is called as `train(net, lr=…, seed=…)`, with whichever it names of lr, seed, batch_size,
    epochs, weight_decay, norm, device and split; what has a default there is handed over only if you give it
    here. It returns a score; or an array of one score per test example, for intervals that speak of new examples too
    (of bool: right or wrong); or a dict of several, of which the first decides. Rates are chosen with
    split="validation" if it takes `split`, else by a run with a seed of its own. A function that raises fails its
    arm, with the reason.

    Args:
        build: what makes the network, as `Swapped` takes it.
        data: what to train and test on: images in memory, or samples of any shape: `Samples`, or torch data sets
            (train, test) or (train, validation, test), whose items are (input, target). None where `train` knows.
        arms: normalizations as `swap` takes them: BN, GN, LN, IN, LN_C, RMS, DyT, none, …; "GN:8" for eight groups;
            "own" for the network as it is; "my_norms.py:MyNorm" for a layer of your own. Or a dict, in which a layer of
            your own is a function of the number of channels: {"BN": "BN", "mine": lambda channels: MyNorm(channels)}.
        seeds: runs per arm, at most. More seeds later, with the same folder, go on from those that are finished.
        epochs: how often a run sees every training image, by default 10.
        batch_size: training images per step, by default 128; several for an answer by batch size.
        folder: where finished runs are kept.
        train: a training function of your own, or its name: "my_project.py:train".
        loss: for torch data sets: "cross_entropy", "mse", "bce", or a function of outputs and targets.
        metric: for these: "accuracy", "mse", "mae", "loss", or a function of outputs and targets that returns a score
            per example, (N,), or one for all; by default that of the loss.
        higher_is_better: whether the best arm is the one with the highest score; by default as the metric has it, and
            True for functions of your own.
        version: stands for the source of `train`, or for torch data sets and a loss and metric of your own, in what
            finished runs are known by, so that an edit trains nothing anew; change it where anything else has changed.
        inputs: a few inputs of the network, (n, …), where `train` knows the data: each arm's network is tried on them
            before it is trained, and the price of each arm is measured.
        device: where `train` trains, or the built-in training on torch data sets: cpu, cuda, … or auto. On images in
            memory it uses theirs.
        optimizer: sgd (with Nesterov momentum), adamw, or muon (for the filters of convolutions, SGD for the rest).
        margin: arms that are closer than this, in points for accuracies, are equal to you; by default no margin.
        budget: how long the runs may take, in seconds or as "2h" or "30m"; what is undecided then is said.
        fixed: whether every arm is trained with every seed, instead of leaving the race when it is behind.
        rates: the learning rates to try; by default those of the optimizer. A single one is used as it is. A function
            of your own has no default, and needs none if it does not take lr.
        augment: the random changes of training images, as in `Recipe`.
        weight_decay: by default that of the optimizer. Of several, each arm is given the best: its rate is chosen with
            the first, then it tries each of the others, once, as every other arm does.
        decay_on: what it falls on: "weights", which leaves out biases and what normalizations train, or "all".
        amp: "bf16" for automatic mixed precision in bfloat16; by default all is in float32.
        pretrained: whether `build` returns trained weights. They are taken as they are; new layers follow the old ones
            as in `swap`, on 64 training inputs. Seeds then decide the order and the random changes of the inputs.
        workers: runs side by side on this machine.
        engine: carries the runs out in another way, as `normbench.runs.on_ray` does.
        images: how many of the training images are used, a random subset; by default all.
        price: whether to measure what each arm costs: time and memory of a training step, time of an inference step.
        progress: whether to print what is done.

    Raises ValueError if the network cannot be built, has no normalization or cannot be trained on the images, and for
    options out of range; and as `normbench.runs.run_all` does.
    """
    engine_here = local(workers)  # raises for a wrong number
    deadline = time.monotonic() + (math.inf if budget is None else seconds_of(budget))
    decays = _decays(weight_decay)
    usual = Recipe(
        epochs=defaults.EPOCHS if epochs is None else epochs,
        optimizer=optimizer,
        augment=augment,
        weight_decay=decays[0] if decays else None,  # type: ignore[arg-type]  # None stands for the optimizer's
        decay_on=decay_on,
        amp=amp,
    )
    makers = _makers(arms)
    network = Swapped(build, {norm: made for norm, made in makers.items() if is_of_a_user(norm)}, pretrained)
    for norm in network.makers:
        network.layer(norm)  # raises for a name of nothing
    if train is None:
        task: Task = data_of(data, Goal(loss, metric), version, device, augment).first(images)
        rates = OPTIMIZERS[optimizer].rates if rates is None else rates
    else:
        asked: dict[str, object] = {"batch_size": batch_size, "epochs": epochs, "lr": rates}
        asked |= {"weight_decay": decays or None, "amp": amp}
        of_the_built_in = {"optimizer": optimizer, "augment": augment, "decay_on": decay_on}
        asked |= {name: value for name, value in of_the_built_in.items() if value != getattr(Recipe(), name)}
        task = own_training(train, data, asked, images, version, inputs, choose_device(str(device)))
        rates = rates_of(task, rates)
    if higher_is_better is None:
        higher_is_better = task.goal.higher_is_better if isinstance(task, Samples) else True
    rules, sizes = Rules(seeds, margin, early=not fixed), _sizes(batch_size)
    wanted = [replace(usual, norm=norm) for norm in makers]
    plan = _plan(network, task, wanted, sizes, rules, rates, decays, price)
    demanded = {made.recipe.norm: made.demanded for made in plan.candidates if not made.failure}
    path = Path(folder) / "runs.jsonl"
    with opened(engine or engine_here) as kept:
        trainings = Trainings(trainer_of(task, network), path, demanded, kept, progress, higher_is_better)
        course = Course(rules, task, chance_of(task), workers, deadline)
        if progress:
            _announce(plan, trainings, course, 1 if engine else workers)
        for made in plan.candidates:
            made.net = None  # its memory is for the runs
        results = [_result(plan, trainings, course, size) for size in sizes]
    known = plan.original
    found = Comparison(network.name, task.name, results, sizes_of(task), known.replaced, known.price)
    if path.exists():
        with suppress(OSError):  # a full disk does not take away the answer
            save(found, path.parent)
    return found


def _decays(weight_decay: float | Sequence[float] | None) -> tuple[float, ...]:
    """The weight decays to try; none for that of the optimizer. Raises ValueError as a recipe does, and for twins."""
    if weight_decay is None or isinstance(weight_decay, (int, float)):
        return () if weight_decay is None else (float(weight_decay),)
    values = tuple(float(value) for value in weight_decay)
    if not values or len(set(values)) < len(values):
        raise ValueError(f"give one or more weight decays, each once, got {list(weight_decay)}")
    for value in values:
        Recipe(weight_decay=value)  # raises for one out of range
    return values


def _sizes(batch_size: int | Sequence[int] | None) -> tuple[int, ...]:
    if batch_size is None:
        return (defaults.BATCH_SIZE,)
    return (batch_size,) if isinstance(batch_size, int) else tuple(batch_size)


def _makers(arms: Sequence[str | Make] | Mapping[str, str | Make]) -> dict[str, str | Make]:
    """Return what makes the layers of each arm, by its norm; a function's norm is its name with (): "mine()"."""
    if isinstance(arms, str):
        raise ValueError(f"give several arms, as in arms=({arms!r}, 'none'), got the text {arms!r}")
    named = arms.items() if isinstance(arms, Mapping) else [(getattr(norm, "__name__", ""), norm) for norm in arms]
    listed = [(made if isinstance(made, str) else f"{name}()", made) for name, made in named]
    for _, made in listed:
        if not isinstance(made, str) and not callable(made):
            raise ValueError(f"an arm is a norm such as 'GN:8', or a function of the channels, got {made!r}")
    if len(dict(listed)) < len(listed):
        raise ValueError(f"give each arm once, got {', '.join(norm for norm, _ in listed)}")
    return dict(listed)


@dataclass(frozen=True)
class _Plan:
    """What is to be done, once everything has been checked that can be known before."""

    network: Swapped
    original: Original
    data: Task
    held_out: Task
    grid: list[float]
    decays: Sequence[float]
    rules: Rules
    candidates: list[Candidate]
    twins: dict[str, str]
    groups: dict[str, str]

    @property
    def sizes(self) -> set[int]:
        return {made.recipe.batch_size for made in self.candidates}


def _plan(
    network: Swapped,
    data: Task,
    wanted: Sequence[Recipe],
    sizes: Sequence[int],
    rules: Rules,
    rates: Sequence[float],
    decays: Sequence[float],
    price: bool,
) -> _Plan:
    """Check the options, the network, and each arm's network at each batch size."""
    held_out, chooses = for_rates(data), len(set(rates)) > 1 or len(decays) > 1
    _check(wanted, rules, rates, sizes, held_out if chooses else data)
    known = original(network, data, max(sizes), [recipe.norm for recipe in wanted] if price else ())
    grid = sorted(set(rates))
    parts = (data, held_out) if chooses else (data,)
    made = candidates(network, [replace(recipe, batch_size=size) for size in sizes for recipe in wanted], parts)
    made, twins = without_twins(made)
    if len({candidate.recipe.norm for candidate in made}) < 2:
        raise ValueError(
            f"{' and '.join(recipe.label for recipe in wanted)} are the same network here: give another arm"
        )
    return _Plan(network, known, data, held_out, grid, decays, rules, made, twins, groups(made))


def _check(
    wanted: Sequence[Recipe], rules: Rules, rates: Sequence[float], sizes: Sequence[int], held_out: Task
) -> None:
    if len(set(wanted)) < len(wanted) or len(wanted) < 2:
        raise ValueError("give two or more arms, each once, such as BN GN none")
    if rules.seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {rules.seeds}")
    if rules.margin is not None and not 0 < rules.margin < math.inf:
        raise ValueError(f"the margin must be above 0 and finite, got {rules.margin}; leave it out if there is none")
    if not rates or not all(0 < rate < math.inf for rate in rates):
        raise ValueError(f"rates must be above 0 and finite, got {list(rates)}")
    if not sizes or len(set(sizes)) < len(sizes) or min(sizes) < 1:
        raise ValueError(f"give one or more batch sizes, each once and at least 1, got {list(sizes)}")
    left = held_out.sizes[0] if isinstance(held_out, (Dataset, Samples)) else math.inf
    if max(sizes) > left:
        raise ValueError(f"batch size {max(sizes)} is above the {left} training images that are not held out")


def _announce(plan: _Plan, trainings: Trainings, course: Course, workers: int) -> None:
    """Print what is compared, how many runs are missing, and about how long they take."""
    trainings.tell(preview(plan.network.name, plan.original, plan.data, plan.twins))
    usable = [made for made in plan.candidates if not made.failure]
    left = missing(trainings, [made.recipe for made in usable], (plan.grid, plan.decays), course, plan.held_out)
    trainings.tell(estimate(left, usable, plan.data, workers))


def _result(plan: _Plan, trainings: Trainings, course: Course, size: int) -> Result:
    """Choose a rate for each arm of one batch size, hold the race, and return the result."""
    of_size = [made for made in plan.candidates if made.recipe.batch_size == size]
    failures = {made.recipe: made.failure for made in of_size if made.failure}
    recipes = [made.recipe for made in of_size if not made.failure]
    batches = f", batches of {size}" if len(plan.sizes) > 1 else ""
    if len(plan.grid) > 1:
        trainings.tell(f"Learning rates, {scored_on(plan.held_out)}{batches}:")
    rates = choose_rates(trainings, recipes, plan.grid, plan.held_out)
    if len(plan.decays) > 1:
        trainings.tell(f"Weight decays, {scored_on(plan.held_out)}{batches}:")
        rates = choose_decays(trainings, rates, plan.decays, plan.held_out)
    chosen = rates.settings
    tested = f", on the test {plan.data.things}" if isinstance(plan.data, (Dataset, Samples)) else ""
    trainings.tell(f"The race{tested}{batches}:")
    arms, stopped = hold(trainings, chosen, course, rates.far_behind) if chosen else ({}, False)
    failures |= rates.failures | {recipe: why_no_result(arm) for recipe, arm in arms.items() if not arm.succeeded}
    return Result(
        size,
        {recipe: arm for recipe, arm in arms.items() if arm.succeeded},
        failures,
        rates.tried,
        plan.twins,
        plan.original.step_seconds if size == max(plan.sizes) else {},
        trainings.higher_is_better,
        rules=course.rules,
        far_behind=rates.far_behind,
        chance=course.chance,
        groups=plan.groups,
        stopped=stopped,
    )
