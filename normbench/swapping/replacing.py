"""One normalization layer replaced by another: what the new one takes over from the old, and from its place."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize, prune

from normbench.layers import (
    NORMALIZATIONS,
    STANDARDIZING,
    Affine,
    BatchRenorm,
    ChannelsByAxes,
    ChannelsLast,
    Copied,
    FrozenBatchNorm,
    GhostBatchNorm2d,
    InFloat32,
    Place,
    Spec,
    make,
    parse,
)
from normbench.swapping.copying import copied
from normbench.swapping.kinds import Known
from normbench.swapping.places import Places
from normbench.swapping.recognition import is_of_torch
from normbench.words import reason

Make = Callable[[int], nn.Module]
HOOKS = (
    *("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
    *("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_backward_hooks", "_backward_pre_hooks"),
)


def standardizing(convolution: nn.Module) -> nn.Module:
    """Return a convolution with the same weights that uses them standardized."""
    new = copy.copy(convolution)
    new.__class__ = STANDARDIZING[type(convolution)]
    return new


def replacement(path: str, norm: str | Make, places: Places, anew: bool = False) -> nn.Module:
    """Make what stands in the place of a layer after a swap; the layer itself if it is that already, unless `anew`.

    Raises ValueError, which names the layer, if it cannot be made.
    """
    layer, known, place = places.layers[path], places.known[path], places.place(path)
    if not anew and not callable(norm) and is_that_already(layer, known, parse(norm), place):
        return layer
    weight, bias = as_parameter(known.weight), as_parameter(known.bias)
    if places.pretrained:
        weight = nn.Parameter(torch.ones(known.channels)) if weight is None else weight
        bias = nn.Parameter(torch.zeros(known.channels)) if bias is None else bias
    try:
        if callable(norm):
            new = _of_a_user(norm, path, places, weight, bias)
        else:
            if parse(norm).name == "none":
                new = _without(path, place, weight, bias, places)
            else:
                new = _of_the_table(layer, known, norm, place, weight, bias)
            _place_on(new, known, places)
    except ValueError as error:
        raise ValueError(f"layer {path!r}: {error}" if path else str(error)) from error
    new = _wrapped(new, known, place).train(layer.training)
    for hooks in HOOKS:
        some = {key: hook for key, hook in getattr(layer, hooks).items() if not is_of_torch(hook)}
        getattr(new, hooks).update(some)
    new._is_full_backward_hook = layer._is_full_backward_hook
    return new


def is_that_already(layer: nn.Module, known: Known, spec: Spec, place: Place) -> bool:
    """Tell whether a layer is what a norm asks for."""
    if isinstance(layer, nn.SyncBatchNorm):
        return False  # it works on GPUs alone
    if spec.name == "LN" and known.kind == "LN_C" and place.last:
        return place.axes is not None and place.axes <= 3  # layer norm of tokens
    if spec.name == "GN":
        return known.kind == "GN" if spec.number is None else known.groups == spec.number
    return known.kind == (spec.name if spec.number is None else f"{spec.name}:{spec.number}")


def _wrapped(new: nn.Module, known: Known, place: Place) -> nn.Module:
    if known.last is None and place.axes is None:
        new = ChannelsByAxes(new, sorted(known.last_axes))
    if known.in_float32 and not isinstance(new, (nn.Identity, Copied)):
        new = InFloat32(new)
    return nn.Sequential(new, *known.after) if known.after else new


def _of_the_table(
    layer: nn.Module, known: Known, norm: str, place: Place, weight: nn.Parameter | None, bias: nn.Parameter | None
) -> nn.Module:
    new = make(norm, place)
    inner = inside(new)
    if hasattr(inner, "eps"):
        inner.eps = known.eps
    by_element = NORMALIZATIONS[parse(norm).name].needs_size
    for part, values in (("weight", weight), ("bias", bias)):
        if hasattr(inner, part):
            setattr(inner, part, _of_elements(values, place.size) if by_element else values)
    if hasattr(inner, "running_mean") and _is_batch_norm(known.kind):
        _keep_averages(inner, layer, known)
    for part, values in (("weight", weight), ("bias", bias)):
        mask = getattr(layer, f"{part}_mask", None)  # of pruning
        if mask is not None and getattr(inner, part, None) is not None and mask.shape == getattr(inner, part).shape:
            prune.custom_from_mask(inner, part, mask)
        if values is not None and getattr(inner, part, None) is values and parametrize.is_parametrized(layer, part):
            parametrize.transfer_parametrizations_and_params(layer, inner, part)
    return new


def _is_batch_norm(kind: str) -> bool:
    return kind in ("BN", "BRN", "FrozenBN") or kind.startswith("BN:")


def _keep_averages(new: Any, layer: nn.Module, known: Known) -> None:
    """Hand on the running averages of one kind of batch norm to another, or that there are none."""
    new.momentum = getattr(layer, "momentum", new.momentum)
    if known.mean is None and not isinstance(new, (BatchRenorm, FrozenBatchNorm, GhostBatchNorm2d)):
        new.track_running_stats = False
        new.running_mean = new.running_var = new.num_batches_tracked = None
        return
    tracked = getattr(layer, "num_batches_tracked", None)
    averages = {"running_mean": known.mean, "running_var": known.variance, "num_batches_tracked": tracked}
    for name, values in averages.items():
        if values is not None and getattr(new, name, None) is not None:
            setattr(new, name, values.detach().clone().reshape(getattr(new, name).shape))


def _place_on(new: nn.Module, known: Known, places: Places) -> Tensor:
    """Move a new layer to the device, and give it the dtype, of the old one; or of the network if that has none.

    Return a tensor with both.
    """
    candidates = (known.weight, known.bias, known.mean, *places.net.parameters(), *places.net.buffers())
    like = next((t for t in candidates if t is not None and t.is_floating_point() and not is_lazy(t)), torch.empty(0))
    new.to(like.device, like.dtype)
    return like


def inside(new: nn.Module) -> Any:
    """The normalization itself of a layer made for a place."""
    return new.norm if isinstance(new, (ChannelsLast, ChannelsByAxes, InFloat32)) else new


def _of_a_user(
    norm: Make, path: str, places: Places, weight: nn.Parameter | None, bias: nn.Parameter | None
) -> nn.Module:
    place = places.place(path)
    try:
        new = norm(place.channels)
    except Exception as error:
        raise ValueError(f"your layer cannot be made for {place.channels} channels: {error}") from error
    if not isinstance(new, nn.Module):
        raise ValueError(f"your function must return a torch.nn.Module, but it returned {type(new).__name__}")
    like = _place_on(new, places.known[path], places)
    for part, values in (("weight", weight), ("bias", bias)):
        own = getattr(new, part, None)
        if isinstance(own, nn.Parameter) and values is not None and own.shape == values.shape:
            setattr(new, part, values)
    if reason := _fails(new.train(places.layers[path].training), places.inputs_of(path), like):
        hint = "" if places.seen is not None else "; if it needs another size, give an example, a batch of inputs"
        raise ValueError(f"your layer {reason}{hint}")
    return ChannelsLast(new) if place.last else new


def _fails(new: nn.Module, shapes: list[tuple[int, ...]], like: Tensor) -> str:
    """Tell what is wrong with a user's layer, of which a copy is tried on inputs (N, C, …), or "".

    It must take an input of one of the shapes, of the dtype and on the device of `like`, and keep shape and dtype.
    """
    failure = ""
    for shape in shapes if like.device.type != "meta" else ():
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(like.device, like.dtype)
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                y = copied(new)(x.clone())
        except Exception as error:  # a layer of a user's own can raise anything
            failure = failure or f"fails on an input {shape}: {reason(error)}"
            continue
        if isinstance(y, Tensor) and y.shape == x.shape and y.dtype == x.dtype:
            return ""
        made = f"{tuple(y.shape)} of {y.dtype}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
        return f"must keep the shape and dtype of its input, {shape} of {x.dtype}; it returns {made}"
    return failure


def _without(
    path: str, place: Place, weight: nn.Parameter | None, bias: nn.Parameter | None, places: Places
) -> nn.Module:
    """What "none" leaves: β, and where a forward pass showed the place a scale; of a pretrained network γ and β.

    The scale is 0 at the end of a residual branch, which so starts as nothing (Bachlechner et al. 2021).
    """
    if places.pretrained:
        return Affine(weight, bias, place.last)
    kept = None if bias is None or (places.has_bias_before(path) and not _is_any(bias)) else bias
    scale = None
    if weight is not None and weight.device.type != "meta" and not _is_any(weight):
        scale = weight  # the branch starts at 0, as it is meant to
    elif places.was_run(path):
        gamma = torch.ones(1) if weight is None else weight.detach()
        scale = nn.Parameter(gamma.mean().view(1) * (0 if places.ends_a_branch(path) else 1))
    if kept is None and scale is None:
        return Copied() if places.may_be_overwritten() else nn.Identity()
    return Affine(scale, kept, place.last)


def _is_any(values: Tensor) -> bool:
    """Tell whether any of the numbers is not 0; they are taken for 0 where there are none, on the device "meta"."""
    return values.device.type != "meta" and bool(values.detach().any())


def as_parameter(values: Tensor | None) -> nn.Parameter | None:
    """γ or β with a number per channel, from (C,), (C, 1, 1) or (C, H, W); a buffer becomes a parameter."""
    if values is None:
        return None
    if isinstance(values, nn.Parameter) and values.ndim == 1:
        return values
    flat = values.detach().clone()
    if flat.ndim > 1:
        flat = flat.flatten() if flat.numel() == max(flat.shape) else flat.flatten(1).mean(dim=1)
    return nn.Parameter(flat, requires_grad=not isinstance(values, nn.Parameter) or values.requires_grad)


def _of_elements(weights: nn.Parameter | None, size: tuple[int, ...] | None) -> nn.Parameter | None:
    """γ or β with a number per element, (C, H, W), from (C,)."""
    if weights is None or size is None:
        return weights
    spread = weights.detach().view(-1, *[1] * len(size)).repeat(1, *size)
    return nn.Parameter(spread, requires_grad=weights.requires_grad)
