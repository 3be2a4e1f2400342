"""The facts about each normalization of a network: what it is, how many numbers share a statistic, what it takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from torch import nn

from normbench.layers import GhostBatchNorm2d, LayerNormOfTokensOrMaps
from normbench.swapping import Known, Watched, recognized

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Row:
    """One normalization layer.

    Attributes:
        path: where it stands in the network; "" for the network itself.
        layer: the name of its class.
        kind: BN, GN, LN, LN_C, IN, …, as in the table of normalizations; or "unknown".
        channels: how many; None if that is not known.
        groups: of group norm; None for others.
        shape: of its input, with the batch; None if the network did not call it.
        numbers: how many numbers share a statistic in training, in the smallest set; None where there is no such set.
        share_of_parameters: of all of the network's, from 0 to 1.
        share_of_time: of the time that the network's forward pass takes; None where it was not measured.
    """

    path: str
    layer: str
    kind: str
    channels: int | None
    groups: int | None
    shape: tuple[int, ...] | None
    numbers: int | None
    share_of_parameters: float
    share_of_time: float | None = None

    @property
    def is_batch_norm(self) -> bool:
        """Whether its statistics are those of a batch, or of a part of one."""
        return self.kind == "BN" or self.kind.startswith("BN:") or self.kind == "BRN"

    @property
    def is_per_channel(self) -> bool:
        """Whether it subtracts a mean from each channel by itself."""
        return self.is_batch_norm or self.is_instance_norm

    @property
    def is_instance_norm(self) -> bool:
        """Whether each channel of each image is a set; so it is in group norm with as many groups as channels."""
        return self.kind == "IN" or (self.groups is not None and self.groups == self.channels)


@dataclass(frozen=True)
class Facts:
    """What is known of a network.

    Attributes:
        net: the network.
        seen: what was seen in a forward pass.
        rows: one per normalization layer, in the order in which the network names them.
        known: by path, the layers that can be replaced.
        left: by path, the layers that look like a normalization and cannot be replaced, with the reason.
        batch: how many images the example has.
    """

    net: nn.Module
    seen: Watched
    rows: tuple[Row, ...]
    known: Mapping[str, Known]
    left: Mapping[str, str]
    batch: int


def facts(net: nn.Module, seen: Watched, batch: int, shares_of_time: Mapping[str, float]) -> Facts:
    """Gather the facts about `net`, of which a forward pass was watched."""
    found_at = recognized(net, seen)
    total = sum(values.numel() for values in net.parameters())
    rows, known, left = [], {}, {}
    for path, found in found_at.items():
        layer = net.get_submodule(path)
        own = sum(values.numel() for values in layer.parameters(recurse=False))
        shape = seen.shapes.get(path)
        if isinstance(found, Known):
            known[path] = found
            numbers = None if shape is None else numbers_of(layer, found, shape)
            kind, channels, groups = found.kind, found.channels, found.groups if found.kind == "GN" else None
        else:
            left[path] = found
            kind, channels, groups, numbers = UNKNOWN, None, None, None
        share = own / total if total else 0.0
        time_share = shares_of_time.get(path)
        rows.append(Row(path, type(layer).__name__, kind, channels, groups, shape, numbers, share, time_share))
    return Facts(net, seen, tuple(rows), known, left, batch)


def channels_are_last(known: Known, axes: int) -> bool:
    """Tell whether the channels of an input with so many axes are its last axis."""
    return known.last if known.last is not None else axes in known.last_axes


def numbers_of(layer: nn.Module, known: Known, shape: tuple[int, ...]) -> int | None:
    """Count the numbers that share one mean and variance in training, in the smallest set; None if none do.

    A batch that ghost batch norm cannot divide leaves a smaller set at its end.

    Args:
        layer: the layer.
        known: what it is.
        shape: of its input, (N, C, …) or (N, …, C).
    """
    images, channels = shape[0], known.channels
    last = channels_are_last(known, len(shape))
    positions = prod(shape[1:-1] if last else shape[2:])
    match known.kind:
        case "FrozenBN" | "DyT" | "Derf":
            return None
        case "LN":
            of_tokens = isinstance(layer, LayerNormOfTokensOrMaps) and len(shape) <= 3
            return channels if of_tokens else channels * positions
        case "GN":
            return channels // (known.groups or 1) * positions
        case "IN":
            return positions
        case "LN_C" | "RMS":
            return channels
        case "LN_CHW":
            return prod(getattr(layer, "normalized_shape", shape[1:]))
    if isinstance(layer, GhostBatchNorm2d) and layer.images is not None and layer.images < images:
        return (images % layer.images or layer.images) * positions
    return images * positions
