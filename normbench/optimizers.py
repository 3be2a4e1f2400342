"""Muon for the filters of convolutions."""

import torch
from torch import Tensor, nn


class FilterMuon(torch.optim.Muon):
    """Muon (Jordan et al. 2024): steps of gradient descent whose matrices are made orthogonal first.

    PyTorch's takes matrices alone; this one takes filters (out, in, h, w) as matrices (out, in·h·w).

    Args:
        filters: what to train, in place.
        lr: the learning rate. A step moves each row of a wide matrix by a vector of about this length.
        weight_decay: each step shrinks the filters by its product with the rate.
        momentum: the share of the last step's direction that goes on.
    """

    def __init__(self, filters: list[nn.Parameter], lr: float, weight_decay: float, momentum: float):
        self.filters = filters
        self.matrices = [nn.Parameter(_matrix(weights.detach(), weights)) for weights in filters]  # of the same memory
        super().__init__(self.matrices, lr=lr, weight_decay=weight_decay, momentum=momentum)

    def step(self, closure=None):
        for matrix, weights in zip(self.matrices, self.filters):
            matrix.grad = _matrix(weights.grad, weights)
        return super().step(closure)


def _matrix(values: Tensor, weights: Tensor) -> Tensor:
    """`values` (out, in, h, w) as a matrix, its columns in the order in which `weights` lie in memory."""
    return (values if weights.is_contiguous() else values.permute(0, 2, 3, 1)).flatten(1)
