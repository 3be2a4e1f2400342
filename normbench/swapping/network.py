"""A whole network: its normalization layers found and replaced, and a report of what was done and what was left."""

import warnings
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn.parameter import is_lazy

from normbench.layers import NORMALIZATIONS, OWN, ChannelsByAxes, ChannelsLast, InFloat32, parse
from normbench.swapping.copying import copied, out_of_reach, replace_layers
from normbench.swapping.following import follow
from normbench.swapping.kinds import Known, asked_for, functions_called
from normbench.swapping.places import Places
from normbench.swapping.recognition import explains, recognize
from normbench.swapping.replacing import Make, replacement, standardizing
from normbench.swapping.starting import scale_by_first_batch
from normbench.swapping.watching import Watched, watch
from normbench.words import reason

Example = Tensor | tuple[Tensor, ...]


@dataclass
class Report:
    """What a swap did.

    Attributes:
        replaced: by the path of each replaced layer, what stood there and what stands there now.
        kept: by path, layers that are already what was asked for.
        left: by path, layers and calls that look like a normalization and were left, with the reason.
        explained: by path, how much of the variance of a pretrained layer's outputs the new one explains, at most 1.
    """

    replaced: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    explained: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{path or 'the network'}: {what}{self._fit(path)}" for path, what in self.replaced.items()]
        lines += [f"{path or 'the network'}: {what} stays, it is that already" for path, what in self.kept.items()]
        lines += [f"{path or 'the network'}: left, {why}" for path, why in self.left.items()]
        return "\n".join(lines)

    def _fit(self, path: str) -> str:
        return f", follows it to {100 * self.explained[path]:.1f} %" if path in self.explained else ""


def normalizations(net: nn.Module) -> dict[str, nn.Module]:
    """Find every normalization layer of `net` that `swap` can replace, by its path.

    A layer that stands in several places has its first path.
    """
    return {path: layer for path, layer in net.named_modules() if isinstance(recognize(layer), Known)}


def unknown(net: nn.Module) -> dict[str, str]:
    """Find the layers, by their path, that look like a normalization and that `swap` leaves; class and reason of each.

    Those are among them whose code calls a normalization as a function.
    """
    return _left(net, recognized(net, None)) | _calling(net)


def _left(net: nn.Module, found_at: dict[str, Known | str]) -> dict[str, str]:
    layers = dict(net.named_modules())
    return {path: f"{_class(layers[path])}, for {why}" for path, why in found_at.items() if isinstance(why, str)}


def _class(layer: nn.Module) -> str:
    return str(getattr(layer, "original_name", type(layer).__name__))  # the one before it was scripted


def _calling(net: nn.Module) -> dict[str, str]:
    calling: dict[str, str] = {}
    for path, layer in net.named_modules():
        kind: Any = type(layer)  # mypy takes no class for hashable
        if recognize(layer) is not None:
            continue
        if functions := functions_called(layer):
            calling[path] = f"{_class(layer)}, for its code calls {', '.join(functions)}, which no swap reaches"
        elif classes := asked_for(kind):
            calling[path] = f"{_class(layer)}, for its forward asks for {', '.join(classes)}, or makes such layers"
    return calling


