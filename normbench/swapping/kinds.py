"""What normalization a layer is, as far as its class and its weights tell, and which functions normalize."""

import dis
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import takewhile
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parameter import is_lazy

from normbench.layers import (
    BatchNorm,
    BatchRenorm,
    Derf,
    DyT,
    FrozenBatchNorm,
    GhostBatchNorm2d,
    InstanceNorm,
    LayerNormOfPixels,
    LayerNormOfTokensOrMaps,
    RMSNormOfChannels,
)

PLAIN = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.LayerNorm,
    nn.RMSNorm,
    BatchNorm,
    BatchRenorm,
    Derf,
    DyT,
    FrozenBatchNorm,
    GhostBatchNorm2d,
    InstanceNorm,
    LayerNormOfPixels,
    LayerNormOfTokensOrMaps,
    RMSNormOfChannels,
)
BASES = (*PLAIN, _BatchNorm, _InstanceNorm)  # what layers may be derived from
EPS = torch.finfo(torch.float32).eps  # of a layer that has none of its own, as in `nn.RMSNorm`

WEIGHTED = (_ConvNd, nn.Linear)  # layers that may standardize their weights, which normalizes no inputs

# The functions that normalize, by what a reader knows them as.
NAMES = ("batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm", "local_response_norm")
FUNCTIONS: dict[Any, str] = {
    getattr(home, prefix + name): f"F.{name}"
    for name in NAMES
    for home in (F, torch, torch.ops.aten)
    for prefix in ("", "native_")
    if hasattr(home, prefix + name)
}
FUNCTIONS |= {
    function.default: name
    for function, name in FUNCTIONS.items()
    if isinstance(function, torch._ops.OpOverloadPacket) and hasattr(function, "default")
}


@dataclass
class Known:
    """A normalization layer that can be replaced.

    Attributes:
        kind: BN, BN:16 (ghost batch norm), BRN, FrozenBN, GN, IN, LN (over all of an input's channels and positions),
            LN_C, LN_CHW, RMS, DyT or Derf.
        channels: how many.
        weight, bias: γ and β, (C,) or of the shape of the elements; None where it has none.
        eps: ε.
        groups: of group norm.
        last: whether the channels are the last axis of the inputs; None if that depends on the number of axes.
        last_axes: the numbers of axes for which the channels are the last one.
        axes: the numbers of axes of inputs that a layer was seen to take; of plain layers it is not asked.
        after: the layers that follow the normalization inside the layer.
        mean, variance: the running averages; None where it has none.
        numbers: of DyT and Derf, α and s.
        in_float32: whether it computes in float32, whatever its inputs are.
    """

    kind: str
    channels: int
    weight: Tensor | None
    bias: Tensor | None
    eps: float
    groups: int | None = None
    last: bool | None = False
    last_axes: frozenset[int] = frozenset()
    axes: frozenset[int] = frozenset()
    after: list[nn.Module] = field(default_factory=list)
    mean: Tensor | None = None
    variance: Tensor | None = None
    numbers: tuple[Tensor, ...] = ()
    in_float32: bool = False


def looks_like_a_norm(layer: nn.Module) -> bool:
    """Tell whether a layer is derived from a normalization, or is called one and is no mere container."""
    if isinstance(layer, BASES):
        return True
    kind = type(layer)
    names = [getattr(layer, "original_name", ""), *(cls.__name__ for cls in kind.__mro__ if cls is not nn.Module)]
    if kind.__module__.startswith("torch.nn.utils") or not any(map(_is_called_a_norm, names)):
        return False
    own = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
    if not any(True for _ in layer.children()):
        return True
    has_vectors = any(is_lazy(values) or values.numel() > 1 for values in own)
    return has_vectors and not any(looks_like_a_norm(child) for child in layer.children())


def functions_called(layer: nn.Module) -> list[str]:
    """Find the normalization functions that the code of a layer's class calls, such as `F.batch_norm`.

    Those of a convolution are of its weights, which some classes standardize in that way.
    """
    if isinstance(layer, torch.fx.GraphModule):
        targets = {node.target for node in layer.graph.nodes if callable(node.target)}
        of_aten = {str(target) for target in targets if isinstance(target, torch._ops.OpOverload)}
        return sorted(
            {f"F.{name}" for name in NAMES if any(name in target for target in of_aten)}
            | {name for function, name in FUNCTIONS.items() if function in targets}
        )
    kind: Any = type(layer)  # mypy takes no class for hashable
    return [] if isinstance(layer, WEIGHTED) else _called_by(kind)


@cache  # a network has many layers of a class
def _called_by(kind: Any) -> list[str]:
    called = [value for method in _methods(kind).values() for value in _globals_of(method)] + used_in_forward(kind)
    return sorted({name for function, name in FUNCTIONS.items() if any(value is function for value in called)})


@cache
def asked_for(kind: Any) -> list[str]:
    """Find the classes of normalizations that a class's forward asks for, as by `isinstance`, or makes layers of."""
    used = [part for value in used_in_forward(kind) for part in (value if isinstance(value, tuple) else (value,))]
    return sorted({part.__name__ for part in used if isinstance(part, type) and issubclass(part, BASES)})


