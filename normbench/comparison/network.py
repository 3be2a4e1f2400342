"""A user's own network: found by its name, built for images and classes, its normalizations swapped.

This file touches process-wide state: it adds a user's file to `sys.modules`, and imports its neighbours as
`neighbours` describes.
"""

import inspect
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from itertools import chain
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from normbench.comparison.neighbours import first_on_path
from normbench.data import Dataset
from normbench.device import seeded
from normbench.layers import OWN, parse
from normbench.swapping import Make, normalizations, swapped
from normbench.training import Recipe, labels

Build = Callable[..., nn.Module]


class ThreeTimes(nn.Module):
    """Repeat a grey image three times, for a network that takes three channels."""

    def forward(self, x: Tensor) -> Tensor:
        """x (N, 1, H, W) → (N, 3, H, W)."""
        return x.expand(-1, 3, -1, -1)


@dataclass(frozen=True)
class Swapped:
    """Build a network with the normalization that a recipe names.

    A pickled object carries the text of its file, because other machines do not have the file.

    Args:
        network: a function that makes the network, or its name: "file.py:function", "package.module:function" or
            "torchvision:resnet18". It is called with whichever of num_classes, in_channels and size, (H, W), it
            accepts.
        makers: what makes normalization layers of the user's own, by norm: functions of the number of channels, or
            their names, as that of the network.
    """

    network: str | Build
    makers: Mapping[str, str | Make] = field(default_factory=dict, hash=False)
    _packed: Mapping[str, bytes] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, object]:
        named = (name for name in (self.network, *self.makers.values()) if isinstance(name, str))
        files = {_source(name): path for name in named if (path := _file_of(name))}
        packed = {name: self._packed.get(name) or zlib.compress(_read(path)) for name, path in files.items()}
        # Packed, a file's "__main__" is not taken for the trainer's.
        return {"network": self.network, "makers": dict(self.makers), "_packed": packed}

    def __call__(self, recipe: Recipe, data: Dataset) -> nn.Module:
        """Build the network for images of `data`, on the CPU; a seed gives every normalization the same weights.

        A network whose first convolution takes three channels is given grey images three times.

        Raises ValueError if it cannot be found, built or swapped.
        """
        return swapped(self.original(data, recipe.seed), self.layer(recipe.norm), example=_example(data))[0]

    def layer(self, norm: str) -> str | Make:
        """Return what `swap` takes for a norm: the norm itself, or the function that makes the user's own layer."""
        return self._found(self.makers[norm]) if norm in self.makers else norm

    def _found(self, function: "str | Callable[..., nn.Module]") -> Build:
        """Find a function by its name, with the modules beside it."""
        if not isinstance(function, str):
            return function
        with first_on_path(folder) if (folder := _folder_of(function)) else nullcontext():
            return _function(function, self._packed.get(_source(function), b""))

    def priced(self, norms: Iterable[str]) -> dict[str, str | Make]:
        """Return what `check` takes to price these norms: each by the name of its arm.

        Raises ValueError for a norm that is not known, and for a layer of the user's own that cannot be found.
        """
        return {name: self.layer(recipe.norm) for recipe, name in labels(map(Recipe, norms)).items()}

    def original(self, data: Dataset, seed: int = 0) -> nn.Module:
        """Build the network as it is before the swap; lazy layers get their shapes."""
        return self.built(data.image_shape, len(data.classes), seed, lambda: _example(data))

    def built(
        self, shape: tuple[int, ...], num_classes: int, seed: int = 0, example: Callable[[], Tensor] | None = None
    ) -> nn.Module:
        """Build the network as it is, for inputs of a shape, (C, H, W); with an example lazy layers get their shapes.

        Raises ValueError if it cannot be found or built.
        """
        offered = {"num_classes": num_classes, "in_channels": shape[0], "size": shape[1:]}
        with seeded(seed):
            net = _called(self.network, self._packed, offered)
            first = next((layer for layer in net.modules() if isinstance(layer, nn.Conv2d)), None)
            if shape[0] == 1 and first is not None and first.in_channels == 3:
                net = nn.Sequential(ThreeTimes(), net)
            if example is not None and any(is_lazy(values) for values in chain(net.parameters(), net.buffers())):
                _shape(net, example())
        return net

    def layers(self, data: Dataset) -> dict[str, nn.Module]:
        """Find the normalization layers that are swapped, by their path."""
        return normalizations(self.original(data))

    @property
    def name(self) -> str:
        """The name of the network's function, with that of the file before it."""
        path, function = _file_of(self.network), _name(self.network).rpartition(":")[2]
        return f"{path.stem}.{function}" if path else function


