"""A user's own network: found by its name, built for images and classes, its normalizations swapped."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from normbench.data import Dataset, Samples, Task
from normbench.device import seeded
from normbench.layers import OWN, parse
from normbench.networks.named import Named
from normbench.swapping import Make, evaluating, normalizations, swapped
from normbench.training import Recipe, build_checksum, labels

Build = Callable[..., nn.Module]

FOLLOWED = 64  # training inputs on which new layers follow those of a pretrained network
SCALED = 16  # training inputs whose deviations a network without normalization starts from


class ThreeTimes(nn.Module):
    """Repeat a grey image three times, for a network that takes three channels."""

    def forward(self, x: Tensor) -> Tensor:
        """x (N, 1, H, W) → (N, 3, H, W)."""
        return x.repeat(1, 3, 1, 1)  # an expanded one could not be changed in place


@dataclass(frozen=True)
class Swapped:
    """Build a network with the normalization that a recipe names.

    Args:
        network: a function that makes the network, or its name: "file.py:function", "package.module:function" or
            "torchvision:resnet18". It is called with whichever of num_classes, in_channels and size, (H, W), it
            accepts, as far as the data say them.
        makers: what makes normalization layers of the user's own, by norm: functions of the number of channels, or
            their names, as that of the network.
        pretrained: whether the function returns trained weights, so that new layers follow the old ones.
    """

    network: str | Build
    makers: Mapping[str, str | Make] = field(default_factory=dict, hash=False)
    pretrained: bool = False
    _function: Named = field(init=False, repr=False, compare=False)
    _of_makers: Mapping[str, Named] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_function", Named(self.network))
        object.__setattr__(self, "_of_makers", {norm: Named(made) for norm, made in self.makers.items()})

    def __call__(self, recipe: Recipe, data: Task) -> nn.Module:
        """Build the network for inputs of `data`, on the CPU; a seed gives every normalization the same weights.

        A network whose first convolution takes three channels is given grey images three times.

        Raises ValueError if it cannot be found, built or swapped.
        """
        example = self._inputs(data, recipe.norm)
        example = None if example is None else example.cpu()
        return swapped(self.original(data, recipe.seed), self.layer(recipe.norm), example, self.pretrained)[0]

    def _inputs(self, data: Task, norm: str) -> Tensor | None:
        if not self.pretrained and norm != "none":
            return data.example(2)
        number = FOLLOWED if self.pretrained else SCALED
        with seeded(0):  # of their random changes
            inputs = data.batch(number)[0] if isinstance(data, (Dataset, Samples)) else data.example(number)
        if inputs is None and self.pretrained:
            raise ValueError(
                "pretrained needs inputs=…, a few dozen of those in training: new layers follow the old on them"
            )
        return inputs

    def layer(self, norm: str) -> str | Make:
        """Return what `swap` takes for a norm: the norm itself, or the function that makes the user's own layer."""
        if norm not in self._of_makers:
            return norm
        with self._of_makers[norm].found() as make:
            return make

    def priced(self, norms: Iterable[str]) -> dict[str, str | Make]:
        """Return what `check` takes to price these norms: each by the name of its arm.

        Raises ValueError for a norm that is not known, and for a layer of the user's own that cannot be found.
        """
        return {name: self.layer(recipe.norm) for recipe, name in labels(map(Recipe, norms)).items()}

    def original(self, data: Task, seed: int = 0) -> nn.Module:
        """Build the network as it is before the swap; lazy layers get their shapes."""
        return self.built(data.offers, seed, lambda: data.example(2))

    def built(
        self, offers: Mapping[str, object], seed: int = 0, example: Callable[[], Tensor | None] = lambda: None
    ) -> nn.Module:
        """Build the network as it is, with what its function takes of the `offers`.

        With an example of its inputs lazy layers get their shapes. Raises ValueError if it cannot be found or built.
        """
        with seeded(seed):
            net = self._called(offers)
            first = next((layer for layer in net.modules() if isinstance(layer, nn.Conv2d)), None)
            if offers.get("in_channels") == 1 and first is not None and first.in_channels == 3:
                net = nn.Sequential(ThreeTimes(), net)
            if any(is_lazy(values) for values in chain(net.parameters(), net.buffers())):
                _shape(net, example())
        return net

    def _called(self, offers: Mapping[str, object]) -> nn.Module:
        name = self._function.text
        with self._function.found() as build:
            parameters = inspect.signature(build).parameters
            arguments = {key: value for key, value in offers.items() if key in parameters}
            try:
                net = build(**arguments)
            except (Exception, SystemExit) as error:  # a function of the user's own can raise anything
                reason = " ".join(str(error).split())
                raise ValueError(f"{name} cannot make a network: {type(error).__name__}: {reason}") from error
        if not isinstance(net, nn.Module):
            raise ValueError(f"{name} must return a torch.nn.Module, but it returned {type(net).__name__}")
        return net

    def checksum(self, norm: str, net: nn.Module) -> str:
        """Return a checksum of the network of a norm as it was built, and of the source that it was built from."""
        functions = [self._function, *([self._of_makers[norm]] if norm in self._of_makers else [])]
        return build_checksum(net, [function.source() for function in functions])

    def layers(self, data: Task) -> dict[str, nn.Module]:
        """Find the normalization layers that are swapped, by their path."""
        return normalizations(self.original(data))

    @property
    def name(self) -> str:
        """The name of the network's function, with that of the file before it."""
        return self._function.name


def is_of_a_user(norm: str) -> bool:
    """Tell whether a norm names a layer of the user's own. Raises ValueError for one that is not known."""
    return norm != OWN and not parse(norm).is_known


def _shape(net: nn.Module, example: Tensor | None) -> None:
    """Give lazy layers their shapes and weights by a forward pass; what fails in it fails again in the check."""
    if example is None:
        return
    with evaluating(net), suppress(Exception):
        net(example.cpu())
