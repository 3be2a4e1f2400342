"""Someone's own network: found by its name, built for images and classes, its normalizations swapped."""

import importlib
import inspect
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from types import ModuleType

from torch import Tensor, nn
from torchvision import models

from model import COLOUR, Net
from normbench.config import Config
from normbench.data import Dataset
from normbench.device import seeded
from normbench.swap import swap

OURS = "normbench.networks:study_network"


def study_network(num_classes: int, in_channels: int, size: tuple[int, int]) -> nn.Module:
    """The study's network for images (in_channels, *size)."""
    return Net(
        "BN", classes=num_classes, **(COLOUR if in_channels > 1 else {}) | dict(in_channels=in_channels, size=size)
    )


class ThreeTimes(nn.Module):
    """Grey images for a network that takes three channels: each gets the same image."""

    def forward(self, x: Tensor) -> Tensor:
        """x (N, 1, H, W) → (N, 3, H, W)."""
        return x.expand(-1, 3, -1, -1)


@dataclass(frozen=True)
class Swapped:
    """Makes a network whose normalizations are those of a config.

    Pickled, it takes the text of its file along, for other machines do not have the file.

    Args:
        network: a function that makes the network, or its name: "file.py:function", "package.module:function" or
            "torchvision:resnet18". Called with num_classes, in_channels and size, (H, W), as far as it takes them.
    """

    network: str | Callable[..., nn.Module]
    _packed: bytes = field(default=b"", init=False, repr=False, compare=False)

    def __getstate__(self) -> dict:
        path = _file_of(self.network)
        packed = self._packed or (zlib.compress(_read(path)) if path else b"")
        return {"network": self.network, "_packed": packed}  # packed, its "__main__" is not taken for the trainer's

    def __call__(self, config: Config, data: Dataset) -> nn.Module:
        """The network for images of `data`, on the CPU; seeded weights, the same for every normalization.

        A network whose first convolution takes three channels is given grey images three times.

        Raises ValueError where it cannot be found, made or swapped.
        """
        return _fitted(swap(self._made(config, data), config.nm, config.gp or None), data)

    def original(self, config: Config, data: Dataset) -> nn.Module:
        """The network before the swap."""
        return _fitted(self._made(config, data), data)

    def _made(self, config: Config, data: Dataset) -> nn.Module:
        channels, height, width = data.image_shape
        offered = {"num_classes": len(data.classes), "in_channels": channels, "size": (height, width)}
        with seeded(config.seed):
            return _called(self.network, self._packed, offered)

    @property
    def name(self) -> str:
        """What to call the network: its function's name, with that of the file before it."""
        path, function = _file_of(self.network), _name(self.network).rpartition(":")[2]
        return f"{path.stem}.{function}" if path else function


def _called(network: str | Callable[..., nn.Module], packed: bytes, offered: dict) -> nn.Module:
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


def _fitted(net: nn.Module, data: Dataset) -> nn.Module:
    """`net`, which is given grey images three times where its first convolution takes three channels."""
    first = next((layer for layer in net.modules() if isinstance(layer, nn.Conv2d)), None)
    grey_for_three = data.image_shape[0] == 1 and first is not None and first.in_channels == 3
    return nn.Sequential(ThreeTimes(), net) if grey_for_three else net


def _name(network: str | Callable[..., nn.Module]) -> str:
    return network if isinstance(network, str) else getattr(network, "__name__", type(network).__name__)


def _file_of(network: str | Callable[..., nn.Module]) -> Path | None:
    """The file of a network that is named file.py:function."""
    source = _name(network).rpartition(":")[0]
    return Path(source) if source.endswith(".py") else None


def _function(name: str, packed: bytes) -> Callable[..., nn.Module]:
    """The function of this name; its file's text may be given, packed. Raises ValueError where there is none."""
    source, colon, function = name.rpartition(":")
    if not colon or not function:
        raise ValueError(
            f"{name!r} names no network; give file.py:function, package.module:function or torchvision:name"
        )
    if source == "torchvision":
        if function not in models.list_models(module=models):
            raise ValueError(f"torchvision has no classification network {function!r}; it has resnet18, densenet121, …")
        return _of_torchvision(function)
    path = _file_of(name)
    module = _executed(path, zlib.decompress(packed) if packed else _read(path)) if path else _module(source)
    if not callable(getattr(module, function, None)):
        raise ValueError(f"{source} has no function {function!r}")
    return getattr(module, function)


def _of_torchvision(name: str) -> Callable[..., nn.Module]:
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
    """The module in a file of this text, which may import its neighbours; the file itself is not needed."""
    if str(path.parent.resolve()) not in sys.path:
        sys.path.append(str(path.parent.resolve()))
    module = ModuleType(f"file {path}")  # a name that no other module has
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses look for the names of types
    hint = "" if path.is_file() else "; the file is sent here without its neighbours: put all that it needs into it"
    _imported(str(path), lambda: exec(compile(text, path, "exec"), module.__dict__), hint)
    return module


def _module(name: str):
    if "" not in sys.path:
        sys.path.append("")  # the working folder, which a command does not look into by itself
    return _imported(name, partial(importlib.import_module, name))


def _imported(name: str, load: Callable, hint: str = ""):
    try:
        return load()
    except Exception as error:
        raise ValueError(f"{name} cannot be imported: {type(error).__name__}: {error}{hint}") from error
