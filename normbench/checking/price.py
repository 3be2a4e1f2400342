"""What each normalization would cost in a network: time of a training step and of inference, and memory.

The network itself is measured once. The layers of each arm are measured alone, at the shapes that they get in this
network, each distinct one once; the differences to the network's own layers are added.
"""

import copy
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from normbench.checking.measuring import backward, copies, forward, least_time, saved, storage_of, synchronized
from normbench.device import device_name
from normbench.layers import OWN, STANDARDIZING, Affine
from normbench.swapping import Known, Make, Watched, recognized, replacements
from normbench.words import reason

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYER_BUDGET = 0.01  # seconds for each layer alone
FOLDED = ("BN", "BRN", "FrozenBN")  # ghost batch norm, too: "BN:16"


@dataclass(frozen=True)
class Cost:
    """What the network costs with one normalization.

    Attributes:
        arm: its name.
        step: seconds of a training step: forward and backward; None if it cannot be measured.
        inference: seconds of a forward pass in evaluation mode, batch norm folded into the convolutions before it.
        kept: bytes that are kept for the backward pass.
        peak: bytes of a GPU's memory that a training step takes at most; None on a CPU.
        failure: why the network cannot be used with this normalization; "" if it can.
    """

    arm: str
    step: float | None = None
    inference: float | None = None
    kept: int | None = None
    peak: int | None = None
    failure: str = ""


@dataclass(frozen=True)
class Price:
    """What each arm costs, the network as it is first, and how that was measured."""

    costs: tuple[Cost, ...]
    note: str


@dataclass
class _Change:
    """What a layer costs alone, or the difference of two layers.

    Attributes:
        step: seconds of its forward and backward pass.
        inference: seconds of its forward pass in evaluation mode.
        kept: bytes that it keeps for the backward pass, besides its input and its parameters.
        of_input: bytes of its input, if it keeps that.
    """

    step: float = 0.0
    inference: float = 0.0
    kept: int = 0
    of_input: int = 0


@dataclass
class _Step:
    """A training step of the network: see `Cost`; and the layers whose input is kept by others, too."""

    seconds: float | None = None
    kept: int | None = None
    peak: int | None = None
    shared: set[str] = field(default_factory=set)
    failure: str = ""


def price(net: nn.Module, inputs: tuple[Tensor, ...], seen: Watched, arms: Mapping[str, str | Make]) -> Price:
    """Measure what each arm costs in `net`. Its state is changed: give a copy.

    Args:
        net: the network.
        inputs: a batch, as the network takes it.
        seen: what was seen in a forward pass.
        arms: norms as `swap` takes them, by the name of the arm.
    """
    found = {path: known for path, known in recognized(net, seen).items() if isinstance(known, Known)}
    called = {path: known for path, known in found.items() if path in seen.shapes}
    foldable = {
        path for path in called if isinstance(_before(net, seen, path), (*CONVOLUTIONS, *TRANSPOSED, nn.Linear))
    }
    step = _step(net, inputs, list(called))
    layers = _Layers(net, seen, called, foldable, step.shared, inputs[0].device)
    changes: dict[str, _Change] = {}
    failures: dict[str, str] = {}
    for arm, norm in arms.items():
        try:
            if not found:
                raise ValueError("the network has no normalization layer that could be replaced")
            changes[arm] = layers.change(replacements(net, norm, seen, found))
        except Exception as error:  # a layer of a user's own can raise anything
            failures[arm] = reason(error).rstrip(".")
    folded = [path for path in foldable if _fold(_before(net, seen, path), net.get_submodule(path), called[path])]
    inference = least_time(lambda: forward(net.eval(), *copies(inputs)), inputs[0].device, 0.2)
    costs = [Cost(OWN, step.seconds, inference, step.kept, step.peak)]
    for arm in arms:
        if arm in failures:
            costs.append(Cost(arm, failure=failures[arm]))
        else:
            costs.append(_with(costs[0], arm, changes[arm]))
    return Price(tuple(costs), _note(inputs[0].device, len(folded), step.failure))


def _with(own: Cost, arm: str, change: _Change) -> Cost:
    return Cost(
        arm,
        _estimate(own.step, change.step),
        _estimate(own.inference, change.inference),
        None if own.kept is None else max(0, own.kept + change.kept),
        None if own.peak is None else max(0, own.peak + change.kept),
    )


