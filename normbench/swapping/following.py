"""New normalization layers of a pretrained network, fitted to what the old ones computed."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from normbench.device import seeded
from normbench.layers import DyT
from normbench.swapping.evaluating import evaluating
from normbench.swapping.kinds import Known
from normbench.swapping.replacing import inside

MOST_ROWS = 4096  # pixels or tokens of a batch that a layer is fitted to


class Wanted(NamedTuple):
    """What an old layer made of some pixels or tokens, (n, C), and whether its channels are the last axis."""

    rows: Tensor
    last: bool


def follow(
    before: nn.Module, after: nn.Module, new: Mapping[str, nn.Module], known: Mapping[str, Known], *inputs: Tensor
) -> dict[str, float]:
    """Give each new layer the γ and β with which it comes nearest to the layer whose place it took.

    That is the least-squares fit of one scale and one shift per channel to what the old layer makes of the inputs, in
    evaluation; of batch norm its running averages. The layers are fitted in the order in which they are run, each to
    inputs that the ones before have made. The fit of a layer without statistics of its own, as "none" leaves, is exact:
    γ/σ and β − γ·μ/σ. DyT and Derf first get an α with which most of their inputs lie where they are not yet flat.

    Layers that keep the averages are left as they are, and so are those without a scale and a shift per channel.

    Args:
        before: the network as it was, in evaluation mode.
        after: the network with the new layers; its mode is kept.
        new: the new layers, by the path of the old ones.
        known: what the old layers are, by path.
        inputs: a batch.

    Returns, by path, how much of the variance of the old layer's outputs the new one explains, at most 1.
    """
    fitted = {path: layer for path, layer in new.items() if _can_follow(layer, known[path])}
    wanted: dict[str, Wanted] = {}
    explained: dict[str, float] = {}
    hooks = [before.get_submodule(path).register_forward_hook(_keep(wanted, path, known[path])) for path in fitted]
    hooks += [_norm(layer).register_forward_hook(_fit(wanted, explained, path)) for path, layer in fitted.items()]
    try:
        with evaluating(after), seeded(0):
            before(*inputs)
            after(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return explained


def _norm(layer: nn.Module) -> nn.Module:
    """The normalization of a new layer, without the activations behind it."""
    return layer[0] if isinstance(layer, nn.Sequential) else layer


def _parts(layer: nn.Module) -> tuple[Any, Any]:
    """γ and β of a new layer; None where they are no parameters."""
    inner = inside(_norm(layer))
    own = dict(inner.named_parameters(recurse=False))
    return own.get("scale", own.get("weight")), own.get("bias")


def _can_follow(layer: nn.Module, known: Known) -> bool:
    if getattr(inside(_norm(layer)), "running_mean", None) is not None or (known.after and known.mean is None):
        return False
    return all(part is not None and len(part) == known.channels for part in _parts(layer))


def _keep(wanted: dict[str, Wanted], path: str, known: Known) -> Callable[..., None]:
    """Keep what the old layer makes of its first inputs; of batch norm without the activation that may follow."""

    def hook(layer: nn.Module, inputs: tuple[Any, ...], outputs: Tensor) -> None:
        if path not in wanted:
            last = known.last if known.last is not None else outputs.dim() in known.last_axes
            rows = _rows(outputs, last) if known.mean is None else _by_averages(known, _rows(inputs[0], last))
            wanted[path] = Wanted(rows, last)

    return hook


def _by_averages(known: Known, x: Tensor) -> Tensor:
    """Batch norm of rows (n, C) by the running averages."""
    assert known.mean is not None and known.variance is not None
    y = (x - known.mean) * torch.rsqrt(known.variance + known.eps)
    y = y if known.weight is None else y * known.weight.flatten()
    return y if known.bias is None else y + known.bias.flatten()


def _rows(values: Tensor, last: bool) -> Tensor:
    """Some pixels or tokens, evenly spread, of values (N, C, …) or (N, …, C): (n, C)."""
    rows = (values if last else values.movedim(1, -1)).flatten(0, -2)
    if len(rows) <= MOST_ROWS:
        return rows.float()
    chosen = torch.linspace(0, len(rows) - 1, MOST_ROWS, device=rows.device).round().long()
    return rows[chosen].float()


def _fit(wanted: dict[str, Wanted], explained: dict[str, float], path: str) -> Callable[..., Tensor | None]:
    """Fit the new layer at its first call, and let it go on with what it computes then."""

    def hook(layer: nn.Module, inputs: tuple[Any, ...], outputs: Tensor) -> Tensor | None:
        if path in explained or path not in wanted:
            return None
        weight, bias = _parts(layer)
        weight.fill_(1)
        bias.fill_(0)
        if isinstance(inner := inside(layer), DyT):
            inner.alpha.fill_(0.5 / inputs[0].float().square().mean().sqrt().clamp(min=1e-6))
        rows = _rows(layer.forward(*inputs), wanted[path].last)
        slope, shift, explained[path] = _least_squares(rows, wanted[path].rows)
        shape = (-1, *[1] * (weight.dim() - 1))
        weight.copy_(slope.view(shape).expand_as(weight))
        bias.copy_(shift.view(shape).expand_as(bias))
        return layer.forward(*inputs)

    return hook


def _least_squares(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, float]:
    """Fit y = slope·x + shift per column of (n, C); also return the share of the variance of y that it explains."""
    x, y = x.double(), y.double()
    deviations = x - x.mean(dim=0)
    variance = deviations.square().mean(dim=0)
    covariance = (deviations * (y - y.mean(dim=0))).mean(dim=0)
    slope = torch.where(variance > 1e-12, covariance / variance.clamp(min=1e-12), torch.zeros_like(variance))
    shift = y.mean(dim=0) - slope * x.mean(dim=0)
    left = (y - slope * x - shift).square().mean()
    total = (y - y.mean(dim=0)).square().mean()
    return slope, shift, float(1 - left / total) if total > 0 else 1.0
