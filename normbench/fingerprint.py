"""What a network computes, as a checksum by which another network is told from it."""

import copy
import hashlib
import math

import torch
from torch import Tensor, nn

from normbench.device import seeded


@torch.no_grad()
def network_fingerprint(net: nn.Module, image_shape: tuple[int, int, int]) -> str:
    """A checksum of how `net` computes its outputs from images of `image_shape` (C, H, W), whatever its weights are.

    It covers the names and types of the layers, the rates of dropout, the names and shapes of the state, and the
    outputs for two made-up images with made-up weights. These are computed in double precision on the CPU and rounded,
    and the text that PyTorch prints for a layer is left out, for it changes with the version: every machine and every
    version give the same checksum. The outputs are left out too where they cannot be computed so, as those of a
    network that cannot be copied or works in single precision alone.
    """
    layers = [(name, type(layer).__name__) for name, layer in net.named_modules()]
    rates = [layer.p for layer in net.modules() if isinstance(layer, nn.modules.dropout._DropoutNd)]
    shapes = [(name, tuple(values.shape)) for name, values in net.state_dict().items()]
    try:
        with seeded(0):
            outputs = _outputs_with_made_up_weights(net, image_shape)
        outputs = (1e4 * outputs / outputs.abs().max()).nan_to_num().round().long().tolist()
    except Exception:  # a network of the user's own can raise anything, and may still be one to train
        outputs = []
    return hashlib.sha256(repr((layers, rates, shapes, outputs)).encode()).hexdigest()[:16]


def _outputs_with_made_up_weights(net: nn.Module, image_shape: tuple[int, int, int]) -> Tensor:
    net, images = copy.deepcopy(net).cpu().double().eval(), _made_up((2, *image_shape))
    for i, weights in enumerate(net.parameters()):
        fan_in = math.prod(weights.shape[1:])
        weights.copy_(_made_up(weights.shape, i) * math.sqrt(6 / fan_in))  # He et al. (2015), to keep maps in range
    for layer in net.modules():
        if hasattr(layer, "reset_running_stats"):
            layer.reset_running_stats()
            layer.train()
    net(images)  # moves the running averages, by the momentum that they have
    return net.eval()(images)


def _made_up(shape: tuple[int, ...], start: int = 0) -> Tensor:
    """Numbers in [-1, 1] that look random, and are the same everywhere: cubes modulo a prime."""
    places = torch.arange(start, start + math.prod(shape), device="cpu") % 1013
    return (places**3 % 1013 / 506 - 1).double().view(shape)
