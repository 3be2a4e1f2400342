"""The table of normalizations: names, what shares statistics, how layers are made, colours.

A new normalization is a row of `NORMALIZATIONS` and the function that makes its layer.
"""

import zlib
from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from normbench.layers.batch import BatchNorm, BatchRenorm, FrozenBatchNorm, GhostBatchNorm2d, InstanceNorm
from normbench.layers.channels import (
    ChannelsLast,
    Derf,
    DyT,
    LayerNormOfPixels,
    LayerNormOfTokensOrMaps,
    RMSNormOfChannels,
)

MOST_GROUPS = 32  # as Wu & He (2018) chose
LEAST_NUMBERS = 16  # in a set of group norm, if the channels allow it
STANDARDIZED = "WS+"
OWN = "own"
OTHER_COLOURS = ("#2B8CC4", "#C27C0E", "#8E44AD", "#A6611A", "#018571")  # of layers that are not in the table


class Place(NamedTuple):
    """Where a layer stands.

    Attributes:
        channels: C.
        last: whether the channels are the last axis of the inputs, instead of the second.
        axes: the number of axes of the inputs; None where it is not known.
        size: the size (H, W, …) of the feature maps; None where it is not known.
    """

    channels: int
    last: bool = False
    axes: int | None = None
    size: tuple[int, ...] | None = None

    @property
    def positions(self) -> int | None:
        """The number of pixels or tokens of an input; None where it is not known."""
        if self.size is None:
            return None
        positions = 1
        for length in self.size:
            positions *= length
        return positions


Maker = Callable[[Place, int | None], nn.Module]


class Normalization(NamedTuple):
    """A row of `NORMALIZATIONS`.

    Attributes:
        name: the method's name in words.
        shares: the activations that share one mean and one variance.
        make: makes the layer for a place, from the number behind the colon (None without one).
        colour: the colour in figures.
        number: what a number behind the colon counts, such as "groups"; "" where none is taken.
        needs_size: whether `make` needs the size of the feature maps.
    """

    name: str
    shares: str
    make: Maker
    colour: str
    number: str = ""
    needs_size: bool = False


