"""Each arm's network, built and checked once before its runs; what is known of it is handed on."""

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from normbench.checking import check
from normbench.checking.price import Price
from normbench.data import Dataset, Samples, Task, shape_of_inputs, title
from normbench.layers import OWN, label, parse
from normbench.networks import Swapped
from normbench.source import is_known, known_or_unique
from normbench.swapping import normalizations, unknown
from normbench.training import (
    Recipe,
    check_forward,
    check_network,
    network_fingerprint,
    settings_checksum,
    train,
)
from normbench.words import reason

UNKNOWN = "; its source is not known, so that its runs are not kept for another call: give a version"


@dataclass
class Candidate:
    """An arm at one batch size.

    Attributes:
        recipe: how it is trained, but for the learning rate, which is chosen later.
        net: its network, for as long as that is needed.
        fingerprint: of the network; arms that have the same one are trained once.
        build: the `build_checksum` of the network; "" where its source is not known.
        failure: why it cannot be trained; empty if it can.
    """

    recipe: Recipe
    net: nn.Module | None = None
    fingerprint: str = ""
    build: str = ""
    failure: str = ""

    @property
    def demanded(self) -> dict[str, str]:
        """What a stored run's fingerprint must say to be one of this arm; no run says it if the source is not known."""
        return {"network": self.fingerprint, "build": known_or_unique(self.build)}

    def seconds(self, data: Dataset | Samples) -> float:
        """Estimate how long a run takes, from two epochs of few images, of which the first is to warm up.

        The network is trained for it, and forgotten.
        """
        net, self.net = self.net, None
        assert net is not None, "a network is timed once"
        size, (images, tests) = self.recipe.batch_size, data.sizes
        few = min(images, size * math.ceil(max(4, 128 / size)))
        part = data.cut(few, math.ceil(tests * few / images))
        started = time.perf_counter()
        try:
            run = train(net, part, replace(self.recipe, epochs=2), progress=False, check=False)
        except (Exception, SystemExit):  # it will be reported when it is trained
            return 0.0
        around = time.perf_counter() - started - sum(row["seconds"] for row in run.history)
        return around + self.recipe.epochs * run.last["seconds"] * images / few


def candidates(network: Swapped, recipes: Iterable[Recipe], parts: Sequence[Task]) -> list[Candidate]:
    """Build and check the network of each recipe, for training on each of the `parts`.

    Raises ValueError if none of one batch size can be trained.
    """
    made = [_candidate(network, recipe, parts) for recipe in recipes]
    for size in dict.fromkeys(candidate.recipe.batch_size for candidate in made):
        of_size = [candidate for candidate in made if candidate.recipe.batch_size == size]
        if all(candidate.failure for candidate in of_size):
            raise ValueError(f"no arm can be trained: {of_size[0].failure}")
    return made


def without_twins(made: Iterable[Candidate]) -> tuple[list[Candidate], dict[str, str]]:
    """Leave out arms whose network is that of another arm; return the others, and by norm which one stands for it.

    The network as it is gives way to the arm of its own normalization.
    """
    kept: dict[tuple[int, str], Candidate] = {}
    twins: dict[str, str] = {}
    for candidate in sorted(made, key=lambda candidate: candidate.recipe.norm == OWN):
        key = candidate.recipe.batch_size, candidate.fingerprint or f"{candidate.recipe.norm} failed"
        if key in kept:
            twins[candidate.recipe.norm] = kept[key].recipe.norm
        else:
            kept[key] = candidate
    return [candidate for candidate in made if candidate in kept.values()], twins


def groups(made: Iterable[Candidate]) -> dict[str, str]:
    """Say how many groups each arm of group norm got that did not ask for a number, by norm: {"GN": "4 to 8"}."""
    said = {}
    for candidate in made:
        norm = parse(candidate.recipe.norm)
        if candidate.net is not None and norm.name == "GN" and norm.number is None:
            numbers = {layer.num_groups for layer in candidate.net.modules() if isinstance(layer, nn.GroupNorm)}
            ends = dict.fromkeys(f"{end}" for end in (min(numbers), max(numbers))) if numbers else {}
            said[candidate.recipe.norm] = " to ".join(ends)
    return said


