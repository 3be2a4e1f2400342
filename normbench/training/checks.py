"""Whether a network can be trained on a data set, known before hours are spent on it."""

import copy

import torch
from torch import Tensor, nn

from normbench.data import Dataset


def check_network(net: nn.Module, data: Dataset, batch_size: int) -> None:
    """Raise ValueError where `net` cannot be tested, or trained, with the images of an epoch's smallest batch.

    `net` goes to the device of `data`, and keeps its state; lazy layers get theirs.
    """
    net.to(data.device)
    if not any(p.requires_grad for p in net.parameters()):
        raise ValueError("the network has no parameters to train")
    last_batch = len(data.y_train) % batch_size or batch_size
    images = data.standardize(data.x_train[: min(2, last_batch)])
    devices = [data.device] if data.device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices):
        _check_outputs(net.eval(), images, data, "")
        state = copy.deepcopy(net.state_dict())
        hint = f"; choose another batch_size than {batch_size}, whose last batch has 1 image" if last_batch == 1 else ""
        _check_outputs(net.train(), images, data, hint)
        net.load_state_dict(state)


def _check_outputs(net: nn.Module, images: Tensor, data: Dataset, hint: str) -> None:
    mode, wanted = "training" if net.training else "testing", (len(images), len(data.classes))
    try:
        outputs = net(images)
    except Exception as error:  # a network of the user's own can raise anything
        reason = (str(error).strip() or type(error).__name__).split("\n")[0]
        raise ValueError(f"the network fails in {mode} on images {tuple(images.shape)}: {reason}{hint}") from error
    if not isinstance(outputs, Tensor) or outputs.shape != wanted:
        returned = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ValueError(
            f"the network must return logits or log-probabilities (images, classes), {wanted} for {wanted[0]} images "
            f"of {data.name}, but in {mode} it returned {returned}"
        )
    if (outputs >= 0).all() and torch.allclose(outputs.sum(dim=1), torch.ones_like(outputs[:, 0]), atol=1e-3):
        raise ValueError("the network returns probabilities; leave out its softmax, or take its logarithm")