def fitting_groups(channels: int, positions: int | None = None) -> int:
    """Return the largest number of groups, up to 32, that divides the channels and leaves large enough sets.

    A set has 16 numbers or more where the channels allow it, and two channels or more: of a set of one number,
    normalization would leave 0, and of two numbers only which one is larger. `positions` is the number of pixels or
    tokens of an input; where it is not known, there are many.
    """
    least = 2 if positions is None else max(2, -(-LEAST_NUMBERS // positions))
    most = min(MOST_GROUPS, max(1, channels // least))
    return next(groups for groups in range(most, 0, -1) if channels % groups == 0)


def _second(place: Place, layer: nn.Module) -> nn.Module:
    """A layer for (N, C, …) as the place needs it."""
    return ChannelsLast(layer) if place.last else layer


def _batch_norm(place: Place, images: int | None) -> nn.Module:
    if images is not None:
        return _second(place, GhostBatchNorm2d(place.channels, images))
    kinds = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
    return _second(place, kinds.get(place.axes or 0, BatchNorm)(place.channels))


def _group_norm(place: Place, groups: int | None) -> nn.Module:
    if groups is not None and place.channels % groups:
        raise ValueError(
            f"{groups} groups cannot split {place.channels} channels evenly; "
            "leave the number out (GN), and each layer gets one that fits"
        )
    return _second(place, nn.GroupNorm(groups or fitting_groups(place.channels, place.positions), place.channels))


def _layer_norm(place: Place, number: int | None) -> nn.Module:
    if not place.last:
        return nn.GroupNorm(1, place.channels)
    if place.axes is None:
        return LayerNormOfTokensOrMaps(place.channels)
    return nn.LayerNorm(place.channels) if place.axes <= 3 else ChannelsLast(nn.GroupNorm(1, place.channels))


def _instance_norm(place: Place, number: int | None) -> nn.Module:
    kinds = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}
    return _second(place, kinds.get(place.axes or 0, InstanceNorm)(place.channels, affine=True))


def _layer_norm_of_elements(place: Place, number: int | None) -> nn.Module:
    if not place.size or place.last:
        raise ValueError("LN_CHW has a weight per element: it takes feature maps (N, C, …) of a known size")
    return nn.LayerNorm([place.channels, *place.size])


def _layer_norm_of_pixels(place: Place, number: int | None) -> nn.Module:
    return nn.LayerNorm(place.channels) if place.last else LayerNormOfPixels(place.channels)


def _rms_norm(place: Place, number: int | None) -> nn.Module:
    return RMSNormOfChannels(place.channels, place.last)


def _dyt(place: Place, number: int | None) -> nn.Module:
    return DyT(place.channels, place.last)


def _derf(place: Place, number: int | None) -> nn.Module:
    return Derf(place.channels, place.last)


def _batch_renorm(place: Place, number: int | None) -> nn.Module:
    return _second(place, BatchRenorm(place.channels))


def _frozen_batch_norm(place: Place, number: int | None) -> nn.Module:
    return _second(place, FrozenBatchNorm(place.channels))


def _identity(place: Place, number: int | None) -> nn.Module:
    return nn.Identity()


# The first are those of Okabe and Ito, which colour-blind readers can distinguish. All show on white and on dark.
NORMALIZATIONS = {
    "BN": Normalization("batch norm", "one channel of all images", _batch_norm, "#0072B2", number="images"),
    "GN": Normalization("group norm", "a group of channels of one image", _group_norm, "#D55E00", number="groups"),
    "LN": Normalization("layer norm", "all channels of one image", _layer_norm, "#009E73"),
    "IN": Normalization("instance norm", "one channel of one image", _instance_norm, "#CC79A7"),
    "LN_CHW": Normalization(
        "layer norm, a weight per element",
        "all channels of one image",
        _layer_norm_of_elements,
        "#B8860B",
        needs_size=True,
    ),
    "LN_C": Normalization(
        "layer norm at each pixel", "all channels of one pixel of one image", _layer_norm_of_pixels, "#8C6D1F"
    ),
    "RMS": Normalization("RMSNorm", "all channels of one pixel of one image", _rms_norm, "#8250DF"),
    "DyT": Normalization("dynamic tanh", "nothing", _dyt, "#A0522D"),
    "Derf": Normalization("dynamic erf", "nothing", _derf, "#C0392B"),
    "BRN": Normalization("batch renorm", "one channel of all images", _batch_renorm, "#4682B4"),
    "FrozenBN": Normalization("frozen batch norm", "one channel of all images, fixed", _frozen_batch_norm, "#4A7A96"),
    "none": Normalization("no normalization", "nothing", _identity, "#666666"),
}


class Spec(NamedTuple):
    """What a norm says: a name in `NORMALIZATIONS`, the number behind the colon, whether weights are standardized.

    The name is "own" for the network as it is, and the whole norm for a layer of the user's own.
    """

    name: str
    number: int | None = None
    standardized: bool = False

    @property
    def is_known(self) -> bool:
        """Whether the layer is one of the table."""
        return self.name in NORMALIZATIONS


def parse(norm: str) -> Spec:
    """Read a norm: "BN", "GN:8", "BN:16", "WS+GN:2", "own", "my_norms.py:MyNorm", "package.module:MyNorm", "mine()".

    Raises ValueError for an unknown name, and for a number where none is taken or that is not 1 or more.
    """
    if norm == OWN or _is_of_a_user(norm):
        return Spec(norm)
    standardized = norm.startswith(STANDARDIZED)
    name, colon, digits = norm.removeprefix(STANDARDIZED).partition(":")
    if name not in NORMALIZATIONS:
        raise ValueError(
            f"unknown normalization {norm!r}; choose one of {OWN}, {', '.join(NORMALIZATIONS)}; GN:8, BN:16, "
            "WS+GN; or a layer of your own: my_norms.py:MyNorm"
        )
    counted = NORMALIZATIONS[name].number
    if colon and not counted:
        raise ValueError(f"{norm!r}: {name} takes no number; write {norm.partition(':')[0]}")
    if colon and not (digits.isascii() and digits.isdigit() and int(digits)):
        raise ValueError(f"{norm!r}: behind the colon stands the number of {counted}, 1 or more, as in {name}:8")
    return Spec(name, int(digits) if colon else None, standardized)


def _is_of_a_user(norm: str) -> bool:
    """Tell whether a norm names a layer of the user's own: where it is found, or "mine()" for one that is given."""
    source, colon, name = norm.rpartition(":")
    if norm.endswith("()"):
        return bool(norm[:-2].strip())
    of_the_table = source.removeprefix(STANDARDIZED) in NORMALIZATIONS
    return bool(colon and name.isidentifier() and ("." in source or "_" in source) and not of_the_table)


def label(norm: str) -> str:
    """Name a norm in figures and tables: "BN", "GN (8 groups)", "BN (16 images)", "WS + GN (2 groups)", "MyNorm"."""
    spec = parse(norm)
    if not spec.is_known:
        return norm.removesuffix("()") if norm == OWN or norm.endswith("()") else norm.rpartition(":")[2]
    counted = NORMALIZATIONS[spec.name].number
    counted = counted.removesuffix("s") if spec.number == 1 else counted
    return ("WS + " if spec.standardized else "") + (
        f"{spec.name} ({spec.number} {counted})" if spec.number else spec.name
    )


def colour(norm: str) -> str:
    """Return the colour of a norm in figures, as #RRGGBB."""
    spec = parse(norm)
    if spec.is_known:
        return NORMALIZATIONS[spec.name].colour
    return "#000000" if norm == OWN else OTHER_COLOURS[zlib.crc32(norm.encode()) % len(OTHER_COLOURS)]


def make(norm: str, place: Place | int) -> nn.Module:
    """Make the normalization layer of a norm for a place, or for feature maps (N, C, H, W) of so many channels.

    γ is 1 and β is 0. Weight standardization, which is a property of the convolution before, is not part of the layer.

    Raises ValueError as `parse` does, for a norm that is not in the table, for groups that do not divide the channels,
    and for "LN_CHW" where the size is not known.
    """
    spec = parse(norm)
    if not spec.is_known:
        raise ValueError(f"{norm!r} is not in the table of normalizations")
    return NORMALIZATIONS[spec.name].make(Place(place, axes=4) if isinstance(place, int) else place, spec.number)
