"""A user's own network: found by its name, built for images and classes, its normalizations swapped.

This file touches process-wide state: it adds a user's file to `sys.modules`, and imports its neighbours as
`neighbours` describes.
"""

import inspect
import sys
import zlib
from collections.abc import Callable, Mapping
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
from normbench.swapping import normalizations, swap
from normbench.training import Recipe

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
    """

    network: str | Build
    _packed: bytes = field(default=b"", init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, object]:
        path = _file_of(self.network)
        packed = self._packed or (zlib.compress(_read(path)) if path else b"")
        return {"network": self.network, "_packed": packed}  # packed, its "__main__" is not taken for the trainer's

    def __call__(self, recipe: Recipe, data: Dataset) -> nn.Module:
        """Build the network for images of `data`, on the CPU; a seed gives every normalization the same weights.

        A network whose first convolution takes three channels is given grey images three times.

        Raises ValueError if it cannot be found, built or swapped.
        """
        return swap(self.original(data, recipe.seed), recipe.norm, example=_example(data))

    def original(self, data: Dataset, seed: int = 0) -> nn.Module:
        """Build the network as it is before the swap; lazy layers get their shapes."""
        channels, height, width = data.image_shape
        offered = {"num_classes": len(data.classes), "in_channels": channels, "size": (height, width)}
        with seeded(seed):
            net = _called(self.network, self._packed, offered)
            first = next((layer for layer in net.modules() if isinstance(layer, nn.Conv2d)), None)
            if data.is_grey and first is not None and first.in_channels == 3:
                net = nn.Sequential(ThreeTimes(), net)
            if any(is_lazy(values) for values in chain(net.parameters(), net.buffers())):
                _shape(net, _example(data))
        return net

    def layers(self, data: Dataset) -> dict[str, nn.Module]:
        """Find the normalization layers that are swapped, by their path."""
        return normalizations(self.original(data))

    @property
    def name(self) -> str:
        """The name of the network's function, with that of the file before it."""
        path, function = _file_of(self.network), _name(self.network).rpartition(":")[2]
        return f"{path.stem}.{function}" if path else function


def _called(network: str | Build, packed: bytes, offered: Mapping[str, object]) -> nn.Module:
    with first_on_path(folder) if (folder := _folder_of(network)) else nullcontext():  # a function may import, too
        build = _function(network, packed) if isinstance(network, str) else network
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


def _file_of(network: str | Build) -> Path | None:
    """Return the file of a network that is named file.py:function."""
    source = _name(network).rpartition(":")[0]
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
            f"{name!r} names no network; give file.py:function, package.module:function or torchvision:name"
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