def _candidate(network: Swapped, recipe: Recipe, parts: Sequence[Task]) -> Candidate:
    task = min(parts, key=lambda part: _smallest_batch(part, recipe.batch_size))
    try:
        net = network(recipe, task)
        _check(net, task, recipe.batch_size)
    except (Exception, SystemExit) as error:  # code of a user's own can raise anything
        return Candidate(recipe, failure=reason(error))
    net.cpu()
    return Candidate(recipe, net, _fingerprint(net, task), network.checksum(recipe.norm, net))


def _smallest_batch(task: Task, size: int) -> int:
    return task.sizes[0] % size or size if isinstance(task, (Dataset, Samples)) else size


def _check(net: nn.Module, task: Task, batch_size: int) -> None:
    """Raise ValueError where it is known before that `net` cannot be trained."""
    if isinstance(task, (Dataset, Samples)):
        check_network(net, task, batch_size)
    elif (example := task.example(2)) is not None:
        check_forward(net.to(task.device), example.to(task.device))


def _fingerprint(net: nn.Module, task: Task) -> str:
    """What tells the networks of two arms apart: what they compute or, without known inputs, how they are built."""
    shape = shape_of_inputs(task)
    return network_fingerprint(net, shape) if shape else f"settings {settings_checksum(net)}"


@dataclass(frozen=True)
class Original:
    """What is known of the network before any swap.

    Attributes:
        parameters: how many numbers they are.
        replaced: how many normalization layers of each type are replaced.
        left: layers that look like a normalization and cannot be replaced, by path, with the reason.
        price: what each arm costs; None if it was not asked for.
        step_seconds: of that the training step, by norm.
    """

    parameters: int
    replaced: dict[str, int]
    left: dict[str, str]
    price: Price | None
    step_seconds: dict[str, float]


def original(network: Swapped, data: Task, batch_size: int, priced: Sequence[str] = ()) -> Original:
    """Build and check the network as it is, and measure what the arms of the `priced` norms would cost.

    Without known inputs nothing is measured.

    Raises ValueError if it cannot be built or trained, or has no normalization layer.
    """
    net = network.original(data)
    layers = normalizations(net)
    if not layers:
        raise ValueError(f"{network.name} has no normalization layer that could be swapped")
    _check(net, data, batch_size)
    named, inputs = network.priced(priced), _batch(data, batch_size)
    price = check(net, inputs, arms=named).price if named and inputs is not None else None
    steps = {cost.arm: cost.step for cost in price.costs if cost.step is not None} if price else {}
    return Original(
        parameters=sum(p.numel() for p in net.parameters()),
        replaced=dict(Counter(type(layer).__name__ for layer in layers.values())),
        left=unknown(net),
        price=price,
        step_seconds={norm: steps[name] for norm, name in zip(priced, named) if name in steps},
    )


def _batch(task: Task, size: int) -> Tensor | None:
    """Return so many inputs, some of them more than once if need be."""
    if isinstance(task, Dataset):
        return task.batch(size)[0]
    example = task.example(size)
    return None if example is None else example[torch.arange(size) % len(example)].to(task.device)


def _as_built(norm: str) -> str:
    return "The network as it is has" if norm == OWN else f"With {label(norm)} it is the same network as with"


def preview(name: str, known: Original, data: Task, twins: Mapping[str, str]) -> str:
    """Say what is compared: the network, what it is trained on, and which layers are replaced."""
    layers = ", ".join(f"{n} {kind}" for kind, n in known.replaced.items())
    lines = [
        f"{name} ({known.parameters:,} parameters) {_trained(data)}.",
        f"Normalization layers that are replaced: {layers}.",
    ]
    if known.left:
        lines.append("Left as they are: " + "; ".join(f"{path}, {why}" for path, why in known.left.items()) + ".")
    lines += [f"{_as_built(norm)} {label(twin)}: it is trained once." for norm, twin in twins.items()]
    return "\n".join(lines)


def _trained(data: Task) -> str:
    if isinstance(data, Dataset):
        return (
            f"on {title(data.name)}: {len(data.classes)} classes, {len(data.y_train):,} training and "
            f"{len(data.y_test):,} test images {data.image_shape}"
        )
    if isinstance(data, Samples):
        loss, metric = data.goal.loss_name, data.goal.name
        parts = f"{data.sizes[0]:,} training and {data.sizes[1]:,} test samples {shape_of_inputs(data)}"
        text = f"on {data.name}: {parts}, trained by {loss}, judged by {metric}"
    else:
        text = f"trained by {data.name}"
    return text + ("" if is_known(data.fingerprint) else UNKNOWN)
