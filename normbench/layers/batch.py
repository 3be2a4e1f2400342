"""Batch norm and its kin: statistics over the images of a batch, over a part of them, corrected, or frozen.

The layers take inputs (N, C, …) with any number of axes. What is wrapped, torch.fx calls as it is: it cannot follow
what these functions ask of shapes.
"""

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

MOMENTUM = 0.1  # of running averages, where a layer has none of its own


class BatchNorm(_BatchNorm):
    """Batch norm of inputs (N, C, …) with any number of axes: `nn.BatchNorm1d`, `2d` and `3d` in one."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


class InstanceNorm(_InstanceNorm):
    """Instance norm of inputs (N, C, …) with any number of axes from three on.

    Raises ValueError, when it is used, for one number per channel and image, of which nothing would be left.
    """

    def forward(self, input: Tensor) -> Tensor:
        """x (N, C, …) → the same shape."""
        of_the_input = self.training or not self.track_running_stats
        momentum = MOMENTUM if self.momentum is None else self.momentum
        return F.instance_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, of_the_input, momentum, self.eps
        )


class _OwnInTraining(BatchNorm):
    """Batch norm in evaluation mode, something else in training."""

    def forward(self, x: Tensor) -> Tensor:
        """x (N, channels, …) → the same shape."""
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return self._in_training(x)

    def _in_training(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class GhostBatchNorm2d(_OwnInTraining, nn.BatchNorm2d):
    """Batch norm that splits a batch and normalizes each part with its own mean and variance (Hoffer et al. 2017).

    So the images that share statistics can be few while those of a step are many, as when a batch is spread over GPUs.
    In evaluation mode it is `nn.BatchNorm2d`. A step moves the running averages as far as one with plain batch norm,
    towards the mean of the parts' statistics. It takes inputs (N, C, …) with any number of axes.

    Args:
        channels: of the feature maps.
        images: in each part; None for the whole batch. Of P parts, the first has images 0, P, 2P, … Images that are
            left over are a part of their own.
    """

    def __init__(self, channels: int, images: int | None):
        super().__init__(channels)
        self.images = images

    @torch.jit.unused
    def _in_training(self, x: Tensor) -> Tensor:
        mean, variance, batches = self.running_mean, self.running_var, self.num_batches_tracked
        assert mean is not None and variance is not None and batches is not None
        batches.add_(1)
        momentum = 1 / float(batches) if self.momentum is None else self.momentum  # None: a plain mean of all batches
        return batch_norm_in_parts(x, self.images, mean, variance, self.weight, self.bias, momentum, self.eps)


@torch.fx.wrap
def batch_norm_in_parts(
    x: Tensor,
    images: int | None,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float,
    eps: float,
) -> Tensor:
    """Compute batch norm of each part of x (N, C, …) by itself, as `GhostBatchNorm2d` does; move the averages."""
    if images is None or images >= len(x):
        return F.batch_norm(x, running_mean, running_var, weight, bias, True, momentum, eps)

    def each_by_itself(some: Tensor) -> Tensor:
        """Normalize images (images, parts, C, …) → (images · parts, C, …)."""
        parts, maps = some.shape[1], some.flatten(1, 2)  # to batch norm, each part's channels are of one batch
        mean, variance = maps.new_zeros(2, maps.shape[1])
        gamma, beta = (None if p is None else p.repeat(parts) for p in (weight, bias))
        normalized = F.batch_norm(maps, mean, variance, gamma, beta, True, 1.0, eps)
        share = momentum * some.shape[0] * parts / len(x)
        running_mean.lerp_(mean.view(parts, -1).mean(dim=0).to(running_mean.dtype), share)
        running_var.lerp_(variance.view(parts, -1).mean(dim=0).to(running_var.dtype), share)
        return normalized.view(-1, *some.shape[2:])

    whole = len(x) - len(x) % images
    normalized = each_by_itself(x[:whole].unflatten(0, (images, -1)))
    return normalized if whole == len(x) else torch.cat([normalized, each_by_itself(x[whole:].unsqueeze(1))])


class BatchRenorm(_OwnInTraining):
    """Batch renormalization (Ioffe 2017): a batch's statistics, corrected towards the running averages.

    In training the normalized activations are multiplied by r = σ_B / σ, limited to [1 / r_max, r_max], and r's
    companion d = (μ_B − μ) / σ, limited to ±d_max, is added; no gradient goes through either. The limits open from
    plain batch norm (1 and 0) to 3 and 5, while the steps go through `opening`. In evaluation mode it is batch norm.

    Args:
        channels: of the feature maps.
    """

    R_MAX, D_MAX = 3.0, 5.0

    def __init__(self, channels: int):
        super().__init__(channels)
        self.opening = (200, 2000)

    def plan(self, steps: int) -> None:
        """Open the limits between 4 and 30 % of so many training steps, as the paper does in its runs."""
        self.opening = (round(0.04 * steps), max(1, round(0.3 * steps)))

    @torch.jit.unused
    def _in_training(self, x: Tensor) -> Tensor:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        first, last = self.opening
        opened = ((self.num_batches_tracked - first) / max(1, last - first)).clamp(0, 1)
        self.num_batches_tracked.add_(1)
        limits = (1 + (self.R_MAX - 1) * opened, self.D_MAX * opened)
        momentum = MOMENTUM if self.momentum is None else self.momentum
        mean, variance = self.running_mean, self.running_var
        return batch_renorm(x, mean, variance, self.weight, self.bias, *limits, momentum, self.eps)


@torch.fx.wrap
def batch_renorm(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    r_max: Tensor,
    d_max: Tensor,
    momentum: float,
    eps: float,
) -> Tensor:
    """Compute batch renormalization of x (N, C, …) in training, and move the running averages."""
    axes = [0, *range(2, x.dim())]
    variance, mean = torch.var_mean(x if x.dtype == torch.float64 else x.float(), dim=axes, correction=0)
    with torch.no_grad():
        deviation = (running_var + eps).sqrt()
        r = ((variance + eps).sqrt() / deviation).clamp(1 / r_max, r_max)
        d = ((mean - running_mean) / deviation).clamp(-d_max, d_max)
        n = x.numel() // x.shape[1]
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_((variance * (n / max(1, n - 1))).to(running_var.dtype), momentum)
    scale = r * torch.rsqrt(variance + eps)
    shift = d - mean * scale
    if weight is not None:
        scale, shift = scale * weight, shift * weight
    if bias is not None:
        shift = shift + bias
    shape = [1, -1] + [1] * (x.dim() - 2)
    return (x * scale.view(shape) + shift.view(shape)).to(x.dtype)


class FrozenBatchNorm(BatchNorm):
    """Batch norm that uses its running averages in training too, and never moves them: a fixed scale and shift.

    It makes sense for pretrained networks alone: from scratch the averages are 0 and 1, and nothing is normalized.
    γ and β are trained.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, …) → the same shape."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
