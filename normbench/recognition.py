"""Which normalization a layer of a network is, and whether it is no more than that: found by trying it.

Plain layers of PyTorch are known by their type. Derived layers and those of another make are run on synthetic inputs
and held against the formulas; a layer that computes something else is refused with the reason.
"""

import copy
import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parameter import is_lazy

from normbench.copying import copied
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
FUNCTIONS = ("batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm")
NAMES_OF_EPS = ("eps", "variance_epsilon", "epsilon", "_eps", "layer_norm_eps", "norm_eps")
NAMES_OF_GROUPS = ("num_groups", "groups", "n_groups", "group", "G")
AXES = (4, 3, 2, 5)  # how many axes inputs may have, the likeliest first
SMALL = 2e-3  # what synthetic inputs are multiplied by to see ε


# Functions of each number that a derived layer may apply to its output.
ACTIVATIONS: tuple[Callable[[], nn.Module], ...] = (
    nn.ReLU,
    nn.ReLU6,
    nn.SiLU,
    nn.GELU,
    lambda: nn.GELU(approximate="tanh"),
    nn.ELU,
    nn.SELU,
    nn.Hardswish,
    nn.Mish,
    nn.Tanh,
    nn.Sigmoid,
    nn.Softplus,
)


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


def recognize(layer: nn.Module) -> Known | str | None:
    """Tell what normalization a layer is; or, of one that cannot be replaced, why; or None for no normalization.

    The layer itself is left as it is. Lazy layers that have not seen an input are a reason.
    """
    if isinstance(layer, torch.jit.ScriptModule):
        return "it is scripted" if looks_like_a_norm(layer) else None
    if type(layer) in PLAIN and "forward" not in vars(layer):
        return _plain(layer)
    if looks_like_a_norm(layer):
        return _tried(layer)
    found = _tried(layer) if _could_be_a_norm(layer) else None
    return found if isinstance(found, Known) else None


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
    """Find the normalization functions that the code of a layer's class names, such as `F.batch_norm`.

    Those of a convolution are of its weights, which some classes standardize in that way.
    """
    names: set[str] = set()
    for cls in type(layer).__mro__:
        if cls.__module__.startswith("torch.") or isinstance(layer, (_ConvNd, nn.Linear)):
            break
        functions = (function for function in vars(cls).values() if inspect.isfunction(function))
        names |= {name for function in functions for name in function.__code__.co_names if name in FUNCTIONS}
    return sorted(f"F.{name}" for name in names)


def _is_called_a_norm(name: str) -> bool:
    """Tell whether a class is called a normalization: "LayerNorm2d", "GRN"; not "Normalize", "NormalHead"."""
    if re.match("(?i)normali[sz]|unnorm|denorm", name):  # usually of the inputs, by fixed numbers
        return False
    norms = ("ln", "rms", "bn", "gn", "abn", "frn", "grn", "inplaceabn")
    return name.lower() in norms or re.search("(?i)norm(?!al(?!i[sz]))", name) is not None


def _could_be_a_norm(layer: nn.Module) -> bool:
    """Tell whether a layer of another make has no more than a normalization's weights, whatever it is called."""
    if type(layer).__module__.startswith(("torch.", "normbench.")) or any(True for _ in layer.children()):
        return False
    weights = list(layer.parameters(recurse=False))
    if not weights or any(is_lazy(values) for values in weights):
        return False
    return len(weights) <= 4 and all(_is_vector(values) or values.numel() == 1 for values in weights)


# Plain layers


def _channels(layer: Any) -> int:
    if isinstance(layer, (RMSNormOfChannels, LayerNormOfTokensOrMaps, DyT)):
        return int(layer.channels)
    for name in ("num_features", "num_channels"):
        if isinstance(value := getattr(layer, name, None), int):
            return value
    shape = getattr(layer, "normalized_shape", None)
    return int(shape[0]) if shape else 0


def _plain(layer: Any) -> Known | str:
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