def is_of_a_user(norm: str) -> bool:
    """Tell whether a norm names a layer of the user's own. Raises ValueError for one that is not known."""
    return norm != OWN and not parse(norm).is_known


def _called(network: str | Build, packed: Mapping[str, bytes], offered: Mapping[str, object]) -> nn.Module:
    with first_on_path(folder) if (folder := _folder_of(network)) else nullcontext():  # a function may import, too
        build = network
        if isinstance(network, str):
            build = _function(network, packed.get(_source(network), b""))
        assert not isinstance(build, str)
        parameters = inspect.signature(build).parameters
        arguments = {name: value for name, value in offered.items() if name in parameters}
        try:
            net = build(**arguments)
        except Exception as error:  # a function of the user's own can raise anything
            raise ValueError(f"{_name(network)} cannot make a network: {type(error).__name__}: {error}") from error
    if not isinstance(net, nn.Module):
        raise ValueError(f"{_name(network)} must return a torch.nn.Module, but it returned {type(net).__name__}")
    return net


def _example(data: Dataset) -> Tensor:
    return data.standardize(data.x_test[:2]).cpu()


def _shape(net: nn.Module, example: Tensor) -> None:
    """Give lazy layers their shapes and weights by a forward pass; what fails in it fails again in the check."""
    modes = {layer: layer.training for layer in net.modules()}
    with torch.no_grad(), suppress(Exception):
        net.eval()(example)
    for layer, mode in modes.items():
        layer.training = mode


def _name(network: str | Build) -> str:
    return network if isinstance(network, str) else getattr(network, "__name__", type(network).__name__)


def _source(name: str) -> str:
    """Return where a function is looked for, as its name says it: "file.py" of "file.py:function"."""
    return name.rpartition(":")[0]


def _file_of(network: str | Build) -> Path | None:
    """Return the file of a network that is named file.py:function."""
    source = _source(_name(network))
    return Path(source) if source.endswith(".py") else None


def _folder_of(network: str | Build) -> Path | None:
    """Return the folder where imports look first: that of the file, or the working folder for a module's name."""
    if not isinstance(network, str) or network.startswith("torchvision:"):
        return None
    path = _file_of(network)
    return path.parent if path else Path.cwd()


def _function(name: str, packed: bytes) -> Build:
    """Find the function of this name; its file's text may be given, packed. Raises ValueError if there is none."""
    source, colon, function = name.rpartition(":")
    if not colon or not function:
        raise ValueError(
            f"{name!r} names no function; give file.py:function, package.module:function or torchvision:name"
        )
    if source == "torchvision":
        return _of_torchvision(function)
    path = _file_of(name)
    module = _executed(path, zlib.decompress(packed) if packed else _read(path)) if path else _module(source)
    found = getattr(module, function, None)
    if not callable(found):
        raise ValueError(f"{source} has no function {function!r}")
    return found


def _of_torchvision(name: str) -> Build:
    from torchvision import models  # slow to import, and few networks need it

    if name not in models.list_models(module=models):
        raise ValueError(f"torchvision has no classification network {name!r}; it has resnet18, densenet121, …")
    # These two return a tuple in training, for losses of their own in the middle, and start slowly
    special = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}

    def build(num_classes: int) -> nn.Module:
        return models.get_model(name, weights=None, num_classes=num_classes, **special)

    return build


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return path.read_bytes()


@cache  # each training asks for it
def _executed(path: Path, text: bytes) -> ModuleType:
    """Execute a file of this text as a module; the file itself need not exist."""
    module = ModuleType(f"file {path}")  # a name that no other module has
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses look for the names of types
    hint = "" if path.is_file() else "; the file is sent here without its neighbours: put all that it needs into it"
    try:
        exec(compile(text, path, "exec"), module.__dict__)
    except Exception as error:
        raise _not_imported(str(path), error, hint) from error
    return module


def _module(name: str) -> ModuleType:
    try:
        return import_module(name)
    except Exception as error:
        raise _not_imported(name, error) from error


def _not_imported(name: str, error: Exception, hint: str = "") -> ValueError:
    return ValueError(f"{name} cannot be imported: {type(error).__name__}: {error}{hint}")
