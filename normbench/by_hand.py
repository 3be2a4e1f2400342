"""The four normalizations by hand, and the slips in the published arithmetic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from model import normalization
from normbench.words import fixed

CHANNELS = ("blue", "green", "yellow", "brown")
# Study C's batch: 4 images (a block each) of 4 channels (a line each) of 2x2 pixels, row by row. Published are
# image 1 and every blue channel; the other 36 cells are ours.
EXAMPLE = torch.tensor(
    [
        [[-3, -2, 1, -1], [2, -2, 2, 1], [3, -3, 2, 0], [2, 0, 3, -3]],
        [[-1, 2, -1, 2], [0, -3, 1, 3], [1, 1, 3, 2], [-2, -1, 0, -3]],
        [[-3, 1, 0, 3], [2, 3, 0, 3], [-1, 0, -2, 2], [1, -1, 3, 1]],
        [[3, -3, -1, -3], [-2, 0, -3, 1], [1, 3, -1, 3], [-3, -2, 1, 0]],
    ],
    dtype=torch.float64,
).reshape(4, 4, 2, 2)
# A batch as study E works with: 3 images and numbers with a decimal place. All of its cells are ours.
DECIMALS = torch.tensor(
    [
        [[0.5, -1.2, 2.1, 0.8], [1.5, 0.3, -0.7, 1.1], [-0.4, 0.9, 1.6, -1.3], [0.2, -0.6, 1.4, 0.7]],
        [[1.3, 0.4, -0.9, 1.7], [-1.1, 0.6, 0.1, -0.3], [2.2, 1.8, -0.5, 0.3], [-1.4, 0.5, -0.8, 1.2]],
        [[-0.2, 1.9, 0.7, -1.6], [0.9, -0.1, 1.3, 2.0], [-0.8, -1.5, 0.4, 0.6], [1.0, 0.1, -0.5, -1.9]],
    ],
    dtype=torch.float64,
).reshape(3, 4, 2, 2)


@dataclass(frozen=True)
class Worked:
    """One set of numbers, normalized step by step."""

    values: tuple[float, ...]
    total: float
    mean: float
    squares: float  # the sum of the squared deviations
    variance: float  # biased: divided by n, as every normalization layer does
    deviation: float
    normalized: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.values)


def work(values: Sequence[float], eps: float = 1e-5) -> Worked:
    """Normalize one set: subtract the mean, divide by sqrt(variance + eps) (Ioffe & Szegedy 2015, algorithm 1).

    `eps` keeps the division possible where all the numbers are equal. Gamma is 1 and beta 0, as they start.
    """
    n = len(values)
    total = sum(values)
    mean = total / n
    squares = sum((x - mean) ** 2 for x in values)
    variance = squares / n
    normalized = tuple((x - mean) / math.sqrt(variance + eps) for x in values)
    return Worked(tuple(values), total, mean, squares, variance, math.sqrt(variance), normalized)


def sets(nm: str, shape: Sequence[int], groups: int = 2) -> torch.Tensor:
    """The number, from 0, of the set that each cell of a batch of `shape` (N, C, H, W) belongs to; same shape, int64.

    Raises ValueError as `model.normalization` does.
    """
    n, c, *_ = shape
    image, channel = torch.arange(n).view(n, 1, 1, 1), torch.arange(c).view(1, c, 1, 1)
    if nm == "GN":
        normalization(nm, c, groups)  # raises where the groups do not divide the channels
        numbers = image * groups + channel // (c // groups)
    elif nm in ("BN", "LN", "IN"):
        numbers = {"BN": channel, "LN": image, "IN": image * c + channel}[nm]
    else:
        raise ValueError(f"unknown normalization {nm!r}; choose one of BN, GN, LN, IN")
    return numbers.expand(*shape).contiguous()


def work_all(x: torch.Tensor, nm: str, groups: int = 2, eps: float = 1e-5) -> list[Worked]:
    """Every set of a batch x (N, C, H, W), in the order of `sets`."""
    number = sets(nm, x.shape, groups)
    return [work(x.double()[number == i].tolist(), eps) for i in range(number.max() + 1)]


def normalize_by_hand(x: torch.Tensor, nm: str, groups: int = 2, eps: float = 1e-5) -> torch.Tensor:
    """x (N, C, H, W) normalized, float64: equal to the PyTorch layer in training mode, with gamma 1 and beta 0."""
    number, result = sets(nm, x.shape, groups), torch.empty(x.shape, dtype=torch.float64)
    for i, worked in enumerate(work_all(x, nm, groups, eps)):
        result[number == i] = torch.tensor(worked.normalized, dtype=torch.float64)
    return result


def show(x: float, digits: int = 4) -> str:
    """`x` to at most so many (1 or more) decimal places."""
    return fixed(x, digits).rstrip("0").rstrip(".")


def steps(x: torch.Tensor, nm: str, number: int = 0, groups: int = 2, eps: float = 1e-5) -> str:
    """One set of a batch x (N, 4, H, W), every step written out as one would with a pencil."""
    member, w = sets(nm, x.shape, groups) == number, work_all(x, nm, groups, eps)[number]
    places = [f"image {image + 1} {CHANNELS[channel]}" for image, channel, *_ in member.nonzero().tolist()]
    blocks = {place: [v for p, v in zip(places, w.values) if p == place] for place in places}
    lines = [
        f"{nm}, set {number + 1} of {len(work_all(x, nm, groups, eps))}: {w.n} numbers",
        *(f"   {place:<16}{' '.join(f'{show(v):>5}' for v in block)}" for place, block in blocks.items()),
        f"1. sum         {' + '.join(f'({show(sum(block))})' for block in blocks.values())} = {show(w.total)}",
        f"2. mean        μ = {show(w.total)} / {w.n} = {show(w.mean)}",
        f"3. squares     Σ (x − μ)² = {show(w.squares)}",
        f"4. variance    σ² = {show(w.squares)} / {w.n} = {show(w.variance)}",
        f"5. deviation   σ = √{show(w.variance)} = {show(w.deviation)}",
        f"6. normalized  y = (x − μ) / √(σ² + ε), with ε = {eps:g}\n",
        f"   {'':<16}{'x':>6}{'x − μ':>10}{'(x − μ)²':>10}{'y':>10}",
    ]
    for place, v, y in zip(places, w.values, w.normalized):
        columns = "".join(f"{fixed(number, 4):>10}" for number in (v - w.mean, (v - w.mean) ** 2, y))
        lines.append(f"   {place:<16}{show(v):>6}{columns}")
    return "\n".join(lines)


def layers(channels: int, height: int, width: int, groups: int = 2) -> dict[str, nn.Module]:
    """PyTorch's layers for maps of (channels, height, width), by name; in both LNs the sets are the same."""
    return {
        "BN": normalization("BN", channels),
        "GN": normalization("GN", channels, groups),
        "LN": normalization("LN", channels),
        "LN_CHW": normalization("LN_CHW", channels, size=(height, width)),
        "IN": normalization("IN", channels),
    }


def trainable(layer: nn.Module) -> int:
    """How many numbers of `layer` are trained."""
    return sum(p.numel() for p in layer.parameters() if p.requires_grad)


def averages(layer: nn.Module) -> int:
    """How many running means and variances `layer` keeps, which are not trained."""
    return sum(b.numel() for b in layer.buffers() if b.ndim)
