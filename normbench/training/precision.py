"""Training in bfloat16, where that is asked for."""

from typing import Any

import torch
from torch import Tensor, nn

AMP = ("bf16",)


class InBfloat16(nn.Module):
    """Runs a network in bfloat16 where PyTorch holds that to be safe; its weights and its outputs stay in float32.

    Args:
        net: the network.
    """

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Any:
        """Return what the network makes of x; if that is a tensor of bfloat16, in float32."""
        with torch.autocast(x.device.type, torch.bfloat16):
            outputs = self.net(x)
        is_half = isinstance(outputs, Tensor) and outputs.dtype == torch.bfloat16
        return outputs.float() if is_half else outputs
