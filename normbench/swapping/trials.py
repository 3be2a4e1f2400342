"""Synthetic inputs, what a layer makes of them, and what the formulas do."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normbench.swapping.kinds import Known

AXES = (4, 3, 2, 5)  # how many axes inputs may have, the likeliest first


@dataclass
class Trial:
    """A synthetic input and what the layer makes of it."""

    x: Tensor
    last: bool
    output: Tensor

    @property
    def axes(self) -> int:
        return self.x.ndim


def trials_of(layer: nn.Module, channels: int) -> Iterator[Trial]:
    shape = getattr(layer, "normalized_shape", ())
    if isinstance(layer, nn.LayerNorm) and len(shape) > 1:
        inputs = [(torch.randn(2, *shape) * 2 + 0.5, False)]
    else:
        places = [(axes, last) for axes in AXES for last in ((False, True) if axes > 2 else (False,))]
        inputs = [(_input(channels, axes, last), last) for axes, last in places]
    for x, last in inputs:
        try:
            output = run(layer, x)
        except Exception:  # it does not take such inputs
            continue
        if isinstance(output, Tensor):
            yield Trial(x, last, output)


def run(layer: nn.Module, x: Tensor) -> Any:
    with torch.no_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of inputs that nobody gives it
        torch.default_generator.manual_seed(2)
        return layer(x.clone())


def _input(channels: int, axes: int, last: bool) -> Tensor:
    """A synthetic input whose other axes have lengths that are not the number of channels."""
    lengths = [length for length in (3, 5, 7, 2, 4) if length != channels]
    shape = [2 if channels != 2 else 3, *lengths[: axes - 2]]
    shape.insert(axes - 1 if last else 1, channels)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 2 + 0.5


def chained(layers: list[nn.Module], x: Tensor) -> Tensor | None:
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(2)
            x = x.clone()
            for layer in layers:
                x = layer(x)
        return x if isinstance(x, Tensor) else None
    except Exception:  # they are no chain
        return None


def same(a: Tensor, b: Tensor | None) -> bool:
    if b is None or a.shape != b.shape:
        return False
    close = partial(torch.allclose, rtol=1e-3, atol=1e-4)
    return close(a[:1, :2], b[:1, :2]) and close(a, b)  # most do not need the whole


# The formulas


def by_the_formulas(known: Known, trial: Trial) -> Iterator[Tensor]:
    """Yield what the normalization makes of an input, computed in each of the usual ways."""
    x = trial.x.movedim(-1, 1) if trial.last else trial.x
    forms = ("usual", "unbiased", "outside") if known.kind == "LN_C" else ("usual",)
    for form in forms:
        try:
            expected = _by_the_formula(known, x, form)
        except (RuntimeError, ValueError):
            continue
        yield expected.movedim(1, -1) if trial.last else expected


def _by_the_formula(known: Known, x: Tensor, form: str = "usual") -> Tensor:
    """What the normalization makes of x (N, C, …) with the weights, and the running averages, that are known.

    Form "unbiased" divides by the deviation with n - 1, as some do, and "outside" adds ε to the deviation.
    """
    weight, bias = (None if p is None else _flat(known, p) for p in (known.weight, known.bias))
    mean, variance = (None if p is None else p.flatten() for p in (known.mean, known.variance))
    shape, eps, rows = (known.channels,), known.eps, x.movedim(1, -1)
    match known.kind:
        case "GN" | "LN":
            return F.group_norm(x, known.groups or 1, weight, bias, eps)
        case "IN":
            return F.instance_norm(x, mean, variance, weight, bias, mean is None, 0.0, eps)
        case "LN_CHW":
            return F.layer_norm(x, known.weight.shape if known.weight is not None else x.shape[1:], weight, bias, eps)
        case "LN_C" if form == "usual":
            return F.layer_norm(rows, shape, weight, bias, eps).movedim(-1, 1)
        case "LN_C":
            deviation = rows.std(dim=-1, keepdim=True, correction=1 if form == "unbiased" else 0)
            normalized = (rows - rows.mean(dim=-1, keepdim=True)) / (deviation + eps)
        case "RMS":
            normalized = F.rms_norm(rows, shape, None, eps)
        case "DyT":
            normalized = torch.tanh(known.numbers[0].flatten() * rows)
        case "Derf":
            normalized = torch.erf(known.numbers[0].flatten() * rows + known.numbers[1].flatten())
        case _:
            return F.batch_norm(x, mean, variance, weight, bias, mean is None, 0.0, eps)
    normalized = normalized if weight is None else normalized * weight
    return (normalized if bias is None else normalized + bias).movedim(-1, 1)


def _flat(known: Known, values: Tensor) -> Tensor:
    return values if known.kind == "LN_CHW" else values.flatten()
