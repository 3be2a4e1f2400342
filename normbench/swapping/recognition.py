"""Which normalization a layer of a network is, and whether it is no more than that: found by trying it.

Plain layers of PyTorch are known by their type. Derived layers and those of another make are run on synthetic inputs
and held against the formulas; a layer that computes something else is refused with the reason.
"""

import copy
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from normbench.layers import BatchRenorm, GhostBatchNorm2d
from normbench.swapping.copying import copied
from normbench.swapping.kinds import BASES, PLAIN, Known, could_be_a_norm, looks_like_a_norm, plain
from normbench.swapping.roles import Names, sources_of
from normbench.swapping.trials import Trial, by_the_formulas, chained, run, same, trials_of

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


def recognize(layer: nn.Module) -> Known | str | None:
    """Tell what normalization a layer is; or, of one that cannot be replaced, why; or None for no normalization.

    The layer itself is left as it is. Lazy layers that have not seen an input are a reason.
    """
    if isinstance(layer, torch.jit.ScriptModule):
        return "it is scripted" if looks_like_a_norm(layer) else None
    if type(layer) in PLAIN and "forward" not in vars(layer):
        return plain(layer)
    if looks_like_a_norm(layer):
        return _tried(layer)
    found = _tried(layer) if could_be_a_norm(layer) else None
    return found if isinstance(found, Known) else None


@torch.no_grad()
def _tried(layer: nn.Module) -> Known | str:
    """Hold a layer against the formulas, on inputs of each number of axes."""
    if any(is_lazy(values) for values in (*layer.parameters(), *layer.buffers())):
        return "it is lazy, and has no shape yet; call the network once before the swap"
    if type(layer).__call__ is not nn.Module.__call__:
        return "its __call__ is of its own"
    if extra := _asks_for_more(layer):
        return f"its forward takes more than the input: {extra}"
    try:
        tried = randomized(copied(layer)).eval()
    except Exception as error:  # a layer of a user's own can raise anything
        return f"it cannot be copied ({type(error).__name__})"
    sources = list(sources_of(tried))
    if not sources:
        return "its kind is not known"
    trials = list(trials_of(tried, sources[0][0].channels))
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


def _settled(
    layer: nn.Module, tried: nn.Module, known: Known, names: Names, found: list[Trial], parts: list[nn.Module]
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


def _follows(known: Known, layer: nn.Module, trial: Trial) -> list[nn.Module] | None:
    """The layers that make the output of the layer from that of the formula, [] for none; None if nothing does."""
    output = trial.output
    children = list(layer.children())
    for expected in by_the_formulas(known, trial):
        if output.shape != expected.shape or output.dtype != expected.dtype:
            continue
        if children and same(output, chained(children, expected)):
            return children
        if same(output, expected):
            return []
        some, some_expected = output[:1, :2], expected[:1, :2]  # enough to tell most activations apart
        for activation in (*(make() for make in ACTIVATIONS), *_leaky(expected, output)):
            if same(some, activation(some_expected)) and same(output, activation(expected)):
                return [activation]
    return None


def _leaky(x: Tensor, y: Tensor) -> list[nn.Module]:
    """The leaky ReLU that may have made y from x."""
    below = x < -0.01
    slope = float((y[below] / x[below]).median()) if below.any() else 0.0
    return [nn.LeakyReLU(round(slope, 4))] if 0 < slope < 1 else []


@torch.no_grad()
def explains(known: Known, x: Tensor, y: Tensor) -> bool:
    """Tell whether a layer is what it was taken for also in its network, where it turned x into y in evaluation."""
    of_the_batch = known.mean is None and known.kind.startswith("BN")
    if of_the_batch or y.dtype not in (torch.float32, torch.float64) or y.device.type == "meta":
        return True  # cannot be told from some of the images; would be rounded; has no numbers
    last = known.last if known.last is not None else x.ndim in known.last_axes
    after = [copied(part).eval() for part in known.after]
    made = (chained(after, expected) for expected in by_the_formulas(known, Trial(x, last, y)))
    return any(
        z is not None and z.shape == y.shape and bool((z - y).abs().max() <= 0.01 * z.abs().max() + 1e-4) for z in made
    )


def _otherwise_in_training(known: Known, layer: nn.Module, parts: list[nn.Module], trial: Trial) -> str:
    """Why a layer is another one in training, or "". A batch norm of another make may turn out to be frozen."""
    if isinstance(layer, (nn.SyncBatchNorm, GhostBatchNorm2d, BatchRenorm)):
        return ""  # the one needs several GPUs, the others' formulas are not those of a batch
    before = {name: values.clone() for name, values in layer.state_dict().items()}
    layer.train()
    try:
        output = run(layer, trial.x)
    except Exception as error:  # such as that of a batch that cannot be split
        return f"in training it fails on a synthetic input ({type(error).__name__})"
    finally:
        layer.load_state_dict(before)
        layer.eval()
    tracks = known.kind in ("BN", "IN") and known.mean is not None
    trained = replace(known, mean=None, variance=None) if tracks else known
    for part in parts:
        part.train()
    agrees = any(same(output, chained(parts, e)) for e in by_the_formulas(trained, replace(trial, output=output)))
    for part in parts:
        part.eval()
    return "" if agrees else "in training it computes something else than its normalization"


def _measured_eps(known: Known, layer: nn.Module, parts: list[nn.Module], trial: Trial) -> float:
    """ε as seen on small inputs; what the layer says where it cannot be seen."""
    if isinstance(layer, BASES) or known.kind in ("DyT", "Derf"):
        return known.eps
    small = replace(trial, x=trial.x * SMALL)
    small.output = run(layer, small.x)
    for eps in dict.fromkeys((known.eps, 1e-5, 1e-6, 1e-3, 1e-8, 1e-12)):
        if any(same(small.output, chained(parts, e)) for e in by_the_formulas(replace(known, eps=eps), small)):
            return eps
    return known.eps


def _computes_in_float32(layer: nn.Module, trial: Trial) -> bool:
    """Tell whether a layer rounds other inputs to float32, and turns its results back."""
    x = trial.x.double() * (1 + 1e-9)
    try:
        output, rounded = run(layer, x), run(layer, x.float().double())
    except Exception:  # it takes float32 alone, as plain layers do
        return False
    return isinstance(output, Tensor) and output.dtype == torch.float64 and torch.equal(output, rounded)
