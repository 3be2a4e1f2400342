"""Where a network is trained: its device, and the memory format of its weights."""

import torch
from torch import Tensor, nn

from normbench.device import seeded
from normbench.swapping import copied


def placed(net: nn.Module, device: torch.device, images: Tensor | None = None) -> nn.Module:
    """Move `net` to `device`, in the memory format that is fastest there.

    Given a few `images` (N, C, H, W), in a format in which it works: networks that call `view` on their feature maps
    do not in every one.
    """
    net = net.to(device)
    # CUDA's group norm first copies feature maps in channels_last into contiguous memory.
    if device.type != "cpu" or any(values.dim() == 5 for values in net.parameters()):
        return net
    if images is None or _works_in_channels_last(net, images):
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net


def _works_in_channels_last(net: nn.Module, images: Tensor) -> bool:
    """Try a copy, forward and backward."""
    try:
        trial = copied(net).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with seeded(0):
            with torch.no_grad():
                trial.eval()(images.clone())
            trial.train()(images.clone()).square().sum().backward()
    except (Exception, SystemExit):  # what fails in any format fails again when it is trained
        return False
    return True