# Layers of another make, tried on synthetic inputs


@torch.no_grad()
def _tried(layer: nn.Module) -> Known | str:
    """Hold a layer against the formulas, on inputs of each number of axes."""
    if any(is_lazy(values) for values in (*layer.parameters(), *layer.buffers())):
        return "it is lazy, and has no shape yet; call the network once before the swap"
    if extra := _asks_for_more(layer):
        return f"its forward takes more than the input: {extra}"
    try:
        tried = randomized(copied(layer)).eval()
    except Exception as error:  # a layer of a user's own can raise anything
        return f"it cannot be copied ({type(error).__name__})"
    sources = list(_sources(tried))
    if not sources:
        return "its kind is not known"
    trials = list(_trials(tried, sources[0][0].channels))
    if not trials:
        return "it takes none of the usual inputs"
    reason = ""
    for maybe, names in sources:
        known = names.of(tried, maybe)  # weights that a hook computes are there after the trials
        parts = [_follows(known, tried, trial) for trial in trials]
        found = [(trial, after) for trial, after in zip(trials, parts) if after is not None]
        if found:
            settled = _settled(layer, tried, known, names, [trial for trial, _ in found], found[0][1])
            if isinstance(settled, Known):
                return settled
            reason = reason or settled
    return reason or "it computes something else than its normalization, such as a scale or a condition as well"


def _asks_for_more(layer: nn.Module) -> str:
    """The parameters of a layer's forward besides the first, or ""; a flag of a number or a truth value is none."""
    try:
        parameters = list(inspect.signature(type(layer).forward).parameters.values())[2:]
    except (TypeError, ValueError):
        return ""
    flags = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return ", ".join(p.name for p in parameters if p.kind not in flags and not isinstance(p.default, (int, float)))


def randomized(layer: nn.Module) -> nn.Module:
    """Give a layer random weights and averages, with which mistakes show, and take its hooks off; the layer."""
    if any(values.device.type == "meta" for values in (*layer.parameters(), *layer.buffers())):
        layer.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    layer.cpu().float()
    with torch.no_grad():
        for part in layer.modules():
            part._forward_hooks.clear()  # they may keep what they see
            for key, hook in list(part._forward_pre_hooks.items()):
                if not is_of_torch(hook):
                    del part._forward_pre_hooks[key]
        for values in (*layer.parameters(), *layer.buffers()):
            if values.is_floating_point():
                values.copy_(torch.rand(values.shape, generator=generator) + 0.5)
    return layer


def is_of_torch(hook: Any) -> bool:
    """Tell whether a hook computes a layer's weights, as those of weight norm and of pruning do."""
    return str(getattr(type(hook), "__module__", "")).startswith("torch.nn.utils")


@dataclass
class _Names:
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


def _sources(layer: nn.Module) -> Iterator[tuple[Known, _Names]]:
    """Yield what a layer may be: what it is derived from, or anything that fits its weights."""
    if isinstance(layer, BASES):
        if isinstance(known := _plain(layer), Known):
            averages = ("running_mean", "running_var") if known.mean is not None else (None, None)
            names = _Names("weight", "bias", *averages)
            names.scalars = ("alpha", "shift") if isinstance(layer, Derf) else ("alpha",) * isinstance(layer, DyT)
            names.weight = names.weight if known.weight is not None else None
            names.bias = names.bias if known.bias is not None else None
            yield known, names
        return
    weights = dict(layer.named_parameters(recurse=False)) | dict(layer.named_buffers(recurse=False))
    vectors = {name: values for name, values in weights.items() if _is_vector(values)}
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