def _methods(kind: type[Any]) -> dict[str, FunctionType]:
    """The methods of a class, by name, as far as they are no code of PyTorch."""
    of_users = [*takewhile(lambda cls: not cls.__module__.startswith("torch."), kind.__mro__)]
    return {name: value for cls in of_users[::-1] for name, value in vars(cls).items() if inspect.isfunction(value)}


@cache
def used_in_forward(kind: Any) -> list[Any]:
    """Find what a class's forward takes from modules, also by methods and functions of the same package."""
    methods, found = _methods(kind), list[Any]()
    todo, done = [methods["forward"]] if "forward" in methods else [], set[FunctionType]()
    while todo:
        if (function := todo.pop()) in done:
            continue
        done.add(function)
        todo += [methods[name] for code in _codes(function.__code__) for name in code.co_names if name in methods]
        found += (values := list(_globals_of(function)))
        todo += [value for value in values if isinstance(value, FunctionType) and _package(value) == _package(function)]
    return found


def _package(function: FunctionType) -> str:
    return str(function.__module__).partition(".")[0]


def _globals_of(function: FunctionType) -> Iterator[Any]:
    """Yield what a function's code takes from its module, and what that takes from modules: `F`, `F.batch_norm`, …"""
    for code in _codes(function.__code__):
        value: Any = None
        for step in dis.get_instructions(code):
            if step.opname == "LOAD_GLOBAL":
                value = function.__globals__.get(step.argval)
            elif isinstance(value, ModuleType) and step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                value = getattr(value, step.argval, None)
            else:
                value = None
            yield value


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a function's code and that of the functions and comprehensions in it."""
    yield code
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _codes(part)


def _is_called_a_norm(name: str) -> bool:
    """Tell whether a class is called a normalization: "LayerNorm2d", "GRN", "ComplexBN"; not "Normalize"."""
    if re.match("(?i)normali[sz]|unnorm|denorm", name):  # usually of the inputs, by fixed numbers
        return False
    norms = ("ln", "rms", "bn", "gn", "abn", "frn", "grn", "inplaceabn")
    if re.search(r"[A-Za-z](BN|GN|LN)([123]d)?$", name):
        return True
    return name.lower() in norms or re.search("(?i)norm(?!al(?!i[sz]))", name) is not None


def could_be_a_norm(layer: nn.Module) -> bool:
    """Tell whether a layer of another make has no more than a normalization's weights, whatever it is called."""
    if type(layer).__module__.startswith(("torch.", "normbench.")) or any(True for _ in layer.children()):
        return False
    weights = list(layer.parameters(recurse=False))
    if not weights or any(is_lazy(values) for values in weights):
        return False
    return len(weights) <= 4 and all(is_vector(values) or values.numel() == 1 for values in weights)


def is_of_another_make(layer: nn.Module) -> bool:
    """Tell whether a layer may be a normalization, and is none of `PLAIN`."""
    is_plain = type(layer) in PLAIN and "forward" not in vars(layer)
    return not is_plain and (looks_like_a_norm(layer) or could_be_a_norm(layer))


def is_vector(values: Tensor) -> bool:
    return values.is_floating_point() and values.numel() > 1 and values.numel() == max(values.shape)


# Plain layers


def _channels(layer: Any) -> int:
    if isinstance(layer, (RMSNormOfChannels, LayerNormOfTokensOrMaps, DyT)):
        return int(layer.channels)
    for name in ("num_features", "num_channels"):
        if isinstance(value := getattr(layer, name, None), int):
            return value
    shape = getattr(layer, "normalized_shape", None)
    return int(shape[0]) if shape else 0


def plain(layer: Any) -> Known | str:
    """A layer of `PLAIN`, or what a derived layer is derived from."""
    channels = _channels(layer)
    weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
    if not channels or any(values is not None and is_lazy(values) for values in (weight, bias)):
        return "it is lazy, and has no shape yet; call the network once before the swap"
    eps = getattr(layer, "eps", None)
    known = Known("BN", channels, weight, bias, EPS if eps is None else float(eps))
    known.mean, known.variance = getattr(layer, "running_mean", None), getattr(layer, "running_var", None)
    match layer:
        case FrozenBatchNorm():
            known.kind = "FrozenBN"
        case BatchRenorm():
            known.kind = "BRN"
        case GhostBatchNorm2d():
            known.kind = f"BN:{layer.images}" if layer.images else "BN"
        case _BatchNorm():
            pass
        case nn.GroupNorm():
            known.kind, known.groups = "LN" if layer.num_groups == 1 else "GN", layer.num_groups
        case _InstanceNorm():
            known.kind = "IN"
        case LayerNormOfPixels():
            known.kind = "LN_C"
        case LayerNormOfTokensOrMaps():
            known.kind, known.last = "LN", True
        case RMSNormOfChannels():
            known.kind, known.last = "RMS", layer.last
        case DyT():
            known.kind, known.last = type(layer).__name__, layer.last
        case nn.LayerNorm() | nn.RMSNorm() if len(layer.normalized_shape) > 1:
            if isinstance(layer, nn.RMSNorm):
                return "it takes the root mean square over several axes"
            known.kind = "LN_CHW"
        case nn.LayerNorm() | nn.RMSNorm():
            known.kind, known.last = ("RMS" if isinstance(layer, nn.RMSNorm) else "LN_C"), True
    return known
