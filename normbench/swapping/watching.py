"""One forward pass of a network, watched: which normalization functions are called, by which layer, on what."""

import math
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from normbench.device import seeded
from normbench.swapping.evaluating import evaluating
from normbench.swapping.kinds import FUNCTIONS, WEIGHTED, is_of_another_make

SUMS = {torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__iadd__, Tensor.__radd__}


@dataclass
class Watched:
    """What was seen in one forward pass.

    Attributes:
        called: normalization functions by the path of the innermost layer that called them, with how often.
        by_hand: functions such as `var` that a normalization written by hand calls, likewise.
        shapes: the shape of each layer's first input, by path; the smallest one of several calls.
        examples: of normalizations of another make than PyTorch's, by path, what two images or so were turned into.
        ends: the paths of layers at the end of a residual branch: their output is a term of a sum of two, the one that
            went through more layers.
        sources: for each layer, by path, the layer whose output it was given unchanged.
        pooled: the paths of layers whose output goes straight into a mean over all positions.
        dropped: for each layer, by path, the layers whose dropout its input went through since the last batch norm.
    """

    called: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    by_hand: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    examples: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    ends: set[str] = field(default_factory=set)
    sources: dict[str, str] = field(default_factory=dict)
    pooled: set[str] = field(default_factory=set)
    dropped: dict[str, frozenset[str]] = field(default_factory=dict)


POOLINGS = {
    F.adaptive_avg_pool1d,
    F.adaptive_avg_pool2d,
    F.adaptive_avg_pool3d,
    F.avg_pool1d,
    F.avg_pool2d,
    F.avg_pool3d,
}
FEW = 2  # images of which is kept what a layer makes of them
MEANS = {torch.mean, Tensor.mean}
# Functions that hardly anything but a normalization calls: of the variance and of its root.
STATISTICS = {
    getattr(home, name): name
    for name in ("var", "std", "var_mean", "std_mean", "rsqrt")
    for home in (torch, Tensor)
    if hasattr(home, name)
}
DROPOUTS = {F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout, torch.dropout}


def _averages_positions(func: Any, args: Any, kwargs: Any, output: Any) -> bool:
    """Tell whether a function takes a mean over all positions of feature maps (N, C, …)."""
    x = args[0] if args else None
    if not isinstance(x, Tensor) or not isinstance(output, Tensor) or x.ndim < 3:
        return False
    if func in POOLINGS:
        return output.shape[:2] == x.shape[:2] and output.shape[2:].numel() == 1
    if func not in MEANS:
        return False
    dim = args[1] if len(args) > 1 else kwargs.get("dim", ())
    axes = {d % x.ndim for d in ((dim,) if isinstance(dim, int) else dim or ())}
    return axes == set(range(2, x.ndim))


def _drops(func: Any, args: Any, kwargs: Any) -> bool:
    """Tell whether a function drops numbers in training."""
    return func in DROPOUTS and (args[1] if len(args) > 1 else kwargs.get("p", 0.5)) > 0


def _version(x: Tensor) -> int:
    """How often a tensor was changed in place."""
    return 0 if x.is_inference() else x._version


def _tensors(values: Any) -> Iterator[Tensor]:
    """Yield the tensors among arguments or results."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from _tensors(value)


def _memory(values: Tensor) -> int:
    """The place of a tensor's numbers in memory."""
    return values.untyped_storage().data_ptr()


