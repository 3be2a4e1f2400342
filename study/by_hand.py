"""The four normalizations by hand, for the errors in the published arithmetic.

>>> print(steps(EXAMPLE, "GN"))  # the first set of study C's batch, every step written out
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model import normalization
from normbench.layers import Place, make
from normbench.words import fixed

NORMS = ("BN", "GN", "LN", "IN")
EPS = 1e-5  # as the layers have it
# Study C's batch: 4 images (a block each) of 4 channels (a line each; there blue, green, yellow and brown) of
# 2x2 pixels, row by row. Published are image 1 and the first channel of all; the other 36 cells are ours.
EXAMPLE = torch.tensor(
    [
        [[-3, -2, 1, -1], [2, -2, 2, 1], [3, -3, 2, 0], [2, 0, 3, -3]],
        [[-1, 2, -1, 2], [0, -3, 1, 3], [1, 1, 3, 2], [-2, -1, 0, -3]],
        [[-3, 1, 0, 3], [2, 3, 0, 3], [-1, 0, -2, 2], [1, -1, 3, 1]],
        [[3, -3, -1, -3], [-2, 0, -3, 1], [1, 3, -1, 3], [-3, -2, 1, 0]],
    ],
    dtype=torch.float64,
).reshape(4, 4, 2, 2)
# A batch like that of study E: 3 images and numbers with a decimal place. All of its cells are ours.
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


def work(values: Sequence[float]) -> Worked:
    """Normalize one set: subtract the mean, divide by sqrt(variance + ε) (Ioffe & Szegedy 2015, algorithm 1).

    ε keeps the division possible if all numbers are equal. γ is 1 and β is 0, as they start.
    """
    n = len(values)
    total = sum(values)
    mean = total / n
    squares = sum((x - mean) ** 2 for x in values)
    variance = squares / n
    normalized = tuple((x - mean) / math.sqrt(variance + EPS) for x in values)
    return Worked(tuple(values), total, mean, squares, variance, math.sqrt(variance), normalized)


def sets(nm: str, shape: Sequence[int], groups: int = 2) -> Tensor:
    """Number the sets of a batch of `shape` (N, C, H, W) from 0: for each cell that of its set; same shape, int64.

    Raises ValueError for another `nm` than those of `NORMS`, and for groups that do not divide the channels.
    """
    n, c, *_ = shape
    image, channel = torch.arange(n).view(n, 1, 1, 1), torch.arange(c).view(1, c, 1, 1)
    if nm not in NORMS:
        raise ValueError(f"unknown normalization {nm!r}; choose one of {', '.join(NORMS)}")
    if nm == "GN":
        normalization(nm, c, groups)  # raises for groups that do not divide the channels
        numbers = image * groups + channel // (c // groups)
    else:
        numbers = {"BN": channel, "LN": image, "IN": image * c + channel}[nm]
    return numbers.expand(*shape).contiguous()


def work_all(x: Tensor, nm: str, groups: int = 2) -> list[Worked]:
    """Normalize every set of a batch x (N, C, H, W), in the order of `sets`."""
    number = sets(nm, x.shape, groups)
    return [work(x.double()[number == i].tolist()) for i in range(int(number.max()) + 1)]


def normalize_by_hand(x: Tensor, nm: str, groups: int = 2) -> Tensor:
    """Normalize x (N, C, H, W), float64: what the PyTorch layer gives in training mode, with γ = 1 and β = 0."""
    number, result = sets(nm, x.shape, groups), torch.empty(x.shape, dtype=torch.float64)
    for i, worked in enumerate(work_all(x, nm, groups)):
        result[number == i] = torch.tensor(worked.normalized, dtype=torch.float64)
    return result


def show(x: float, digits: int = 4) -> str:
    """Write `x` with at most `digits` (1 or more) decimal places."""
    return fixed(x, digits).rstrip("0").rstrip(".")


def steps(x: Tensor, nm: str, number: int = 1, groups: int = 2) -> str:
    """Write out every step for one set of a batch x (N, 4, H, W), as one would with a pencil.

    `number` is that of the set, from 1. Raises ValueError as `sets` does, and for a number that no set has.
    """
    worked = work_all(x, nm, groups)
    if not 1 <= number <= len(worked):
        raise ValueError(f"{nm} has the sets 1 to {len(worked)} here, not {number}")
    member, w = sets(nm, x.shape, groups) == number - 1, worked[number - 1]
    places = [f"image {image + 1} channel {channel + 1}" for image, channel, *_ in member.nonzero().tolist()]
    blocks = {place: [v for p, v in zip(places, w.values) if p == place] for place in places}
    lines = [
        f"{nm}, set {number} of {len(worked)}: {w.n} numbers",
        *(f"   {place:<18}{' '.join(f'{show(v):>5}' for v in block)}" for place, block in blocks.items()),
        f"1. sum         {' + '.join(f'({show(sum(block))})' for block in blocks.values())} = {show(w.total)}",
        f"2. mean        μ = {show(w.total)} / {w.n} = {show(w.mean)}",
        f"3. squares     Σ (x − μ)² = {show(w.squares)}",
        f"4. variance    σ² = {show(w.squares)} / {w.n} = {show(w.variance)}",
        f"5. std. dev.   σ = √{show(w.variance)} = {show(w.deviation)}",
        f"6. normalized  y = (x − μ) / √(σ² + ε), with ε = {EPS:g}\n",
        f"   {'':<18}{'x':>6}{'x − μ':>10}{'(x − μ)²':>10}{'y':>10}",
    ]
    for place, v, y in zip(places, w.values, w.normalized):
        columns = "".join(f"{fixed(value, 4):>10}" for value in (v - w.mean, (v - w.mean) ** 2, y))
        lines.append(f"   {place:<18}{show(v):>6}{columns}")
    return "\n".join(lines)


def layers(channels: int, height: int, width: int) -> dict[str, nn.Module]:
    """Make PyTorch's layers for feature maps (channels, height, width), by name; both LNs have the same sets."""
    return {
        "BN": normalization("BN", channels),
        "GN": normalization("GN", channels),
        "LN": normalization("LN", channels),
        "LN_CHW": make("LN_CHW", Place(channels, axes=4, size=(height, width))),
        "IN": normalization("IN", channels),
    }


def trainable(layer: nn.Module) -> int:
    """Count the numbers of `layer` that are trained."""
    return sum(p.numel() for p in layer.parameters() if p.requires_grad)


def averages(layer: nn.Module) -> int:
    """Count the running means and variances of `layer`, which are not trained."""
    return sum(b.numel() for b in layer.buffers() if b.ndim)
