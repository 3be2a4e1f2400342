"""Checksums that tell two networks apart: by what they compute, and by how they were built."""

import copy
import hashlib
import math
from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from normbench.device import seeded
from normbench.source import source_checksum


@torch.no_grad()
def network_fingerprint(net: nn.Module, image_shape: tuple[int, ...]) -> str:
    """Return a checksum of how `net` computes its outputs from images of `image_shape` (C, H, W).

    It does not depend on the weights. It covers the names and types of the layers, the rates of dropout, the names and
    shapes of the state, and the outputs for two synthetic images with synthetic weights. These are computed in double
    precision on the CPU and rounded, and the text that PyTorch prints for a layer is left out, because it changes with
    the version: every machine and every version give the same checksum. The outputs are left out too if they cannot
    be computed in this way, as in a network that cannot be copied or works in single precision alone.
    """
    layers = [(name, type(layer).__name__) for name, layer in net.named_modules()]
    rates = [layer.p for layer in net.modules() if isinstance(layer, nn.modules.dropout._DropoutNd)]
    shapes = [(name, tuple(values.shape)) for name, values in net.state_dict().items()]
    try:
        with seeded(0):
            computed = _outputs_with_synthetic_weights(net, image_shape)
        outputs = (1e4 * computed / computed.abs().max()).nan_to_num().round().long().tolist()
    except (Exception, SystemExit):  # a network of the user's own can raise anything, and may still be one to train
        outputs = []
    return _digest((layers, rates, shapes, outputs))


@torch.no_grad()
def build_checksum(net: nn.Module, sources: Iterable[str] = ()) -> str:
    """Return a checksum of `net` as it was built: its weights, which of them train, its layers' settings, its source.

    Weights are taken in rounded sums, which another kind of processor does not change. `sources` are checksums of the
    code that has built it; where one is empty, the code is not known, and the checksum is "".
    """
    known = [source_checksum(type(layer) for layer in net.modules()), *sources]
    if not all(known):
        return ""
    state = [(name, _summed(values)) for name, values in chain(net.named_parameters(), net.named_buffers())]
    return _digest((known, state, settings_checksum(net)))


def settings_checksum(net: nn.Module) -> str:
    """Return a checksum of the layers of `net`, their settings, and the shapes of their weights."""
    layers = [(name, type(layer).__name__, _settings(layer)) for name, layer in net.named_modules()]
    shapes = [(name, str(getattr(values, "shape", ""))) for name, values in net.state_dict().items()]
    return _digest((layers, shapes))


def _digest(thing: object) -> str:
    return hashlib.sha256(repr(thing).encode()).hexdigest()[:16]


def _summed(values: Tensor) -> tuple[object, ...]:
    """What tells two tensors apart: type, whether it trains, shape, and sums to 4 digits."""
    if is_lazy(values):
        return str(values.dtype), values.requires_grad
    numbers = values.detach().cpu().to(torch.complex128 if values.is_complex() else torch.float64).flatten()
    waves = torch.arange(len(numbers), dtype=torch.float64).sin().to(numbers.dtype)
    sums = numbers.abs().sum(), (numbers * waves).sum().abs(), numbers.sum().abs()
    scale = max(float(sums[0]), 1e-300)
    return (
        str(values.dtype),
        values.requires_grad,
        tuple(values.shape),
        f"{scale:.3e}",
        *(round(1e3 * float(part) / scale) for part in sums[1:]),
    )


def _settings(layer: nn.Module) -> list[tuple[str, str]]:
    """The plain values among a layer's public attributes, such as eps, a rate of dropout or a number of groups."""
    plain = (bool, int, float, str, tuple, type(None))
    values = sorted((name, value) for name, value in vars(layer).items() if isinstance(value, plain))
    return [(name, repr(value)) for name, value in values if not name.startswith("_") and name != "training"]


def _outputs_with_synthetic_weights(net: nn.Module, image_shape: tuple[int, ...]) -> Tensor:
    net, images = copy.deepcopy(net).cpu().double().eval(), _synthetic((2, *image_shape))
    for i, weights in enumerate(net.parameters()):
        fan_in = math.prod(weights.shape[1:])
        weights.copy_(_synthetic(weights.shape, i) * math.sqrt(6 / fan_in))  # He et al. (2015), to keep maps in range
    for layer in net.modules():
        reset = getattr(layer, "reset_running_stats", None)
        if callable(reset):
            reset()
            layer.train()
    net(images)  # moves the running averages, by the momentum that they have
    return net.eval()(images)


def _synthetic(shape: tuple[int, ...], start: int = 0) -> Tensor:
    """Return numbers in [-1, 1] that look random, and are the same everywhere: cubes modulo a prime."""
    places = torch.arange(start, start + math.prod(shape), device="cpu") % 1013
    return (places**3 % 1013 / 506 - 1).double().view(shape)