def _arrangements(rest: list[str], mean: str | None, variance: str | None, numbers: tuple[str, ...]) -> list[_Names]:
    """The roles that a layer's weights may have."""
    pairs: list[tuple[str | None, ...]] = [(*rest, None, None)[:2]]
    if len(rest) == 2:
        pairs.append(tuple(rest[::-1]))
    if not (mean and variance):
        mean = variance = None
    scalars = [(), numbers, numbers[::-1]] if len(numbers) in (1, 2) else [()]
    return [
        _Names(weight, bias, mean, variance, some, one_plus)
        for some in scalars
        for one_plus in (False, True)
        for weight, bias in pairs
    ]


def _kinds(layer: nn.Module, names: _Names, channels: int) -> list[tuple[str, int | None]]:
    if names.scalars:
        return [("DyT", None)] if len(names.scalars) == 1 else [("Derf", None)]
    if names.mean:
        return [("BN", None), ("FrozenBN", None)]
    groups = next((g for n in NAMES_OF_GROUPS if isinstance(g := getattr(layer, n, None), int)), 1)
    grouped = [("GN", groups)] if 1 < groups < channels and channels % groups == 0 else []
    return [("LN_C", None), ("RMS", None), *grouped, ("LN", 1), ("IN", None)]


def _is_vector(values: Tensor) -> bool:
    return values.is_floating_point() and values.numel() > 1 and values.numel() == max(values.shape)


def _eps_of(layer: nn.Module) -> float:
    values = (getattr(layer, name, None) for name in NAMES_OF_EPS)
    return next((float(e) for e in values if isinstance(e, float)), EPS)


@dataclass
class _Trial:
    """A synthetic input and what the layer makes of it."""

    x: Tensor
    last: bool
    output: Tensor

    @property
    def axes(self) -> int:
        return self.x.ndim


def _trials(layer: nn.Module, channels: int) -> Iterator[_Trial]:
    shape = getattr(layer, "normalized_shape", ())
    if isinstance(layer, nn.LayerNorm) and len(shape) > 1:
        inputs = [(torch.randn(2, *shape) * 2 + 0.5, False)]
    else:
        places = [(axes, last) for axes in AXES for last in ((False, True) if axes > 2 else (False,))]
        inputs = [(_input(channels, axes, last), last) for axes, last in places]
    for x, last in inputs:
        try:
            output = _run(layer, x)
        except Exception:  # it does not take such inputs
            continue
        if isinstance(output, Tensor):
            yield _Trial(x, last, output)


def _run(layer: nn.Module, x: Tensor) -> Any:
    with torch.no_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of inputs that nobody gives it
        torch.manual_seed(2)
        return layer(x.clone())


def _input(channels: int, axes: int, last: bool) -> Tensor:
    """A synthetic input whose other axes have lengths that are not the number of channels."""
    lengths = [length for length in (3, 5, 7, 2, 4) if length != channels]
    shape = [2 if channels != 2 else 3, *lengths[: axes - 2]]
    shape.insert(axes - 1 if last else 1, channels)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 2 + 0.5


def _settled(
    layer: nn.Module, tried: nn.Module, known: Known, names: _Names, found: list[_Trial], parts: list[nn.Module]
) -> Known | str:
    """What is known of `layer`, whose copy is `known` and then `parts` on the trials `found`; or why it is more."""
    axes = {trial.axes: trial.last for trial in found if trial.axes > 2}
    if {trial.axes for trial in found} == {2}:
        axes = {2: known.last is True}
    last_axes = frozenset(number for number, last in axes.items() if last)
    known.last = True if len(last_axes) == len(axes) else None if last_axes else False
    if reason := _otherwise_in_training(known, tried, parts, found[0]):
        return reason
    known.eps = _measured_eps(known, tried, parts, found[0])
    known.in_float32 = _computes_in_float32(tried, found[0])
    children = [child for child in layer.children() if not isinstance(child, nn.Identity)]
    after = children if parts == list(tried.children()) else [copy.deepcopy(part) for part in parts]
    return names.of(
        layer, replace(known, last_axes=last_axes, axes=frozenset(trial.axes for trial in found), after=after)
    )


