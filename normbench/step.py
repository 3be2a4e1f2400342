"""One step of a training: a batch in, the parameters moved; on a GPU recorded once and replayed as a CUDA graph."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import Net
from normbench.augment import warp
from normbench.config import Config
from normbench.data import Dataset
from normbench.optimizers import MOMENTUM, Optimizers
from normbench.penalty import Penalty


class Step:
    """Shows `net` a batch under random changes, and moves its parameters by the gradient of loss and penalty.

    On a GPU a step of this project's network is recorded and replayed (`Recorded`). Networks of others, which may do
    what cannot be recorded, are trained as they are.

    Args:
        config: the training.
        data: whose images these are: it says how they are standardized, and on which device they are.
        net: from standardized images (N, C, H, W) to log-probabilities (N, classes).
        optimizers: those of `net`.

    Raises ValueError where `net` has no such parameters as `config` penalizes.
    """

    def __init__(self, config: Config, data: Dataset, net: nn.Module, optimizers: Optimizers):
        self.data, self.net, self.optimizers = data, net, optimizers
        self.penalty = Penalty(net, config.l1, config.l2, config.penalized, config.proximal)
        on_gpu = data.device.type == "cuda"
        self.rate = torch.zeros((), device=data.device) if on_gpu else None
        self.carry_out = Recorded(self.move) if on_gpu and type(net) is Net else self.move

    def __call__(self, images: Tensor, matrices: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | float]:
        """images uint8 (N, C, H, W), matrices (N, 2, 3) as `warp` takes them, labels int64 (N,).

        Returns log-probabilities (N, classes) from before the step, and the penalty, 0.0 where there is none. On a GPU
        the next step overwrites both.
        """
        rate = self.optimizers.next_rate()
        if self.rate is not None:  # nothing waits for the GPU, which a number read from it or sent to it would
            rate = self.rate.fill_(rate)
        return self.carry_out(images, matrices, labels, rate)

    def move(
        self, images: Tensor, matrices: Tensor, labels: Tensor, rate: float | Tensor
    ) -> tuple[Tensor, Tensor | float]:
        """The step itself, with the learning rate `rate`; the rest as the call has it."""
        log_probabilities = self.net(self.data.standardize(warp(images.float(), matrices)))
        loss, whole = F.nll_loss(log_probabilities, labels), 0.0
        if self.penalty:
            in_the_loss, whole = self.penalty()
            loss, whole = loss + in_the_loss, whole.detach()
        self.net.zero_grad()
        loss.backward()
        self.optimizers.step(rate)
        self.penalty.step(rate, MOMENTUM)
        return log_probabilities.detach(), whole


class Recorded:
    """A function of tensors on a GPU, recorded as a CUDA graph: one launch for its hundreds of operations.

    It must do the same at every call but for the numbers in its tensors. Its first calls are carried out as they are,
    for libraries choose their algorithms then and optimizers make their buffers; and so are calls with other shapes
    than those of the first, as a last batch has. What it returns is overwritten by the next call.

    Args:
        function: from tensors to what it returns, without waiting for the GPU.
    """

    FIRST_CALLS = 3

    def __init__(self, function: Callable):
        self.function, self.calls, self.given, self.graph = function, 0, None, None

    def __call__(self, *tensors: Tensor):
        if self.given is None:
            self.given = [tensor.clone() for tensor in tensors]
        if any(mine.shape != theirs.shape for mine, theirs in zip(self.given, tensors)):
            return self.function(*tensors)
        self.calls += 1
        if self.calls <= self.FIRST_CALLS:
            return self._on_a_stream_of_its_own(tensors)
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):  # records, and carries nothing out
                self.returned = self.function(*self.given)
        for mine, theirs in zip(self.given, tensors):
            mine.copy_(theirs)
        self.graph.replay()
        return self.returned

    def _on_a_stream_of_its_own(self, tensors: tuple[Tensor, ...]):
        """As recording does: what autograd keeps from a first call must not point to the usual stream."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            returned = self.function(*tensors)
        torch.cuda.current_stream().wait_stream(stream)
        return returned
