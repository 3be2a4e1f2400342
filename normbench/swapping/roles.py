"""What the weights of a layer of another make may be: γ, β, running averages, the α of DyT; under whatever names."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import nn

from normbench.layers import Derf, DyT
from normbench.swapping.kinds import BASES, EPS, Known, is_vector, plain

NAMES_OF_EPS = ("eps", "variance_epsilon", "epsilon", "_eps", "layer_norm_eps", "norm_eps")
NAMES_OF_GROUPS = ("num_groups", "groups", "n_groups", "group", "G")


@dataclass
class Names:
    """Where the weights of a layer are: names of attributes. `one_plus` says that γ is 1 + the weight."""

    weight: str | None = None
    bias: str | None = None
    mean: str | None = None
    variance: str | None = None
    scalars: tuple[str, ...] = ()
    one_plus: bool = False

    def of(self, layer: nn.Module, known: Known) -> Known:
        """`known` with the weights of this layer."""
        weight, bias, mean, variance = (
            None if name is None else getattr(layer, name)
            for name in (self.weight, self.bias, self.mean, self.variance)
        )
        if self.one_plus and weight is not None:
            weight = nn.Parameter((1 + weight.detach()).flatten(), requires_grad=weight.requires_grad)
        numbers = tuple(getattr(layer, name) for name in self.scalars)
        return replace(known, weight=weight, bias=bias, mean=mean, variance=variance, numbers=numbers)


def sources_of(layer: nn.Module) -> Iterator[tuple[Known, Names]]:
    """Yield what a layer may be: what it is derived from, or anything that fits its weights."""
    if isinstance(layer, BASES):
        if isinstance(known := plain(layer), Known):
            averages = ("running_mean", "running_var") if known.mean is not None else (None, None)
            names = Names("weight", "bias", *averages)
            names.scalars = ("alpha", "shift") if isinstance(layer, Derf) else ("alpha",) * isinstance(layer, DyT)
            names.weight = names.weight if known.weight is not None else None
            names.bias = names.bias if known.bias is not None else None
            yield known, names
            if known.kind == "BN" and known.mean is not None:  # one that never trains
                yield replace(known, kind="FrozenBN"), names
        return
    weights = dict(layer.named_parameters(recurse=False)) | dict(layer.named_buffers(recurse=False))
    vectors = {name: values for name, values in weights.items() if is_vector(values)}
    mean = next((name for name in vectors if "mean" in name.lower()), None)
    variance = next((name for name in vectors if "var" in name.lower() and name != mean), None)
    rest = [name for name in vectors if name not in (mean, variance)]
    if not vectors or len(rest) > 2 or len({values.numel() for values in vectors.values()}) > 1:
        return
    numbers = tuple(name for name, values in weights.items() if values.numel() == 1 and values.is_floating_point())
    channels = next(iter(vectors.values())).numel()
    for names in _arrangements(rest, mean, variance, numbers):
        for kind, groups in _kinds(layer, names, channels):
            yield Known(kind, channels, None, None, _eps_of(layer), groups), names


def _arrangements(rest: list[str], mean: str | None, variance: str | None, numbers: tuple[str, ...]) -> list[Names]:
    """The roles that a layer's weights may have."""
    pairs: list[tuple[str | None, ...]] = [(*rest, None, None)[:2]]
    if len(rest) == 2:
        pairs.append(tuple(rest[::-1]))
    if not (mean and variance):
        mean = variance = None
    scalars = [(), numbers, numbers[::-1]] if len(numbers) in (1, 2) else [()]
    return [
        Names(weight, bias, mean, variance, some, one_plus)
        for some in scalars
        for one_plus in (False, True)
        for weight, bias in pairs
    ]


def _kinds(layer: nn.Module, names: Names, channels: int) -> list[tuple[str, int | None]]:
    if names.scalars:
        return [("DyT", None)] if len(names.scalars) == 1 else [("Derf", None)]
    if names.mean:
        return [("BN", None), ("FrozenBN", None)]
    groups = next((g for n in NAMES_OF_GROUPS if isinstance(g := getattr(layer, n, None), int)), 1)
    grouped = [("GN", groups)] if 1 < groups < channels and channels % groups == 0 else []
    return [("LN_C", None), ("RMS", None), *grouped, ("LN", 1), ("IN", None)]


def _eps_of(layer: nn.Module) -> float:
    values = (getattr(layer, name, None) for name in NAMES_OF_EPS)
    return next((float(e) for e in values if isinstance(e, float)), EPS)