def swap(
    net: nn.Module,
    norm: str | Make,
    example: Example | None = None,
    *,
    pretrained: bool = False,
    verbose: bool = False,
) -> nn.Module:
    """Copy `net`, with each of its normalization layers replaced.

    γ and β, eps, device, dtype and mode (training or evaluation) are kept; a layer without γ or β is replaced by one
    without. A layer that already is what is asked for stays as it is, with its groups or running averages: batch norm
    for "BN", group norm for "GN", layer norm of tokens for "LN". A layer norm with a weight per element of its feature
    maps hands on their means over each channel. What a derived layer does after its normalization, such as the
    activation of timm's BatchNormAct2d, follows the new layer. A layer that stands in several places stays one layer.

    "none" keeps β, unless β is 0 and the convolution or linear layer before has a bias of its own. It also keeps a γ
    that is 0. With an example each other layer leaves a trained scale, one number: it starts at 0 at the end of a
    residual branch, elsewhere at 1/σ of what the example gives there.

    Args:
        net: the network, which is left as it is.
        norm: what replaces them: BN, GN, LN, IN, LN_C, LN_CHW, RMS, DyT, Derf, BRN, FrozenBN, none; "GN:8" for eight
            groups, without a number each layer gets as many as fit; "BN:16" for ghost batch norm; "WS+GN" to
            standardize the weights of the convolution before each layer, too; "own" for the network as it is. Or a
            function that makes a layer of your own for feature maps (N, C, …) from the number of channels C.
        example: a batch of inputs, or a tuple of them for a network that takes several. With it the network is run,
            which shows shapes that a layer alone does not: needed by "LN_CHW"; for the others it makes groups fit
            small feature maps, gives "none" its scales, and finds normalizations that are called as functions, which no
            swap can replace.
        pretrained: whether the weights are trained. Then each new layer gets the γ and β with which it comes nearest to
            the old one on the example, of batch norm to what it computes from its running averages; "none" computes
            the same. Take a few dozen training inputs as the example.
        verbose: whether to print what was replaced, kept and left.

    Warns of what looks like a normalization and was left. Raises ValueError for an unknown norm; if `net` has no
    normalization layer that can be replaced; for groups that do not divide a layer's channels; for a layer of your own
    that cannot be made, fails, or changes the shape or dtype of what it gets; and if the network cannot be copied, or
    not be run on the example, before or after the swap.
    """
    new, report = swapped(net, norm, example, pretrained)
    if verbose:
        print(report)
    if report.left:
        some = "; ".join(f"{path or 'the network'}: {why}" for path, why in list(report.left.items())[:3])
        more = f"; and {len(report.left) - 3} more" if len(report.left) > 3 else ""
        warnings.warn(f"left as they are: {some}{more}", stacklevel=2)
    return new


def swapped(
    net: nn.Module, norm: str | Make, example: Example | None = None, pretrained: bool = False
) -> tuple[nn.Module, Report]:
    """`swap` without its warning; returns the new network and what was done."""
    _check(norm, example)
    if pretrained and example is None:
        raise ValueError("pretrained needs an example, a batch of inputs, on which new layers follow the old ones")
    new_net, report = copied(net), Report()
    if norm == OWN:
        return new_net, report
    seen = _seen(new_net, example)
    found_at = recognized(new_net, seen)
    report.left = _left(new_net, found_at)
    known = {path: found for path, found in found_at.items() if isinstance(found, Known)}
    if not known:
        report.left |= _calling(new_net) if seen is None else _called(new_net, seen, report.left)
        raise ValueError(_nothing_to_swap(net, report))
    places = Places(new_net, known, seen, pretrained)
    new: dict[nn.Module, nn.Module] = {}
    for path, made in _made(norm, places).items():
        new[old := places.layers[path]] = made
        if made is old:
            report.kept[path] = type(old).__name__
        else:
            report.replaced[path] = f"{_described(old, known.get(path))} → {_name(made)}"
    new_net = replace_layers(new_net, new)
    _turn_off_fast_paths(new_net, new)
    if pretrained and example is not None:
        made_at = {path: new[places.layers[path]] for path in known if path not in report.kept}
        old_net = copied(net).eval()
        with _after_the_swap():
            report.explained = follow(old_net, new_net, made_at, known, *_inputs(old_net, example))
    elif norm == "none" and example is not None:
        with _after_the_swap():
            scale_by_first_batch(new_net, *_inputs(new_net, example))
    report.left |= _still_called(new_net, example, seen, set(new.values()), report)
    return new_net, report