def _estimate(whole: float | None, change: float) -> float | None:
    """Add a change to the whole; None if that takes away nearly all, which only a busy machine makes it seem to do."""
    return whole + change if whole is not None and whole + change > 0.2 * whole else None


def _note(device: torch.device, folded: int, failure: str) -> str:
    of_batch_norm = f"; {folded} of the network's own are folded" if folded else ""
    lines = (
        f"Measured on {device_name(device)}. The network itself is measured as a whole; of the other arms their layers "
        "alone, at the shapes that they get here, and the differences are added. So differences of a few percent say "
        "nothing. A training step is a forward and a backward pass, without the optimizer. At inference batch norm "
        f"(and the scale and shift that none keeps) is folded into the layer straight before it{of_batch_norm}. Kept "
        "is what stays in memory between the forward and the backward pass, without the weights. A dash: the machine "
        "was too busy to tell."
    )
    return lines + (f" The network cannot be trained on this example: {failure}." if failure else "")


def _before(net: nn.Module, seen: Watched, path: str) -> nn.Module | None:
    """The layer whose output the layer of this path gets unchanged."""
    source = seen.sources.get(path)
    return None if source is None else net.get_submodule(source)


# The network


def _step(net: nn.Module, inputs: tuple[Tensor, ...], paths: list[str]) -> _Step:
    """Measure training steps of the network; the first one, which may be slow, shows what is kept."""
    net.train()
    device = inputs[0].device
    cuda = device.type == "cuda"
    try:
        begun = synchronized(device)
        kept, shared = _kept(net, inputs, paths)
        first = synchronized(device) - begun
        if cuda:
            torch.cuda.reset_peak_memory_stats(device)
        budget = 0.7 if first < 0.7 else 0.1  # of a large network one more step is enough
        seconds = min(first, least_time(lambda: backward(net(*copies(inputs))), device, budget))
    except (Exception, SystemExit) as error:  # batch norm over one number, a detector that needs targets
        return _Step(failure=reason(error).rstrip("."))
    return _Step(seconds, kept, torch.cuda.max_memory_allocated(device) if cuda else None, shared)


def _kept(net: nn.Module, inputs: tuple[Tensor, ...], paths: list[str]) -> tuple[int, set[str]]:
    """Return the bytes that a training step keeps, and the paths whose input is kept outside of the layer, too."""
    stack, given = [""], copies(inputs)
    given_at: dict[str, int] = {}
    holders: dict[int, set[str]] = {}

    def enter(path: str) -> Callable[[nn.Module, Any], None]:
        def hook(layer: nn.Module, arguments: Any) -> None:
            stack.append(path)
            if arguments and isinstance(arguments[0], Tensor):
                given_at[path] = storage_of(arguments[0])[0]

        return hook

    handles = []
    for path in paths:
        layer = net.get_submodule(path)
        handles.append(layer.register_forward_pre_hook(enter(path)))
        handles.append(layer.register_forward_hook(lambda *_: stack.pop() and None))
    try:
        with saved(net) as sizes:
            sizes.on_pack = lambda key: holders.setdefault(key, set()).add(stack[-1])
            backward(net(*given))
    finally:
        for handle in handles:
            handle.remove()
    shared = {path for path, key in given_at.items() if holders.get(key, set()) - {path}}
    return sum(sizes.values()), shared


def _fold(before: Any, layer: Any, known: Known) -> bool:
    """Fold batch norm into the layer before it, as deployment does; tell whether that was possible."""
    if not _is_foldable(known.kind) or known.mean is None:
        return False
    with suppress(Exception):  # weights that are computed; the time is the same with others
        fused: nn.Module
        if isinstance(before, nn.Linear):
            fused = fuse_linear_bn_eval(before.eval(), layer.eval())
        else:
            fused = fuse_conv_bn_eval(before.eval(), layer.eval(), isinstance(before, TRANSPOSED))
        before.weight, before.bias = fused.weight, fused.bias
    after = nn.Sequential(*known.after).eval()
    layer.forward = lambda x, *_: after(x)
    return True


def _is_foldable(kind: str) -> bool:
    return kind in FOLDED or kind.startswith("BN:")


