"""The normalization layers of any network: found, and replaced by others.

>>> net = swap(torchvision.models.resnet18(), "GN")  # a copy with group norm instead of batch norm
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from normbench.layers import NORMALIZATIONS, StandardizedConv2d, make, parse

LAYERS = (_BatchNorm, nn.GroupNorm, _InstanceNorm, nn.LayerNorm)
MAPS = (nn.BatchNorm2d, nn.InstanceNorm2d)  # layers whose inputs must be (N, C, H, W)


class OverChannels(nn.Module):
    """A normalization of feature maps (N, C, H, W) for inputs of other shapes: (N, C), (N, C, L), (N, C, D, H, W), ….

    Args:
        norm: the normalization.
        last: whether the channels are the last axis, as in (N, H, W, C), instead of the second.
    """

    def __init__(self, norm: nn.Module, last: bool):
        super().__init__()
        self.norm, self.last = norm, last

    def forward(self, x: Tensor) -> Tensor:
        """x → the same shape."""
        channels_second = x.movedim(-1, 1) if self.last else x
        maps = channels_second if x.ndim == 4 else channels_second.reshape(*channels_second.shape[:2], -1, 1)
        outputs = self.norm(maps).reshape(channels_second.shape)
        return outputs.movedim(1, -1) if self.last else outputs


class Bias(nn.Module):
    """Add β, (C,), to the channels: what "none" leaves of a normalization.

    Args:
        bias: β.
        last: whether the channels are the last axis instead of the second.
    """

    def __init__(self, bias: nn.Parameter, last: bool):
        super().__init__()
        self.bias, self.last = bias, last

    def forward(self, x: Tensor) -> Tensor:
        """x → the same shape."""
        return x + (self.bias if self.last else self.bias.view(-1, *[1] * (x.ndim - 2)))


def normalizations(net: nn.Module) -> dict[str, nn.Module]:
    """Find every normalization layer of `net`, by its path: batch norm, group norm, instance norm and layer norm.

    Layers of classes derived from PyTorch's are among them. A layer that stands in several places has its first path.
    """
    return {path: layer for path, layer in net.named_modules() if isinstance(layer, LAYERS)}


def unknown(net: nn.Module) -> dict[str, nn.Module]:
    """Find the layers, by their path, that are called a norm and that `normalizations` does not know.

    `swap` leaves them as they are.
    """
    known = normalizations(net)
    return {
        path: layer
        for path, layer in net.named_modules()
        if "norm" in type(layer).__name__.lower()
        and path not in known
        and not any(isinstance(part, LAYERS) for part in layer.modules())
    }


def swap(net: nn.Module, norm: str, example: Tensor | None = None) -> nn.Module:
    """Copy `net`, with each of its normalization layers replaced.

    γ and β, eps, device, dtype and mode (training or evaluation) are kept; a layer without γ or β is replaced by one
    without. A layer norm with a weight per element of its feature maps hands on their means over each channel. What a
    derived layer has inside, such as the activation of timm's BatchNormAct2d, follows the new layer. A layer that
    stands in several places stays one layer, and batch norm replaced by "BN" stays as it is, with its running averages.
    "none" keeps β, unless the convolution or linear layer before has a bias of its own.

    Args:
        net: the network, which is left as it is.
        norm: what replaces them: BN, GN, LN, IN, LN_C, LN_CHW, none; "GN:8" for eight groups, without a number each
            layer gets as many as fit; "BN:16" for ghost batch norm; "WS+GN" to standardize the weights of the
            convolution before each layer, too.
        example: a batch of inputs. "LN_CHW" needs it, to learn the sizes of the feature maps in one forward pass.

    Raises ValueError for an unknown norm; if `net` has no normalization layer; for groups that do not divide a layer's
    channels; for "LN_CHW" without an example, and for a lazy layer that has not seen an input. The new network raises
    ValueError, when it is used, if instance norm would get one number per channel.
    """
    name, _, standardized = parse(norm)
    layers = normalizations(net)
    if not layers:
        raise ValueError(f"{type(net).__name__} has no normalization layer that could be swapped")
    if lazy := [path for path, layer in layers.items() if _channels(layer) == 0]:
        raise ValueError(f"the lazy layer {lazy[0]!r} has no shape yet; call the network once before the swap")
    if NORMALIZATIONS[name].needs_size and example is None:
        raise ValueError(f"{norm} needs the sizes of the feature maps: give an example, a batch of inputs")
    net = copy.deepcopy(net)
    layers = normalizations(net)
    sizes = _sizes(net, layers, example) if example is not None and NORMALIZATIONS[name].needs_size else {}
    before = _before(net)
    new = {layer: _replaced(path, layer, norm, before[layer], sizes.get(path)) for path, layer in layers.items()}
    if standardized:
        for layer in before.values():
            if type(layer) is nn.Conv2d:
                layer.__class__ = StandardizedConv2d  # the same weights, used in another way
    if net in new:
        return new[net]
    for parent in list(net.modules()):
        for child_name, child in parent._modules.items():
            if child in new:
                parent._modules[child_name] = new[child]
    return net


def _before(net: nn.Module) -> dict[nn.Module, nn.Module | None]:
    """For each normalization layer, the layer with parameters that was defined before it, or None."""
    found: dict[nn.Module, nn.Module | None] = {}
    before = None
    for layer in net.modules():
        if isinstance(layer, LAYERS):
            found[layer] = before
        elif not list(layer.children()) and list(layer.parameters(recurse=False)):
            before = layer
    return found


def _adds_bias(layer: nn.Module | None, channels: int) -> bool:
    bias = getattr(layer, "bias", None)
    return isinstance(bias, Tensor) and len(bias) == channels


@torch.no_grad()
def _sizes(net: nn.Module, layers: dict[str, nn.Module], example: Tensor) -> dict[str, tuple[int, int]]:
    """Run a copy of `net` on the example; return the size (H, W) of the feature maps that each layer gets."""
    sizes: dict[str, tuple[int, int]] = {}

    def remember(path: str):
        return lambda layer, inputs: sizes.__setitem__(path, tuple(inputs[0].shape[2:]))

    watched = copy.deepcopy(net).eval()
    for path in layers:
        watched.get_submodule(path).register_forward_pre_hook(remember(path))
    watched(example)
    if others := [path for path in layers if len(sizes.get(path, ())) != 2]:
        raise ValueError(f"LN_CHW takes feature maps (N, C, H, W), which the layer {others[0]!r} does not get")
    return sizes


def _channels(layer: nn.Module) -> int:
    """Return the number of channels; 0 for a lazy layer that has not seen an input."""
    if isinstance(layer, nn.LayerNorm):
        return layer.normalized_shape[0]
    if isinstance(layer, nn.GroupNorm):
        return layer.num_channels
    assert isinstance(layer, (_BatchNorm, _InstanceNorm))
    return layer.num_features


def _has_channels_last(layer: nn.Module) -> bool:
    """Tell whether a layer takes (N, …, C). Only a layer norm over one axis does, but not all that are derived from it.

    torchvision's LayerNorm2d takes the second axis, timm's LayerNorm the last. Feature maps of another width tell.
    """
    if not isinstance(layer, nn.LayerNorm) or len(layer.normalized_shape) > 1:
        return False
    channels = _channels(layer)
    maps = torch.zeros(1, channels, 1, channels + 1)
    maps = maps if layer.weight is None else maps.to(layer.weight.device, layer.weight.dtype)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):  # it may have dropout inside
            layer(maps)
    except RuntimeError:
        return True
    return False


def _replaced(
    path: str, layer: nn.Module, norm: str, before: nn.Module | None, size: tuple[int, int] | None
) -> nn.Module:
    if parse(norm)[:2] == ("BN", None) and isinstance(layer, _BatchNorm):
        return layer
    try:
        new = _new(layer, norm, before, size).train(layer.training)
    except ValueError as error:
        raise ValueError(f"layer {path!r}: {error}" if path else str(error)) from error
    inside = list(layer.children())
    return nn.Sequential(new, *inside) if inside else new


def _new(layer: nn.Module, norm: str, before: nn.Module | None, size: tuple[int, int] | None) -> nn.Module:
    channels, last = _channels(layer), _has_channels_last(layer)
    weight, bias = (_of_channels(getattr(layer, name, None)) for name in ("weight", "bias"))
    name, row = parse(norm).name, NORMALIZATIONS[parse(norm).name]
    if name == "none":
        return nn.Identity() if bias is None or _adds_bias(before, channels) else Bias(bias, last)
    new = make(norm, channels, size)
    setattr(new, "eps", layer.eps)  # noqa: B010 (all of them have it, nn.Module has not)
    placed = next((t for t in (weight, bias, getattr(layer, "running_mean", None)) if t is not None), None)
    if placed is not None:
        new.to(placed.device, placed.dtype)
    for part, values in (("weight", weight), ("bias", bias)):
        setattr(new, part, _of_elements(values, size) if row.needs_size else values)
    fits = not last and (isinstance(layer, MAPS) or row.any_shape)
    return new if fits else OverChannels(new, last)


def _of_channels(weights: nn.Parameter | None) -> nn.Parameter | None:
    """γ or β with a number per channel, from (C,) or from (C, H, W)."""
    if weights is None or weights.ndim == 1:
        return weights
    return nn.Parameter(weights.detach().flatten(1).mean(dim=1), requires_grad=weights.requires_grad)


def _of_elements(weights: nn.Parameter | None, size: tuple[int, int] | None) -> nn.Parameter | None:
    """γ or β with a number per element, (C, H, W), from (C,)."""
    if weights is None or size is None:
        return weights
    spread = weights.detach()[:, None, None].repeat(1, *size)
    return nn.Parameter(spread, requires_grad=weights.requires_grad)
