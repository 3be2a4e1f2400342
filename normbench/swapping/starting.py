"""Where a network without normalization starts."""

from typing import Any

from torch import Tensor, nn

from normbench.device import seeded
from normbench.layers import Affine
from normbench.swapping.evaluating import evaluating


def scale_by_first_batch(net: nn.Module, *inputs: Tensor) -> None:
    """Divide each scale that is one number by the deviation σ of what a batch gives its layer.

    The scales are set in the order in which their layers are run, each with those before set already (Mishkin & Matas
    2016, who so set the weights). A layer whose inputs do not vary, or are not finite, keeps its scale.

    Args:
        net: a network in which "none" has taken the place of its normalization; its mode is kept.
        inputs: the batch.
    """
    scales = {layer: layer.scale for layer in net.modules() if isinstance(layer, Affine)}
    waiting: set[nn.Module] = {
        layer for layer, scale in scales.items() if scale is not None and scale.shape == (1,) and not scale.is_meta
    }

    def divide(layer: Any, inputs: tuple[Tensor, ...]) -> None:
        if layer in waiting:
            waiting.remove(layer)
            deviation = inputs[0].float().std()
            if deviation.isfinite() and deviation > 0:
                layer.scale.div_(deviation)

    hooks = [layer.register_forward_pre_hook(divide) for layer in waiting]
    try:
        with evaluating(net), seeded(0):
            net(*(x.clone() for x in inputs))
    finally:
        for hook in hooks:
            hook.remove()