class _Watch(TorchFunctionMode):
    def __init__(self, seen: Watched, net: nn.Module):
        super().__init__()
        on_device = (v for v in net.parameters() if v.device.type != "meta" and not is_lazy(v))
        self.weights = {_memory(values) for values in on_device}
        self.layers = dict(net.named_modules())
        self.paths = {layer: path for path, layer in self.layers.items()}
        self.depth: Any = WeakTensorKeyDictionary()
        self.seen, self.stack, self.origin = seen, [""], dict[int, tuple[Tensor, str, int]]()
        self.dropped: Any = WeakTensorKeyDictionary()  # which keeps no activation alive

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in FUNCTIONS and not (args and self.is_of_weights(args[0])):
            self.seen.called[self.caller()][FUNCTIONS[func]] += 1
        elif func in STATISTICS and args and isinstance(args[0], Tensor) and not self.is_of_weights(args[0]):
            if not isinstance(self.layers[path := self.caller()], WEIGHTED):
                self.seen.by_hand[path][STATISTICS[func]] += 1
        elif func in SUMS and len(args) > 1:
            self._add(args[:2])
        source = self.origin_of(args[0]) if args else None  # before the function may change it
        output = func(*args, **kwargs)
        if source is not None and _averages_positions(func, args, kwargs, output):
            self.seen.pooled.add(source)
        self._follow_dropout(func, args, kwargs, output)
        if isinstance(output, Tensor) and (depth := max((self.depth_of(x) for x in _tensors(args)), default=0)):
            self.depth[output] = depth
        return output

    def caller(self) -> str:
        """The path of the layer whose code calls a function; also if its forward was called without its hooks."""
        frame = sys._getframe(2)
        while frame is not None:
            layer = frame.f_locals.get("self")
            if isinstance(layer, nn.Module) and layer in self.paths:
                return self.paths[layer]
            frame = frame.f_back  # type: ignore[assignment]
        return self.stack[-1]

    def is_of_weights(self, value: Any) -> bool:
        """Tell whether a tensor is a layer's weights: some standardize those by batch norm."""
        return isinstance(value, Tensor) and value.device.type != "meta" and _memory(value) in self.weights

    def depth_of(self, value: Any) -> int:
        """Through how many layers a tensor went."""
        return self.depth.get(value, 0) if isinstance(value, Tensor) else 0

    def _add(self, terms: Any) -> None:
        deepest = max(self.depth_of(term) for term in terms)
        for term in terms:
            if self.depth_of(term) == deepest and (path := self.origin_of(term)) is not None:
                self.seen.ends.add(path)

    def _follow_dropout(self, func: Any, args: Any, kwargs: Any, output: Any) -> None:
        through = {path for x in _tensors([*args, *kwargs.values()]) for path in self.dropped.get(x, ())}
        if _drops(func, args, kwargs):
            through.add(self.stack[-1])
        if FUNCTIONS.get(func) == "F.batch_norm":
            through.clear()  # later layers get what this one makes of it
        for y in _tensors(output):
            if through or y in self.dropped:
                self.dropped[y] = frozenset(through)

    def record(self, path: str, output: Tensor) -> None:
        """Remember the layer that a tensor comes from."""
        self.origin[id(output)] = (output, path, _version(output))

    def origin_of(self, value: Any) -> str | None:
        """The path of the layer whose output this very tensor is, unchanged since."""
        kept = self.origin.get(id(value))
        return kept[1] if kept is not None and kept[0] is value and kept[2] == _version(value) else None


def first_tensor(values: Any) -> Tensor | None:
    """The first tensor among a layer's inputs or outputs."""
    if isinstance(values, Tensor):
        return values
    if isinstance(values, (tuple, list)):
        return next((found for value in values if (found := first_tensor(value)) is not None), None)
    return None


@contextmanager
def _hooked(net: nn.Module, watch: _Watch) -> Iterator[None]:
    of_another_make = {path for path, layer in net.named_modules() if is_of_another_make(layer)}

    def enter(path: str) -> Any:
        def hook(layer: nn.Module, inputs: Any) -> None:
            watch.stack.append(path)
            if (x := first_tensor(inputs)) is not None:
                before = watch.seen.shapes.get(path)
                if before is None or math.prod(x.shape[1:]) < math.prod(before[1:]):
                    watch.seen.shapes[path] = tuple(x.shape)
                inputs_at[path] = (x, _version(x))
                if path in of_another_make and path not in watch.seen.examples:
                    given[path] = x[:FEW].clone()
                if (source := watch.origin_of(x)) is not None:
                    watch.seen.sources[path] = source
                if through := watch.dropped.get(x):
                    watch.seen.dropped[path] = through

        return hook

    def leave(path: str) -> Any:
        def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
            watch.stack.pop()
            y, (x, version) = first_tensor(output), inputs_at.pop(path, (None, 0))
            if path in given and isinstance(output, Tensor):
                watch.seen.examples[path] = (given.pop(path), output[:FEW].clone())
            if y is None or (y is x and _version(y) == version):
                return  # it did nothing, as dropout in evaluation mode
            if watch.origin_of(y) is not None and any(True for _ in layer.children()):
                return  # a part of it did that
            watch.record(path, y)
            watch.depth[y] = max(watch.depth_of(y), watch.depth_of(x)) + 1

        return hook

    inputs_at: dict[str, tuple[Tensor | None, int]] = {}
    given: dict[str, Tensor] = {}
    handles = []
    for path, layer in net.named_modules():
        if not path:
            continue
        try:
            handles += [layer.register_forward_pre_hook(enter(path)), layer.register_forward_hook(leave(path))]
        except RuntimeError:  # a scripted layer takes no hooks
            continue
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def watch(net: nn.Module, *inputs: Tensor) -> Watched:
    """Run `net` once on the inputs, in evaluation mode and without gradients, and return what was seen.

    Its state and modes are left as they are, and so are the inputs. Raises what the network raises.
    """
    watcher = _Watch(Watched(), net)
    given = [x.clone() for x in inputs]
    with evaluating(net), seeded(0), _hooked(net, watcher), watcher:
        net(*given)
    return watcher.seen
