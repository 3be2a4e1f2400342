"""A function of tensors recorded as a CUDA graph. Only who changes how a step runs on a GPU needs to read this."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Recorded:
    """A function of tensors on a GPU, recorded as a CUDA graph: one launch for its hundreds of operations.

    It must do the same at every call but for the numbers in its tensors. Its first calls are carried out as they are,
    because libraries choose their algorithms then and optimizers make their buffers; and so are calls with other shapes
    than those of the first, such as a smaller last batch. The next call overwrites what it returns.

    Args:
        function: from tensors to what it returns, without waiting for the GPU.
    """

    FIRST_CALLS = 3

    def __init__(self, function: Callable[..., Any]):
        self.function, self.calls = function, 0
        self.given: list[Tensor] = []
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, *tensors: Tensor) -> Any:
        if not self.given:
            self.given = [tensor.clone() for tensor in tensors]
        if any(kept.shape != tensor.shape for kept, tensor in zip(self.given, tensors)):
            return self.function(*tensors)
        self.calls += 1
        if self.calls <= self.FIRST_CALLS:
            return self._on_another_stream(tensors)
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):  # records, and carries nothing out
                self.returned = self.function(*self.given)
        for kept, tensor in zip(self.given, tensors):
            kept.copy_(tensor)
        self.graph.replay()
        return self.returned

    def _on_another_stream(self, tensors: tuple[Tensor, ...]) -> Any:
        """Call the function as recording does: what autograd keeps from a first call must not use the usual stream."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            returned = self.function(*tensors)
        torch.cuda.current_stream().wait_stream(stream)
        return returned