def replacements(
    net: nn.Module, norm: str | Make, seen: Watched, known: dict[str, Known] | None = None
) -> dict[str, nn.Module]:
    """Make what `swap` would put into `net`, by path, but leave the network as it is.

    The new layers share γ and β with the old ones. With weight standardization the convolutions are among them.

    Args:
        net: the network.
        norm: what `swap` takes.
        seen: what was seen in a forward pass.
        known: the layers to replace, by path, if they are known already.

    Raises ValueError as `swap` does.
    """
    _check(norm, None, is_watched=True)
    if known is None:
        known = {path: found for path, found in recognized(net, seen).items() if isinstance(found, Known)}
    return {path: net.get_submodule(path) for path in known} if norm == OWN else _made(norm, Places(net, known, seen))


def rebuilt(net: nn.Module, example: Example) -> nn.Module:
    """Copy `net`, with each normalization made anew as the kind that it was recognized as.

    The copy computes what `net` does as far as the layers were recognized rightly; instance norms that keep running
    averages stay, for no arm has those.
    """
    new_net = copied(net)
    seen = _seen(new_net, example)
    found = {path: known for path, known in recognized(new_net, seen).items() if isinstance(known, Known)}
    made = {path: known for path, known in found.items() if known.kind != "IN" or known.mean is None}
    places = Places(new_net, made, seen)
    norms = {path: f"GN:{known.groups}" if known.kind == "GN" else known.kind for path, known in made.items()}
    new = {places.layers[path]: replacement(path, norm, places, anew=True) for path, norm in norms.items()}
    new_net = replace_layers(new_net, new)
    _turn_off_fast_paths(new_net, new)
    return new_net


def _check(norm: str | Make, example: Example | None, is_watched: bool = False) -> None:
    if callable(norm) or norm == OWN:
        return
    spec = parse(norm)
    if not spec.is_known:
        raise ValueError(f"{norm!r} names a layer of your own; give the function that makes it")
    if NORMALIZATIONS[spec.name].needs_size and example is None and not is_watched:
        raise ValueError(f"{norm} needs the sizes of the feature maps: give an example, a batch of inputs")


def recognized(net: nn.Module, seen: Watched | None) -> dict[str, Known | str]:
    """What each layer is that looks like a normalization, by path; the reason of those that cannot be replaced."""
    found_at: dict[str, Known | str] = {}
    for path, layer in net.named_modules():
        if (found := recognize(layer)) is None:
            continue
        shape = seen.shapes.get(path) if seen is not None else None
        if isinstance(found, Known) and found.kind == "LN_CHW" and shape is not None:
            axes: int = len(layer.normalized_shape)  # type: ignore[arg-type]
            if len(shape) != axes + 1:
                found = f"it normalizes over the last {axes} axes of its inputs, which have {len(shape)}"
        example = seen.examples.get(path) if seen is not None else None
        if isinstance(found, Known) and example is not None and not explains(found, *example):
            found = "in the network it computes something else than on synthetic inputs"
        found_at[path] = found
    return found_at


def _made(norm: str | Make, places: Places) -> dict[str, nn.Module]:
    """The new layers, by path; with weight standardization also the convolutions."""
    new = {path: replacement(path, norm, places) for path in places.known}
    if callable(norm) or not parse(norm).standardized:
        return new
    convolutions = places.to_standardize()
    if not convolutions:
        raise ValueError(f"{norm}: no convolution stands straight before a normalization")
    return new | {path: standardizing(layer) for path, layer in convolutions.items()}


def _turn_off_fast_paths(net: nn.Module, new: dict[nn.Module, nn.Module]) -> None:
    """Keep PyTorch's transformers from computing layer norm by themselves in evaluation, from their layers' weights."""
    made = {layer for old, layer in new.items() if layer is not old}
    for layer in net.modules():
        if isinstance(layer, nn.TransformerEncoderLayer) and made & set(layer.children()):
            layer.activation_relu_or_gelu = 0
        if isinstance(layer, nn.TransformerEncoder) and made & set(layer.modules()):
            layer.use_nested_tensor = False


