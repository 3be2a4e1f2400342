"""A checksum that tells two networks apart by what they compute."""

import copy
import hashlib
import math

import torch
from torch import Tensor, nn

from normbench.device import seeded


@torch.no_grad()
def network_fingerprint(net: nn.Module, image_shape: tuple[int, int, int]) -> str:
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
    except Exception:  # a network of the user's own can raise anything, and may still be one to train
        outputs = []
    return hashlib.sha256(repr((layers, rates, shapes, outputs)).encode()).hexdigest()[:16]


def _outputs_with_synthetic_weights(net: nn.Module, image_shape: tuple[int, int, int]) -> Tensor:
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
