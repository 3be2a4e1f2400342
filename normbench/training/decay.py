"""Which parameters weight decay falls on."""

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from normbench.swapping.kinds import looks_like_a_norm

WEIGHTS, ALL = "weights", "all"
DECAY_ON = (WEIGHTS, ALL)

Groups = list[dict[str, Any]]

# Layers whose weights stay weights where an axis happens to have one element.
LINEAR = (nn.Linear, nn.Bilinear, nn.Embedding, nn.EmbeddingBag, _ConvNd)


def parameter_groups(net: nn.Module, weight_decay: float, decay_on: str) -> Groups:
    """Return the parameters of `net` as optimizers of PyTorch take them: in groups with a weight decay each.

    With "all" there is one group. With "weights" the parameters that `spared` finds have a group of their own, with a
    weight decay of 0; a group without parameters is left out.
    """
    left_alone = set(spared(net)) if decay_on == WEIGHTS else set()
    named = list(net.named_parameters())
    parts = (
        ([p for name, p in named if name not in left_alone], weight_decay),
        ([p for name, p in named if name in left_alone], 0.0),
    )
    return [{"params": parameters, "weight_decay": decay} for parameters, decay in parts if parameters]


def spared(net: nn.Module) -> Iterator[str]:
    """Yield the names of the parameters that are no weights: biases, scales, and all of a normalization layer.

    These are the parameters of layers that are, or are called, a normalization; those called a bias; those with fewer
    than two axes, such as α of dynamic tanh; and those with one axis longer than 1, such as γ of shape (1, C, 1, 1),
    unless they are the weights of a linear layer, a convolution or an embedding.
    """
    seen = set()
    for path, layer in net.named_modules():
        of_a_norm, of_weights = looks_like_a_norm(layer), isinstance(layer, LINEAR)
        for name, values in layer.named_parameters(path, recurse=False):
            if values in seen:  # two layers share it
                continue
            seen.add(values)
            is_vector = values.ndim < 2 or (not of_weights and values.numel() == max(values.shape))
            if of_a_norm or is_vector or "bias" in name.rpartition(".")[2]:
                yield name