# The layers


class _Layers:
    """The layers of the arms, measured alone; each distinct one at each distinct shape once."""

    def __init__(
        self,
        net: nn.Module,
        seen: Watched,
        known: Mapping[str, Known],
        foldable: set[str],
        shared: set[str],
        device: torch.device,
    ) -> None:
        self.net, self.seen, self.known, self.foldable = net, seen, known, foldable
        self.shared, self.device = shared, device
        self.measured: dict[object, _Change] = {}

    def change(self, new: Mapping[str, nn.Module]) -> _Change:
        """Return what changes with new layers, by path, in the place of the network's own."""
        total = _Change()
        for path, layer in new.items():
            old = self.net.get_submodule(path)
            if layer is old or path not in self.seen.shapes:
                continue
            if isinstance(layer, tuple(STANDARDIZING.values())):
                cost = self._cost(path, _Standardizing(layer))
                empty = self._cost(path, nn.Identity())
                total.step += cost.step - empty.step  # for inference the weights are standardized once
                total.kept += cost.kept
                continue
            before, after = self._at(path, old, is_old=True), self._at(path, layer)
            total.step += after.step - before.step
            total.inference += after.inference - before.inference
            total.kept += after.kept - before.kept
            if path not in self.shared:
                total.kept += after.of_input - before.of_input
        return total

    def _at(self, path: str, layer: nn.Module, is_old: bool = False) -> _Change:
        """Return the cost of a layer at its place; folded, it takes no time at inference but for what follows it."""
        cost = self._cost(path, layer, is_old)
        if path not in self.foldable:
            return cost
        parts = list(layer) if isinstance(layer, nn.Sequential) and len(layer) else [layer]
        if not (_is_foldable(self.known[path].kind) if is_old else isinstance(parts[0], (_BatchNorm, Affine))):
            return cost
        after = self.known[path].after  # the same in every arm
        return replace(cost, inference=self._cost(path, nn.Sequential(*after), is_old).inference if after else 0.0)

    def _cost(self, path: str, layer: nn.Module, is_old: bool = False) -> _Change:
        """Measure a layer alone. One of the network's own that cannot be trained costs nothing in training."""
        shape = self.seen.shapes[path]
        weights = tuple((name, values.shape, values.requires_grad) for name, values in layer.named_parameters())
        key = (type(layer), repr(layer), weights, shape)
        if key not in self.measured:
            like = next((p for p in self.net.parameters() if p.is_floating_point()), torch.empty(0))
            one = torch.randn(1, *shape[1:], device=self.device, dtype=like.dtype)  # slow to make for all
            leaf = one.expand(shape).clone().requires_grad_()
            cost = _Change()
            try:
                cost = _training(layer.train(), leaf)
            except Exception:
                if not is_old:
                    raise
            layer.eval()
            cost.inference = least_time(lambda: forward(layer, leaf), self.device, LAYER_BUDGET)
            self.measured[key] = cost
        return self.measured[key]


def _training(layer: nn.Module, leaf: Tensor) -> _Change:
    """Measure a layer's forward and backward pass."""
    wanted = [leaf, *(p for p in layer.parameters() if p.requires_grad)]

    def forward() -> Tensor:
        return layer(leaf.clone())  # a copy, because an activation may work in place

    with saved(layer) as sizes:
        x = leaf.clone()
        y = layer(x)
    of_input = sizes.pop(storage_of(x)[0], 0)
    gradient = torch.ones_like(y)
    torch.autograd.grad(y, wanted, gradient, allow_unused=True)  # the first time is slow
    seconds = least_time(
        lambda: torch.autograd.grad(forward(), wanted, gradient, allow_unused=True), leaf.device, LAYER_BUDGET
    )
    return _Change(seconds, kept=sum(sizes.values()), of_input=of_input)


class _Standardizing(nn.Module):
    """A standardized convolution without the convolution: its weights are standardized, and that is all."""

    def __init__(self, conv: nn.Module):
        super().__init__()
        self.conv = copy.copy(conv)
        vars(self.conv)["_conv_forward"] = lambda x, weight, bias: weight

    def forward(self, x: Tensor) -> Tensor:
        """x → the weights."""
        return self.conv(x)