def _nothing_to_swap(net: nn.Module, report: Report) -> str:
    what = f"{type(net).__name__} has no normalization layer that could be swapped"
    if not report.left:
        return what
    path, why = next(iter(report.left.items()))
    return f"{what}; {path or 'the network itself'} is left: {why}"


def _seen(net: nn.Module, example: Example | None) -> Watched | None:
    """Run a network, or rather a copy of it, which may change, on an example; lazy layers get their shapes in both."""
    if example is None:
        return None
    inputs, weights = _inputs(net, example), [*net.parameters(), *net.buffers()]
    try:
        if any(is_lazy(values) for values in weights):
            watch(net, *inputs)
        return watch(copied(net), *inputs)
    except (Exception, SystemExit) as error:
        shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
        raise ValueError(f"the network cannot be run on the example {shapes}: {reason(error)}") from error


def _inputs(net: nn.Module, example: Example) -> tuple[Tensor, ...]:
    """The example as the network takes it, on its device and in its dtype."""
    inputs = example if isinstance(example, tuple) else (example,)
    like = next((t for t in [*net.parameters(), *net.buffers()] if t.is_floating_point() and not is_lazy(t)), None)
    if like is None:
        return inputs
    return tuple(x.to(like.device, like.dtype if x.is_floating_point() else x.dtype) for x in inputs)


@contextmanager
def _after_the_swap() -> Iterator[None]:
    """Say of what fails when a swapped network is run that it does so after the swap."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"after the swap the network cannot be run on the example: {reason(error)}") from error


# Reporting


def _still_called(
    net: nn.Module, example: Example | None, before: Watched | None, new: set[nn.Module], report: Report
) -> dict[str, str]:
    """Normalizations of a swapped network that no swap reaches: where, and why."""
    left = {
        path: f"{_class(layer)}, for it is held by a function or a list that PyTorch does not know of"
        for path, layer in out_of_reach(net)
        if any(recognize(part) is not None for part in _meant(path, layer))
    }
    if before is None or example is None:
        return left | _calling(net)
    with _after_the_swap():
        seen = watch(copied(net), *_inputs(net, example))
    inside = {part for layer in new for part in layer.modules()}
    for path, layer in net.named_modules():
        if path in report.replaced and path in before.shapes and path not in seen.shapes:
            left[path] = f"{_name(layer)}, for the network calls nothing there any more; it may ask for classes"
    return left | _called(net, seen, {path for path, layer in net.named_modules() if layer in inside} | {*report.left})


def _called(net: nn.Module, seen: Watched, besides: Container[str]) -> dict[str, str]:
    """What a network, which was run, calls that normalizes, or seems to: by whom, and which functions."""
    found: dict[str, str] = {}
    for path, layer in net.named_modules():
        if path in besides:
            continue
        if called := [*seen.called.get(path, ())] or (functions_called(layer) * isinstance(layer, GraphModule)):
            found[path] = f"{_class(layer)}, for it calls {', '.join(called)}, which no swap reaches"
        elif path in seen.by_hand:
            computed = ", ".join(seen.by_hand[path])
            found[path] = f"{_class(layer)}, for it computes {computed}, as a normalization written by hand does"
    return found


def _meant(path: str, layer: nn.Module) -> Iterable[nn.Module]:
    """The layers that are called where one is held: of a whole network that a hook knows of, perhaps none."""
    return (layer,) if path.endswith("_hooks") else layer.modules()


def _described(layer: nn.Module, known: Known | None) -> str:
    if known is None:
        return type(layer).__name__
    groups = f", {known.groups} groups" if known.kind == "GN" else ""
    return f"{type(layer).__name__} ({known.channels} channels{groups})"


def _name(layer: nn.Module) -> str:
    if isinstance(layer, (nn.Sequential, ChannelsLast, ChannelsByAxes, InFloat32)):
        return " + ".join(_name(part) for part in layer.children())
    groups = f" ({layer.num_groups} groups)" if isinstance(layer, nn.GroupNorm) else ""
    return type(layer).__name__ + groups
