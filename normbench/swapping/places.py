"""Where the normalization layers of a network stand: what comes before them, and what they get."""

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from normbench.layers import STANDARDIZING, Place
from normbench.swapping.kinds import Known, looks_like_a_norm
from normbench.swapping.trials import AXES
from normbench.swapping.watching import Watched

MAPS = (nn.BatchNorm2d, nn.InstanceNorm2d)  # layers whose inputs must be (N, C, H, W)


class Places:
    """Where the normalization layers of a network stand: what comes before them, and what they get.

    Args:
        net: the network.
        known: the normalization layers that can be replaced, by path.
        seen: what was seen in a forward pass; None if the network was not run.
        pretrained: whether new layers are to follow the old ones, for which they need γ and β.
    """

    def __init__(self, net: nn.Module, known: dict[str, Known], seen: Watched | None, pretrained: bool = False):
        self.net, self.known, self.seen, self.pretrained = net, known, seen, pretrained
        self.layers = dict(net.named_modules())
        self.registered_before: dict[str, nn.Module | None] = {}
        before = None
        for path, layer in net.named_modules():
            if path in known or looks_like_a_norm(layer):
                self.registered_before[path] = before
            elif not any(True for _ in layer.children()) and any(True for _ in layer.parameters(recurse=False)):
                before = layer

    def was_run(self, path: str) -> bool:
        """Tell whether a forward pass showed what a layer is given."""
        return self.seen is not None and path in self.seen.shapes

    def ends_a_branch(self, path: str) -> bool:
        """Tell whether a layer is the last one of a residual branch."""
        return self.seen is not None and path in self.seen.ends

    def place(self, path: str) -> Place:
        """Return the place of a layer, as far as it is known."""
        known = self.known[path]
        shape = self.seen.shapes.get(path) if self.seen is not None else None
        if shape is not None:
            last = known.last if known.last is not None else len(shape) in known.last_axes
            return Place(known.channels, last, len(shape), tuple(shape[1:-1] if last else shape[2:]))
        axes = 4 if isinstance(self.layers[path], MAPS) else max(known.axes) if len(known.axes) == 1 else None
        of_vectors = isinstance(self.layers[path], nn.BatchNorm1d) or known.last  # inputs may have one position
        return Place(known.channels, bool(known.last), axes, (1,) if of_vectors and axes is None else None)

    def inputs_of(self, path: str) -> list[tuple[int, ...]]:
        """Return the shape (N, C, …) of what a layer is given; of all that it may be given, if that was not seen."""
        known, place = self.known[path], self.place(path)
        if self.seen is not None and (shape := self.seen.shapes.get(path)) is not None:
            return [(max(2, shape[0]), place.channels, *(place.size or ()))]
        axes = [place.axes] if place.axes else sorted(known.axes) or AXES
        return [(2, place.channels, *(6, 5, 4)[: number - 2]) for number in axes]

    def before(self, path: str) -> nn.Module | None:
        """Return the layer whose output a layer is given; as the layers are registered if that was not seen."""
        if self.seen is None or path not in self.seen.shapes:
            return self.registered_before.get(path)
        source = self.seen.sources.get(path)
        return None if source is None else self.layers.get(source)

    def has_bias_before(self, path: str) -> bool:
        """Tell whether the layer before adds a number to each of the channels."""
        bias = getattr(self.before(path), "bias", None)
        return isinstance(bias, Tensor) and not is_lazy(bias) and bias.shape == (self.known[path].channels,)

    def may_be_overwritten(self) -> bool:
        """Tell whether an activation may overwrite in place what it is given."""
        return any(getattr(layer, "inplace", False) for layer in self.layers.values())

    def _weights_before(self, path: str) -> nn.Module | None:
        """Return the last layer with parameters before a layer, poolings and activations in between aside."""
        source = self.seen.sources.get(path) if self.seen is not None else None
        while source is not None and not any(True for _ in self.layers[source].parameters()):
            source = self.seen.sources.get(source) if self.seen is not None else None
        return self.registered_before.get(path) if source is None else self.layers[source]

    def to_standardize(self) -> dict[str, nn.Module]:
        """Return the convolutions before the layers, by path; not those whose filters have a single weight."""
        before = {self._weights_before(path) for path in self.known}
        return {
            path: layer
            for path, layer in self.layers.items()
            if layer in before and type(layer) in STANDARDIZING and layer.weight[0].numel() > 1  # type: ignore[index, union-attr]
        }
