"""Each arm's network, built and checked once before its runs; what is known of it is handed on."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from normbench.checking import check
from normbench.checking.price import Price
from normbench.comparison.network import Swapped
from normbench.data import Dataset, title
from normbench.layers import OWN, label
from normbench.swapping import normalizations, unknown
from normbench.training import Recipe, check_network, network_fingerprint, train


@dataclass
class Candidate:
    """An arm at one batch size.

    Attributes:
        recipe: how it is trained, but for the learning rate, which is chosen later.
        net: its network, for as long as that is needed.
        fingerprint: of the network.
        failure: why it cannot be trained; empty if it can.
    """

    recipe: Recipe
    net: nn.Module | None = None
    fingerprint: str = ""
    failure: str = ""

    def seconds(self, data: Dataset) -> float:
        """Estimate how long a run takes, from two epochs of few images, of which the first is to warm up.

        The network is trained for it, and forgotten.
        """
        net, self.net = self.net, None
        assert net is not None, "a network is timed once"
        size, images, tests = self.recipe.batch_size, len(data.y_train), len(data.y_test)
        few = min(images, size * math.ceil(max(4, 128 / size)))
        n_tests = math.ceil(tests * few / images)
        part = replace(data.first(few), x_test=data.x_test[:n_tests], y_test=data.y_test[:n_tests])
        started = time.perf_counter()
        try:
            run = train(net, part, replace(self.recipe, epochs=2), progress=False, check=False)
        except (FloatingPointError, MemoryError, RuntimeError):  # it will be reported when it is trained
            return 0.0
        around = time.perf_counter() - started - sum(row["seconds"] for row in run.history)
        return around + self.recipe.epochs * run.last["seconds"] * images / few


def candidates(network: Swapped, recipes: Iterable[Recipe], parts: Sequence[Dataset]) -> list[Candidate]:
    """Build and check the network of each recipe, for training on each of the `parts` of a data set.

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


def _candidate(network: Swapped, recipe: Recipe, parts: Sequence[Dataset]) -> Candidate:
    smallest = min(parts, key=lambda data: len(data.y_train) % recipe.batch_size or recipe.batch_size)
    of_a_user = recipe.norm in network.makers
    try:
        net = network(recipe, smallest)
        if of_a_user:
            _check_shapes(net, network.layers(smallest), smallest.standardize(smallest.x_test[:2]).cpu())
        check_network(net, smallest, recipe.batch_size)
    except Exception as error:
        if not of_a_user and not isinstance(error, ValueError):  # a layer of a user's own can raise anything
            raise
        return Candidate(recipe, failure=(str(error).strip() or type(error).__name__).splitlines()[0])
    return Candidate(recipe, net.cpu(), network_fingerprint(net, smallest.image_shape))


def _check_shapes(net: nn.Module, paths: Iterable[str], images: Tensor) -> None:
    """Raise ValueError where a layer of the user's own does not give back the shape that it is given."""
    changed: list[str] = []

    def hook(path: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def compared(layer: nn.Module, given: tuple[Any, ...], made: Any) -> None:
            before, after = tuple(given[0].shape), tuple(getattr(made, "shape", ()))
            if before != after:
                changed.append(f"layer {path!r}: your layer makes {after or type(made).__name__} of {before}")

        return compared

    handles = [net.get_submodule(path).register_forward_hook(hook(path)) for path in paths]
    modes = {layer: layer.training for layer in net.modules()}
    with torch.no_grad(), suppress(Exception):  # what fails in it fails again in the check
        net.eval()(images)
    for layer, mode in modes.items():
        layer.training = mode
    for handle in handles:
        handle.remove()
    if changed:
        raise ValueError(f"{changed[0]}; it must return the shape that it is given")


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


def original(network: Swapped, data: Dataset, batch_size: int, priced: Sequence[str] = ()) -> Original:
    """Build and check the network as it is, and measure what the arms of the `priced` norms would cost.

    Raises ValueError if it cannot be built or trained, or has no normalization layer.
    """
    net = network.original(data)
    layers = normalizations(net)
    if not layers:
        raise ValueError(f"{network.name} has no normalization layer that could be swapped")
    check_network(net, data, batch_size)
    named = network.priced(priced)
    price = check(net, data.standardize(data.x_train[:batch_size]), arms=named).price if named else None
    steps = {cost.arm: cost.step for cost in price.costs if cost.step is not None} if price else {}
    return Original(
        parameters=sum(p.numel() for p in net.parameters()),
        replaced=dict(Counter(type(layer).__name__ for layer in layers.values())),
        left=unknown(net),
        price=price,
        step_seconds={norm: steps[name] for norm, name in zip(priced, named) if name in steps},
    )


def _as_built(norm: str) -> str:
    return "The network as it is has" if norm == OWN else f"With {label(norm)} it is the same network as with"


def preview(name: str, known: Original, data: Dataset, twins: Mapping[str, str]) -> str:
    """Say what is compared: the network, the data, and which layers are replaced."""
    layers = ", ".join(f"{n} {kind}" for kind, n in known.replaced.items())
    lines = [
        f"{name} ({known.parameters:,} parameters) on {title(data.name)}: {len(data.classes)} classes, "
        f"{len(data.y_train):,} training and {len(data.y_test):,} test images {data.image_shape}.",
        f"Normalization layers that are replaced: {layers}.",
    ]
    if known.left:
        lines.append("Left as they are: " + "; ".join(f"{path}, {why}" for path, why in known.left.items()) + ".")
    lines += [f"{_as_built(norm)} {label(twin)}: it is trained once." for norm, twin in twins.items()]
    return "\n".join(lines)
