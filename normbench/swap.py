"""The normalization layers of any network: found, and replaced by others.

>>> net = swap(torchvision.models.resnet18(), "GN")  # a copy with group norm instead of batch norm
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from model import NORMALIZATIONS, normalization

LAYERS = (_BatchNorm, nn.GroupNorm, _InstanceNorm, nn.LayerNorm)
MAPS = (nn.BatchNorm2d, nn.InstanceNorm2d)  # whose inputs are sure to be (N, C, H, W)
MOST_GROUPS = 32  # as Wu & He (2018) chose


class OverChannels(nn.Module):
    """A normalization of maps (N, C, H, W) for inputs of other shapes: (N, C), (N, C, L), (N, C, D, H, W) and so on.

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
    """Adds β, (C,), to the channels: what "none" leaves of a normalization.

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
    """Every normalization layer of `net` by its path: batch norm, group norm, instance norm and layer norm.

    Layers of classes derived from PyTorch's are among them. A layer that stands in several places has its first path.
    """
    return {path: layer for path, layer in net.named_modules() if isinstance(layer, LAYERS)}


def unknown(net: nn.Module) -> dict[str, nn.Module]:
    """Layers by their path that are called a norm and are none that `normalizations` knows; `swap` leaves them."""
    known = normalizations(net)
    return {
        path: layer
        for path, layer in net.named_modules()
        if "norm" in type(layer).__name__.lower()
        and path not in known
        and not any(isinstance(part, LAYERS) for part in layer.modules())
    }


def swap(net: nn.Module, nm: str, gp: int | None = None) -> nn.Module:
    """A copy of `net` in which each normalization layer is replaced by `nm`, one of `model.NORMALIZATIONS`.

    γ and β, eps, device, dtype and mode (training or evaluation) are kept; a layer without γ or β is replaced by one
    without. A layer norm with a weight for each element of its maps hands on their means over each channel. What a
    derived layer has inside, such as the activation of timm's BatchNormAct2d, follows the new layer. A layer that
    stands in several places stays one layer, and batch norm replaced by "BN" stays as it is, with its running averages.
    "none" keeps β, unless the convolution or linear layer before has a bias of its own.

    `gp` is the number of groups for "GN"; without it each layer gets the largest number up to 32 that divides its
    channels and leaves two channels or more a group. So no set has only one number, which would erase it.

    Raises ValueError for an unknown `nm` and for "LN_CHW", which needs the size of the maps; where `net` has no
    normalization layer; where `gp` does not divide a layer's channels; and for a lazy layer that has not seen an input.
    The new network raises ValueError, when it is used, where instance norm would get one number a channel.
    """
    if nm == "LN_CHW" or nm not in NORMALIZATIONS:
        names = ", ".join(name for name in NORMALIZATIONS if name != "LN_CHW")
        raise ValueError(f"normalizations cannot be swapped for {nm!r}; choose one of {names}")
    layers = normalizations(net)
    if not layers:
        raise ValueError(f"{type(net).__name__} has no normalization layer that could be swapped")
    if lazy := [path for path, layer in layers.items() if _channels(layer) == 0]:
        raise ValueError(f"the lazy layer {lazy[0]!r} has no shape yet; call the network once before the swap")
    net = copy.deepcopy(net)
    layers = normalizations(net)
    biased = _after_a_bias(net)
    new = {layer: _replaced(path, layer, nm, gp, biased[layer]) for path, layer in layers.items()}
    if net in new:
        return new[net]
    for parent in list(net.modules()):
        for name, child in parent._modules.items():
            if child in new:
                parent._modules[name] = new[child]
    return net


def _after_a_bias(net: nn.Module) -> dict[nn.Module, bool]:
    """Of each normalization layer, whether the layer that was defined before it adds a bias to the same channels."""
    biased, before = {}, None
    for layer in net.modules():
        if isinstance(layer, LAYERS):
            added = getattr(before, "bias", None)
            biased[layer] = added is not None and len(added) == _channels(layer)
        elif not list(layer.children()) and list(layer.parameters(recurse=False)):
            before = layer
    return biased


def _channels(layer: nn.Module) -> int:
    """0 for a lazy layer that has not seen an input."""
    if isinstance(layer, nn.LayerNorm):
        return layer.normalized_shape[0]
    return layer.num_channels if isinstance(layer, nn.GroupNorm) else layer.num_features


def _has_channels_last(layer: nn.Module) -> bool:
    """Whether a layer takes (N, …, C). Only a layer norm over one axis does, but not all that are derived from it.

    torchvision's LayerNorm2d takes the second axis, timm's LayerNorm the last. Maps of another width tell.
    """
    if not isinstance(layer, nn.LayerNorm) or len(layer.normalized_shape) > 1:
        return False
    like = {} if layer.weight is None else {"device": layer.weight.device, "dtype": layer.weight.dtype}
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):  # it may have dropout inside
            layer(torch.zeros(1, _channels(layer), 1, _channels(layer) + 1, **like))
    except RuntimeError:
        return True
    return False


def _replaced(path: str, layer: nn.Module, nm: str, gp: int | None, biased: bool) -> nn.Module:
    if nm == "BN" and isinstance(layer, _BatchNorm):
        return layer
    new = _new(path, layer, nm, gp, biased).train(layer.training)
    inside = list(layer.children())
    return nn.Sequential(new, *inside) if inside else new


def _new(path: str, layer: nn.Module, nm: str, gp: int | None, biased: bool) -> nn.Module:
    channels, last = _channels(layer), _has_channels_last(layer)
    weight, bias = (_of_channels(getattr(layer, name, None)) for name in ("weight", "bias"))
    if nm == "none":
        return nn.Identity() if bias is None or biased else Bias(bias, last)
    norm = normalization(nm, channels, group=_groups(path, channels, gp) if nm == "GN" else 1)
    norm.eps = layer.eps
    placed = next((t for t in (weight, bias, getattr(layer, "running_mean", None)) if t is not None), None)
    if placed is not None:
        norm.to(placed.device, placed.dtype)
    norm.weight, norm.bias = weight, bias
    fits = not last and (isinstance(layer, MAPS) or isinstance(norm, nn.GroupNorm) or nm == "LN_C")
    return norm if fits else OverChannels(norm, last)


def _of_channels(weights: nn.Parameter | None) -> nn.Parameter | None:
    """γ or β with a number for each channel, from (C,) or from (C, H, W)."""
    if weights is None or weights.ndim == 1:
        return weights
    return nn.Parameter(weights.detach().flatten(1).mean(dim=1), requires_grad=weights.requires_grad)


def _groups(path: str, channels: int, gp: int | None) -> int:
    if gp is None:
        most = min(MOST_GROUPS, max(1, channels // 2))
        return next(groups for groups in range(most, 0, -1) if channels % groups == 0)
    if gp < 1 or channels % gp:
        raise ValueError(
            f"{gp} groups cannot split the {channels} channels of {path!r} evenly; "
            "leave gp out, and each layer gets a number that fits"
        )
    return gp
