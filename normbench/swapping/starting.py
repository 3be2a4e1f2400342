"""Where a network without normalization starts."""

from typing import Any

import torch
from torch import Tensor, nn

from normbench.device import seeded
from normbench.layers import Affine


@torch.no_grad()
def scale_by_first_batch(net: nn.Module, *inputs: Tensor) -> None:
    """Divide each scale that is one number by the deviation σ of what a batch gives its layer.

    The scales are set in the order in which their layers are run, each with those before set already (Mishkin & Matas
    2016, who so set the weights). A layer whose inputs do not vary, or are not finite, keeps its scale.

    Args:
        net: a network in which "none" has taken the place of its normalization; its mode is kept.
        inputs: the batch.
    """
    modes = {layer: layer.training for layer in net.modules()}
    waiting: set[nn.Module] = {
        layer
        for layer in modes
        if isinstance(layer, Affine)
        and layer.scale is not None
        and layer.scale.shape == (1,)
        and not layer.scale.is_meta
    }

    def divide(layer: Any, inputs: tuple[Tensor, ...]) -> None:
        if layer in waiting:
            waiting.remove(layer)
            deviation = inputs[0].float().std()
            if deviation.isfinite() and deviation > 0:
                layer.scale.div_(deviation)

    hooks = [layer.register_forward_pre_hook(divide) for layer in waiting]
    try:
        with seeded(0):
            net.eval()(*(x.clone() for x in inputs))
    finally:
        for hook in hooks:
            hook.remove()
        for layer, mode in modes.items():
            layer.training = mode
