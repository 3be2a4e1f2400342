"""Whether a network can be trained on a data set, known before hours are spent on it."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from normbench.data import Dataset, Samples
from normbench.device import seeded
from normbench.swapping import copied
from normbench.training.goal_checks import are_probabilities, check_goal
from normbench.training.placing import placed
from normbench.words import reason


def check_network(net: nn.Module, data: Dataset | Samples, batch_size: int) -> None:
    """Raise ValueError where `net` cannot be tested, or trained, with the images of an epoch's smallest batch.

    `net` goes to the device of `data`, and keeps its state; lazy layers get theirs. It is tried as it will be trained:
    in the same memory format, forward and backward, with the loss.
    """
    try:
        net.to(data.device)
    except NotImplementedError as error:  # on the device "meta"
        raise ValueError(f"the network's weights hold no data: {reason(error)}") from error
    last_batch = data.sizes[0] % batch_size or batch_size
    hint = f"; choose another batch_size than {batch_size}, whose last batch has 1 image" if last_batch == 1 else ""
    with seeded(0, data.device):
        inputs, targets = data.batch(min(2, last_batch))
        if any(map(is_lazy, [*net.parameters(), *net.buffers()])):
            with torch.no_grad():
                _check_outputs(net.eval(), inputs, targets, data)
            _check_shaped(net)
        if not any(p.requires_grad for p in net.parameters()):
            raise ValueError("the network has no parameters to train")
        trial = _copy(net)
        state = copy.deepcopy(net.state_dict()) if trial is net else {}
        trial = placed(trial, data.device, inputs)
        with torch.no_grad():
            _check_outputs(trial.eval(), inputs, targets, data)
        _check_backward(_check_outputs(trial.train(), inputs, targets, data, hint), inputs, data.things)
        if trial is net:
            net.zero_grad()
            net.load_state_dict(state)


def check_forward(net: nn.Module, inputs: Tensor) -> None:
    """Raise ValueError where a copy of `net` fails on `inputs` (n, …), at test time or in training."""
    trial = _copy(net)
    state, mode = copy.deepcopy(net.state_dict()) if trial is net else {}, net.training
    with torch.no_grad(), seeded(0, inputs.device):
        for training in (False, True):
            try:
                trial.train(training)(inputs.clone())
            except (Exception, SystemExit) as error:  # a network of the user's own can raise anything
                raise _fails("training" if training else "testing", inputs, error, called="inputs") from error
    if trial is net:
        net.load_state_dict(state)
        net.train(mode)


def _copy(net: nn.Module) -> nn.Module:
    try:
        return copied(net)
    except ValueError:  # it cannot be copied
        return net


def _check_shaped(net: nn.Module) -> None:
    lazy = [name for name, values in [*net.named_parameters(), *net.named_buffers()] if is_lazy(values)]
    if lazy:
        raise ValueError(f"{lazy[0]!r} of the network is lazy, and a forward pass does not give it a shape")


def _fails(where: str, images: Tensor, error: BaseException, hint: str = "", called: str = "images") -> ValueError:
    return ValueError(f"the network fails in {where} on {called} {tuple(images.shape)}: {reason(error)}{hint}")


def _check_outputs(net: nn.Module, inputs: Tensor, targets: Any, data: Dataset | Samples, hint: str = "") -> Tensor:
    """Return the loss of a network's outputs. Raises ValueError where it makes none of the inputs, or others."""
    try:
        outputs = net(inputs.clone())
    except (Exception, SystemExit) as error:  # a network of the user's own can raise anything
        raise _fails("training" if net.training else "testing", inputs, error, hint, data.things) from error
    if isinstance(data, Samples):
        return check_goal(outputs, inputs, targets, data)
    return _loss_of_logits(net, outputs, inputs, targets, data)


def _loss_of_logits(net: nn.Module, outputs: object, images: Tensor, labels: Tensor, data: Dataset) -> Tensor:
    mode, wanted = "training" if net.training else "testing", (len(images), len(data.classes))
    if returned := _what_is_wrong(outputs, images, wanted):
        raise ValueError(
            f"the network must return logits or log-probabilities (images, classes), {wanted} for {wanted[0]} images "
            f"of {data.name}, but in {mode} it returned {returned}"
        )
    given: Tensor = outputs  # type: ignore[assignment]
    if are_probabilities(given):
        raise ValueError("the network returns probabilities; leave out its softmax, or take its logarithm")
    return F.cross_entropy(given, labels)


def _what_is_wrong(outputs: object, images: Tensor, wanted: tuple[int, int]) -> str:
    """Say what a network returned if that is nothing to train on; "" if it is."""
    if not isinstance(outputs, Tensor):
        return type(outputs).__name__
    if outputs.is_nested:
        return "a nested tensor"
    if outputs.layout != torch.strided:
        return f"a tensor of the layout {outputs.layout}"
    if outputs.shape != wanted:
        return str(tuple(outputs.shape))
    if not outputs.is_floating_point():
        return f"{outputs.dtype}, which is no type of logits".removeprefix("torch.")
    if outputs.device.type != images.device.type:
        return f"a tensor on the device {outputs.device}"
    return ""


def _check_backward(loss: Tensor, inputs: Tensor, things: str) -> None:
    if not loss.requires_grad:
        raise ValueError(
            "the network's outputs have no gradient in training; remove no_grad, inference_mode or detach from its "
            "forward"
        )
    try:
        loss.backward()
    except (Exception, SystemExit) as error:
        raise _fails("the backward pass", inputs, error, called=things) from error
