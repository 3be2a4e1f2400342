"""Each arm's network, built and checked once before its runs; what is known of it is handed on."""

import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from torch import nn

from normbench.comparison.network import Swapped
from normbench.data import Dataset, title
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


def _candidate(network: Swapped, recipe: Recipe, parts: Sequence[Dataset]) -> Candidate:
    smallest = min(parts, key=lambda data: len(data.y_train) % recipe.batch_size or recipe.batch_size)
    try:
        net = network(recipe, smallest)
        check_network(net, smallest, recipe.batch_size)
    except ValueError as error:
        return Candidate(recipe, failure=str(error))
    return Candidate(recipe, net.cpu(), network_fingerprint(net, smallest.image_shape))


@dataclass(frozen=True)
class Original:
    """What is known of the network before any swap.

    Attributes:
        parameters: how many numbers they are.
        replaced: how many normalization layers of each type are replaced.
        left: layers that look like a normalization of an unknown kind, by path, with their type.
    """

    parameters: int
    replaced: dict[str, int]
    left: dict[str, str]


def original(network: Swapped, data: Dataset, batch_size: int) -> Original:
    """Build and check the network as it is.

    Raises ValueError if it cannot be built or trained, or has no normalization layer.
    """
    net = network.original(data)
    layers = normalizations(net)
    if not layers:
        raise ValueError(f"{network.name} has no normalization layer that could be swapped")
    check_network(net, data, batch_size)
    return Original(
        parameters=sum(p.numel() for p in net.parameters()),
        replaced=dict(Counter(type(layer).__name__ for layer in layers.values())),
        left={path: type(layer).__name__ for path, layer in unknown(net).items()},
    )


def preview(name: str, known: Original, data: Dataset) -> str:
    """Say what is compared: the network, the data, and which layers are replaced."""
    layers = ", ".join(f"{n} {kind}" for kind, n in known.replaced.items())
    lines = [
        f"{name} ({known.parameters:,} parameters) on {title(data.name)}: {len(data.classes)} classes, "
        f"{len(data.y_train):,} training and {len(data.y_test):,} test images {data.image_shape}.",
        f"Normalization layers that are replaced: {layers}.",
    ]
    if known.left:
        paths = ", ".join(f"{path} ({kind})" for path, kind in known.left.items())
        lines.append(f"Left as they are, because their kind is not known: {paths}.")
    return "\n".join(lines)