def _follows(known: Known, layer: nn.Module, trial: _Trial) -> list[nn.Module] | None:
    """The layers that make the output of the layer from that of the formula, [] for none; None if nothing does."""
    output = trial.output
    children = list(layer.children())
    for expected in _by_the_formulas(known, trial):
        if output.shape != expected.shape or output.dtype != expected.dtype:
            continue
        if children and _same(output, _chained(children, expected)):
            return children
        if _same(output, expected):
            return []
        some, some_expected = output[:1, :2], expected[:1, :2]  # enough to tell most activations apart
        for activation in (*(make() for make in ACTIVATIONS), *_leaky(expected, output)):
            if _same(some, activation(some_expected)) and _same(output, activation(expected)):
                return [activation]
    return None


def _leaky(x: Tensor, y: Tensor) -> list[nn.Module]:
    """The leaky ReLU that may have made y from x."""
    below = x < -0.01
    slope = float((y[below] / x[below]).median()) if below.any() else 0.0
    return [nn.LeakyReLU(round(slope, 4))] if 0 < slope < 1 else []


def _chained(layers: list[nn.Module], x: Tensor) -> Tensor | None:
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            x = x.clone()
            for layer in layers:
                x = layer(x)
        return x if isinstance(x, Tensor) else None
    except Exception:  # they are no chain
        return None


def _otherwise_in_training(known: Known, layer: nn.Module, parts: list[nn.Module], trial: _Trial) -> str:
    """Why a layer is another one in training, or "". A batch norm of another make may turn out to be frozen."""
    if isinstance(layer, (nn.SyncBatchNorm, GhostBatchNorm2d, BatchRenorm)):
        return ""  # the one needs several GPUs, the others' formulas are not those of a batch
    before = {name: values.clone() for name, values in layer.state_dict().items()}
    layer.train()
    try:
        output = _run(layer, trial.x)
    except Exception as error:  # such as that of a batch that cannot be split
        return f"in training it fails on a synthetic input ({type(error).__name__})"
    finally:
        layer.load_state_dict(before)
        layer.eval()
    tracks = known.kind in ("BN", "IN") and known.mean is not None
    trained = replace(known, mean=None, variance=None) if tracks else known
    for part in parts:
        part.train()
    same = any(_same(output, _chained(parts, e)) for e in _by_the_formulas(trained, replace(trial, output=output)))
    for part in parts:
        part.eval()
    return "" if same else "in training it computes something else than its normalization"


def _measured_eps(known: Known, layer: nn.Module, parts: list[nn.Module], trial: _Trial) -> float:
    """ε as seen on small inputs; what the layer says where it cannot be seen."""
    if isinstance(layer, BASES) or known.kind in ("DyT", "Derf"):
        return known.eps
    small = replace(trial, x=trial.x * SMALL)
    small.output = _run(layer, small.x)
    for eps in dict.fromkeys((known.eps, 1e-5, 1e-6, 1e-3, 1e-8, 1e-12)):
        if any(_same(small.output, _chained(parts, e)) for e in _by_the_formulas(replace(known, eps=eps), small)):
            return eps
    return known.eps


def _computes_in_float32(layer: nn.Module, trial: _Trial) -> bool:
    """Tell whether a layer rounds other inputs to float32, and turns its results back."""
    x = trial.x.double() * (1 + 1e-9)
    try:
        output, rounded = _run(layer, x), _run(layer, x.float().double())
    except Exception:  # it takes float32 alone, as plain layers do
        return False
    return isinstance(output, Tensor) and output.dtype == torch.float64 and torch.equal(output, rounded)


def _same(a: Tensor, b: Tensor | None) -> bool:
    if b is None or a.shape != b.shape:
        return False
    close = partial(torch.allclose, rtol=1e-3, atol=1e-4)
    return close(a[:1, :2], b[:1, :2]) and close(a, b)  # most do not need the whole


# The formulas


def _by_the_formulas(known: Known, trial: _Trial) -> Iterator[Tensor]:
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
