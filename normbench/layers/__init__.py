"""Normalization layers, and the table that names them.

A normalization is named by a text, its *norm*: "BN", "LN", "GN" (as many groups as fit), "GN:8" (eight groups), "BN:16"
(ghost batch norm with 16 images per statistic), "WS+GN" (with weight standardization of the convolution before it),
"own" (the network as it is), "my_norms.py:MyNorm" (a layer of your own).

>>> make("GN:8", 64)
GroupNorm(8, 64, eps=1e-05, affine=True)
"""

from normbench.layers.batch import BatchNorm, BatchRenorm, FrozenBatchNorm, GhostBatchNorm2d, InstanceNorm
from normbench.layers.channels import (
    Affine,
    ChannelsByAxes,
    ChannelsLast,
    Copied,
    Derf,
    DyT,
    InFloat32,
    LayerNormOfPixels,
    LayerNormOfTokensOrMaps,
    RMSNormOfChannels,
)
from normbench.layers.convolution import STANDARDIZING, StandardizedConv1d, StandardizedConv2d, StandardizedConv3d
from normbench.layers.table import (
    NORMALIZATIONS,
    OWN,
    Normalization,
    Place,
    Spec,
    colour,
    fitting_groups,
    label,
    make,
    parse,
)

__all__ = [
    "NORMALIZATIONS",
    "OWN",
    "STANDARDIZING",
    "Affine",
    "BatchNorm",
    "BatchRenorm",
    "ChannelsByAxes",
    "ChannelsLast",
    "Copied",
    "Derf",
    "DyT",
    "FrozenBatchNorm",
    "GhostBatchNorm2d",
    "InFloat32",
    "InstanceNorm",
    "LayerNormOfPixels",
    "LayerNormOfTokensOrMaps",
    "Normalization",
    "Place",
    "RMSNormOfChannels",
    "Spec",
    "StandardizedConv1d",
    "StandardizedConv2d",
    "StandardizedConv3d",
    "colour",
    "fitting_groups",
    "label",
    "make",
    "parse",
]
