"""One step of a training: a batch in, the parameters moved."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normbench.data import Dataset, warp
from normbench.training.cuda_graph import Recorded
from normbench.training.optimizers import Optimizers
from normbench.training.penalty import Penalty


class Step:
    """Shows `net` a batch under random changes, and moves its parameters along the gradient of loss and penalty.

    Args:
        data: whose images these are: it says how they are standardized, and on which device they are.
        net: from standardized images (N, C, H, W) to logits or log-probabilities (N, classes).
        optimizers: those of `net`.
        penalty: that of `net`.
        recorded: whether a step is recorded as a CUDA graph and replayed, on a GPU: for networks that do the same at
            every call, and never wait for the GPU. An optimizer that cannot be recorded is not.
    """

    def __init__(self, data: Dataset, net: nn.Module, optimizers: Optimizers, penalty: Penalty, recorded: bool = False):
        self.data, self.net, self.optimizers, self.penalty = data, net, optimizers, penalty
        on_gpu = data.device.type == "cuda"
        self.rate = torch.zeros((), device=data.device) if on_gpu else None
        self.carry_out: Callable[..., tuple[Tensor, Tensor]] = self.move
        if on_gpu and recorded and optimizers.recordable:
            self.carry_out = Recorded(self.move)

    def __call__(self, images: Tensor, matrices: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Take a step with images uint8 (N, C, H, W), matrices (N, 2, 3) as `warp` takes them, labels int64 (N,).

        Returns the outputs (N, classes) from before the step, and the penalty, 0 where there is none. On a GPU the
        next step overwrites both.
        """
        rate: float | Tensor = self.optimizers.next_rate()
        if self.rate is not None:  # nothing waits for the GPU, which a number read from it or sent to it would
            rate = self.rate.fill_(rate)
        return self.carry_out(images, matrices, labels, rate)

    def move(self, images: Tensor, matrices: Tensor, labels: Tensor, rate: float | Tensor) -> tuple[Tensor, Tensor]:
        """Take the step itself, with the learning rate `rate`; the rest is as the call has it."""
        outputs = self.net(self.data.standardize(warp(images.float(), matrices, grey=self.data.is_grey)))
        loss, whole = F.cross_entropy(outputs, labels), torch.zeros(())
        if not self.penalty.is_none:
            in_the_loss, whole = self.penalty()
            loss = loss + in_the_loss
        self.net.zero_grad()
        loss.backward()
        self.optimizers.step(rate)
        if self.optimizers.momentum is not None:
            self.penalty.step(rate, self.optimizers.momentum)
        return outputs.detach(), whole.detach()
